"""l2v power: what more items would show, by the exact McNemar test and the share of items that flip between an arm and direct.

l2v power study=demo                     the smallest gain that as many items show, per reported arm
l2v power study=demo items=2000          that 2,000 items show
l2v power study=demo diff=0.02           how many items a gain of 2 points needs
l2v power discordance=0.2 diff=0.02      without a study: a fifth of the items flips either way
"""

from __future__ import annotations

from dataclasses import dataclass

from l2v.errors import UserError
from l2v.verbs.settings import StudySettings, check_unused, parse


@dataclass(frozen=True)
class PowerSettings(StudySettings):
    scorer: str = "official"  # by whose verdicts items flip
    items: int | None = None  # how many are planned; None: as many as the study has
    diff: float | None = None  # gain in accuracy to be shown, a share above 0; None: the smallest that the items show
    discordance: float | None = None  # share of items that flip either way, above 0 to 1; None: as measured in the study
    power: float = 0.8  # chance to find a gain that is there, between 0 and 1
    alpha: float = 0.05  # level of the test, of one arm alone


SETTINGS = PowerSettings


def main(arguments: list[str]) -> int:
    """Print a sentence per reported arm, or one for a discordance that is given."""
    from l2v.report.power import Flips, PowerQuestion, answer, flips
    from l2v.report.study import read_study

    settings = parse(arguments, PowerSettings)
    _check(settings)
    asked = PowerQuestion(settings.items, settings.diff, settings.power, settings.alpha)
    if settings.discordance is None:
        found = flips(read_study(settings.outputs, settings.study, settings.scorer))
    else:
        found = [Flips("As given", None, settings.discordance)]
    print(f"Power {settings.power:g}, two-sided exact McNemar at {settings.alpha:g}, before any correction for several arms.")
    print("\n".join(answer(one, asked) for one in found))
    return 0


def _check(settings: PowerSettings) -> None:
    if settings.diff is not None and settings.items is not None:
        raise UserError("items=… asks for the smallest difference, diff=… for the number of items; give one of them.")
    if settings.discordance is not None:
        check_unused(settings, ["study", "outputs", "scorer"], "beside discordance=…, which stands for a study")
    if settings.discordance is not None and settings.items is None and settings.diff is None:
        raise UserError("Without a study give items=… or diff=… beside discordance=….")
