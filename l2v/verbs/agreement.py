"""l2v agreement: scorer x scorer on the same responses, and every response on which they differ.

l2v agreement study=demo                                             all scorers that were applied
l2v agreement benchmark=mathvista items=… responses=… scorer=official,robust,lenient out=differ.csv
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from l2v.errors import UserError
from l2v.verbs.score import ResponseSettings, file_verdicts
from l2v.verbs.settings import check_unused, parse

if TYPE_CHECKING:
    from l2v.report.agreement import Judged

SETTINGS = ResponseSettings


def main(arguments: list[str]) -> int:
    """Compare scorers on the stored responses of a study, or on a file of responses."""
    from l2v.disk import write_atomically
    from l2v.report.agreement import agreement_report, disagreements, from_study
    from l2v.study.store import Store

    settings = parse(arguments, ResponseSettings)
    scorers = settings.scorer.split(",") if settings.scorer else None
    if not settings.of_file:
        check_unused(settings, ["missing", "judge"], "of a study, whose verdicts are stored")
    judged = _of_file(settings, scorers) if settings.of_file else from_study(Store(settings.outputs, settings.study), scorers)
    print(agreement_report(judged))
    if settings.out:
        write_atomically(Path(settings.out), disagreements(judged).to_csv(index=False))
        print(f"\nall disagreements: {settings.out}")
    return 0


def _of_file(settings: ResponseSettings, scorers: list[str] | None) -> list[Judged]:
    from l2v.report.agreement import Judged

    scorers = scorers or ["official", "robust", "lenient"]
    if len(scorers) < 2:
        raise UserError("Agreement needs two scorers: set scorer=official,robust.")
    answered, verdicts = file_verdicts(settings, scorers)
    return [
        Judged(
            str(settings.responses),
            answered.ids[i],
            answer.text or answer.extraction or "",
            {name: (verdicts[name][i].correct, verdicts[name][i].extraction) for name in scorers},
        )
        for i, answer in enumerate(answered.answers)
    ]
