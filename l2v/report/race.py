"""Races of a study for a reader: a row per arm and look, for the page, its picture and the trackers."""

from __future__ import annotations

import pandas as pd

from l2v.report.study import Study
from l2v.study.race import BUDGET, EQUAL, UNLIKELY, WORSE, Round
from l2v.study.results import ChosenArm


def saved(arm: ChosenArm) -> str:
    """How many rows an arm's race took, in words."""
    return f"raced: {arm.rows:,} of {arm.budget * arm.problems:,} rows x cells"


def arm_name(study: Study, arm: ChosenArm) -> str:
    """An arm as the study's other tables call it, with its target."""
    found = study.rows[study.rows["cell"] == arm.report] if len(study.rows) else study.rows
    return f"{found['arm'].iloc[0]} on {found['where'].iloc[0]}" if len(found) else arm.arm


def looks_table(study: Study) -> pd.DataFrame:
    """A row per arm and look: the problems seen by then, the cells that answered, how many were dropped and why, the best."""
    rows = [_row(arm_name(study, arm), one) for arm in study.selection.raced for one in arm.rounds]
    return pd.DataFrame(rows, columns=["arm", "problems", "cells", "best %", *(f"dropped: {why}" for why in _WHY), "goes on"])


_WHY = (WORSE, UNLIKELY, EQUAL, BUDGET)


def _row(arm: str, one: Round) -> dict[str, object]:
    gone = [drop.why for drop in one.dropped]
    best = f"{100 * max(one.values):.1f}"
    counts = {f"dropped: {why}": gone.count(why) for why in _WHY}
    return {
        "arm": arm, "problems": one.seen, "cells": len(one.cells), "best %": best, **counts,
        "goes on": len(one.cells) - len(gone),
    }  # fmt: skip
