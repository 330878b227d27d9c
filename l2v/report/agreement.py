"""How far scorers agree on the same responses, and where they do not."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from l2v.errors import UserError, printable
from l2v.report.answers import WORDS
from l2v.report.tables import markdown
from l2v.study.checkup import whole_study
from l2v.study.statistics.paired import wilson
from l2v.study.store import Store

TAIL = 120  # characters of a response that are shown
LINE = 80  # characters of a line
SHOWN = 20  # disagreements that are printed; all of them go to out=PATH


@dataclass(frozen=True)
class Judged:
    """One response as several scorers saw it. verdicts: by scorer, (right, wrong or None for abstained; what it read)."""

    where: str
    item: str
    response: str
    verdicts: Mapping[str, tuple[bool | None, str | None]]


def from_study(store: Store, scorers: Sequence[str] | None = None) -> list[Judged]:
    """The stored verdicts of a study; `scorers` None takes all that every finished cell has.

    Raises UserError for an unknown study, or when fewer than two scorers were applied.
    """
    study = store.existing().study
    folders = whole_study(store)
    if not folders:
        raise UserError(f"Study '{study}' has no finished cell yet.")
    applied = [{m["scorer"] for m in folder.metrics()} for folder in folders]
    common = sorted(set.intersection(*applied))
    names = list(scorers) if scorers else common
    missing = [name for name in names if name not in common]
    if missing or len(names) < 2:
        raise UserError(
            f"Agreement needs two scorers on every cell; study '{study}' has {', '.join(common) or 'none'}: run "
            f"`l2v score study={study} scorer={','.join(missing or ['official', 'robust'])}` first."
        )
    judged = []
    for folder in folders:
        scores = {name: {v["id"]: v for v in folder.scores(name)} for name in names}
        where = folder.cell().describe()
        for record in folder.responses():
            verdicts = {n: (scores[n][record["id"]]["correct"], scores[n][record["id"]]["extraction"]) for n in names}
            judged.append(Judged(where, record["id"], record["response"], verdicts))
    return judged


def matrix(judged: Sequence[Judged]) -> pd.DataFrame:
    """Scorer x scorer: the share of responses on which both say right or both do not, with n and its 95 % interval."""
    names = list(judged[0].verdicts)
    n = len(judged)
    table = pd.DataFrame("", index=names, columns=names, dtype=object)
    for first, second in itertools.permutations(names, 2):
        same = sum((j.verdicts[first][0] is True) == (j.verdicts[second][0] is True) for j in judged)
        low, high = wilson(same, n)
        table.loc[first, second] = f"{100 * same / n:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    right = {name: sum(j.verdicts[name][0] is True for j in judged) for name in names}
    abstained = {name: sum(j.verdicts[name][0] is None for j in judged) for name in names}
    table.insert(0, "right %", [f"{100 * right[name] / n:.1f}" for name in names])
    table.insert(1, "abstained", [abstained[name] for name in names])
    return table.rename_axis("scorer").reset_index()


def disagreements(judged: Sequence[Judged]) -> pd.DataFrame:
    """Every response on which the scorers differ: where, item, the end of the response, and what each scorer said and read."""
    rows: list[dict[str, Any]] = []
    for one in judged:
        if len({right is True for right, _ in one.verdicts.values()}) > 1:
            tail = " ".join(one.response.split())[-TAIL:]
            said = {name: _said(*verdict) for name, verdict in one.verdicts.items()}
            rows.append({"where": one.where, "item": one.item, "response ends": tail, **said})
    return pd.DataFrame(rows, columns=["where", "item", "response ends", *judged[0].verdicts])


def _said(right: bool | None, extraction: str | None) -> str:
    word = WORDS[right]
    return word if extraction is None else f"{word} ({' '.join(extraction.split())[:40]})"


def agreement_report(judged: Sequence[Judged]) -> str:
    """The table and the first disagreements, cell by cell, as Markdown."""
    what = f"Agreement of scorers in %, with 95 % Wilson intervals; n = {len(judged):,} responses. An abstention is not right."
    lines = [textwrap.fill(what, LINE), "", markdown(matrix(judged)), ""]
    differ = disagreements(judged)
    lines.append(
        f"{len(differ)} responses on which the scorers differ" + (f", the first {SHOWN}:" if len(differ) > SHOWN else ":")
    )
    for where, of_cell in differ.head(SHOWN).groupby("where", sort=False):
        lines += ["", textwrap.fill(str(where), LINE, break_long_words=False), ""]
        lines += [_listed(row) for row in of_cell.drop(columns="where").to_dict("records")]
    return printable("\n".join(lines))


def _listed(row: Mapping[Any, Any]) -> str:
    item, tail, *said = row.values()
    words = ", ".join(f"{name} {word}" for name, word in zip(list(row)[2:], said, strict=True))
    return textwrap.fill(f"- {item}: {words}; it ends: {tail or '(empty)'}", LINE, subsequent_indent="  ")
