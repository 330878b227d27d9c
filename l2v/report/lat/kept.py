"""What a stored analysis says of the share of dispersion that a low-pass keeps (the paper's Figures 1 and 2b)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from l2v.errors import UserError
from l2v.study.digests import ANALYZE_AGAIN, analyses, check_figure, read_sealed
from l2v.study.statistics.paired import Paired


@dataclass(frozen=True)
class KeptShare:
    """Of one model: the share kept at the analysis' k with its 95 % interval, a white spectrum's, and the pairs of texts."""

    share: float
    low: float
    high: float
    white: float
    n: int


def kept_shares(outputs: str, source: str, target: str, contrast: str) -> tuple[KeptShare, KeptShare] | None:
    """Source and target in the newest analysis of these names in any study; None where there is none.

    Raises UserError for an analysis that cannot be read, and for one whose page is there and nothing else of it.
    """
    if lost := next((path for study in Path(outputs).glob("*") for path in analyses(study) if not path.exists()), None):
        raise UserError(f"{lost} is missing; {ANALYZE_AGAIN}")
    wanted = {"source": source, "target": target, "contrast": contrast}
    for file in sorted(Path(outputs).glob("*/lat/*/lat.json"), key=lambda path: path.stat().st_mtime, reverse=True):
        try:
            told = read_sealed(file, ANALYZE_AGAIN)
            settings = told["settings"]
            # A contrast may name who wrote it.
            if any(settings[role].split(" (")[0].split(", written by ")[0] != name for role, name in wanted.items()):
                continue
            for figure in (one for one in told.get("figures", ()) if one["csv"] == "dispersion.csv"):
                check_figure(file.parent, figure)
            table = pd.read_csv(file.with_name("dispersion.csv"))
            rows = table[table["k"] == int(settings["cutoff k"])].set_index("role").to_dict("index")
            return _share(rows["source"]), _share(rows["target"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"The analysis '{file.parent}' cannot be read ({error}); {ANALYZE_AGAIN}") from error
    return None


def _share(row: Mapping[Any, Any]) -> KeptShare:
    share, low, high, white = (float(row[name]) for name in ("retained", "retained_low", "retained_high", "white"))
    return KeptShare(share, low, high, white, int(row["n"]))


def difference(ours: KeptShare, theirs: KeptShare) -> Paired:
    """Ours minus theirs, normal, with the two bootstraps taken as independent; right and wrong stand at 0."""
    diff = ours.share - theirs.share
    error = math.hypot(*((one.high - one.low) / (2 * 1.96) for one in (ours, theirs)))
    p = math.erfc(abs(diff) / error / math.sqrt(2)) if error else float(not diff)
    return Paired(diff, diff - 1.96 * error, diff + 1.96 * error, 0, 0, p, min(ours.n, theirs.n))
