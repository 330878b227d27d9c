"""l2v from Python: `l2v.run`, `l2v.results` and `l2v.compare`, tables of pandas from the same studies as the command line.

    import l2v

    table = l2v.run({"target": "mini", "method": ["direct", "l2v"], "intervention.layer": [1, 2, 3]}, study="first")
    table = l2v.run("target=mini", "method=direct,l2v", "intervention.layer=1,2,3", study="first")     # the same
    table = l2v.run([{"method": "direct"}, {"method": "l2v", "seed": [0, 1]}], {"target": "mini"})     # the union of two grids

A share is in [0, 1]; the columns are those of results.csv. `import l2v` itself loads none of its libraries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from l2v.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from l2v.config import Config

# A value that Hydra's grammar reads as it stands.
PLAIN = re.compile(r"[A-Za-z_][\w./:+-]*")

Grid = str | Mapping[str, object]


class FailedCellsError(RuntimeError):
    """Some cells of a run failed. failed: the reason by cell; results: the table of those that are done."""

    def __init__(self, failed: Mapping[str, str], results: pd.DataFrame) -> None:
        first = next(iter(failed.values()))
        super().__init__(f"{len(failed)} cells failed; the first: {first} What is done is in `results`; run it again to go on.")
        self.failed, self.results = dict(failed), results


def run(
    *grid: Grid | Sequence[Grid], study: str | None = None, outputs: str | None = None, config_dir: str | None = None
) -> pd.DataFrame:
    """Run what is missing of a grid of cells, as `l2v run --multirun` does, and return the table of its cells.

    grid: words of the command line ("method=direct,l2v") and mappings from a setting to its value, which all apply together. In
    a mapping a list is swept over, unless the setting is itself a list (scorer, decoding.stop, …). A list of mappings is the
    union of their grids, to each of which the rest applies. study, outputs: None leaves the experiment's, or the usual ones.
    config_dir: a folder of configs of your own. With dry_run=true nothing is computed: the table holds the cells' settings.

    Returns the columns of results.csv, a row per cell, score and scorer; under a protocol that chooses, the cells that it
    chose from and those that report. Raises UserError for bad settings, FailedCellsError where cells failed.
    """
    from l2v.verbs.run import composed

    flags = ["--multirun", *([f"--config-dir={config_dir}"] if config_dir else [])]
    given = {key: value for key, value in (("study", study), ("runtime.outputs", outputs)) if value is not None}
    configs = composed([*flags, *words(grid), *words([given])])
    return _planned(configs) if configs[0].dry_run else _run(configs)


def results(study: str, outputs: str = "outputs") -> pd.DataFrame:
    """The table of a study, rebuilt from its cells: the columns of results.csv, a row per finished cell, score and scorer.

    Raises UserError for a study that is not there.
    """
    from l2v.report.study import open_study
    from l2v.study.store import Store

    return open_study(Store(outputs, study).existing()).results


def compare(first: str, second: str, outputs: str = "outputs", scorer: str = "official") -> pd.DataFrame:
    """The cells that two studies have in common, one row each, and their paired difference: the second minus the first.

    value_first, value_second, diff, low, high: shares in [0, 1]; the interval is a paired bootstrap over the items of both.
    right, wrong: items that turned right and wrong; p: exact McNemar, p_holm: corrected over all rows. `differs`: settings in
    which the two cells are not equal, such as the model's revision. Raises UserError for an unknown study or scorer.
    """
    import pandas as pd

    from l2v.report.comparison import CellPair
    from l2v.report.comparison import compare as compared
    from l2v.report.study import read_study, told_apart

    one, other = told_apart(*(read_study(outputs, name, scorer) for name in (first, second)))
    rows = [vars(pair) for pair in compared(one, other, most=None).pairs]
    table = pd.DataFrame(rows, columns=list(CellPair.__dataclass_fields__))
    values = pd.DataFrame(table["values"].tolist(), columns=["value_first", "value_second"], index=table.index)
    place = list(table.columns).index("values")
    table = table.rename(columns={"where": "target", "bench": "benchmark"}).drop(columns="values")
    for offset, name in enumerate(values):
        table.insert(place + offset, name, values[name])
    return table


def words(grid: Sequence[Grid | Sequence[Grid]]) -> list[str]:
    """A grid in words of Hydra's grammar. Raises UserError for a flag, two unions, and what is no word and no mapping."""
    told: list[str] = []
    unions: list[str] = []
    for part in grid:
        if isinstance(part, (str, Mapping)):
            told += _part(part)
        elif isinstance(part, Sequence) and any(isinstance(one, Mapping) for one in part):
            unions.append(",".join(f"[{','.join(map(_quoted, _part(one)))}]" for one in part))
        elif isinstance(part, Sequence):
            told += [word for one in part for word in _part(one)]
        else:
            raise UserError(f"{part!r} is neither a word (key=value) nor a mapping of settings.")
    if len(unions) > 1:
        raise UserError("Two lists of grids: give all grids of a union in one list.")
    return [*told, *(f"blocks=[{union}]" for union in unions)]


def _part(part: Grid) -> list[str]:
    if isinstance(part, Mapping):
        return [f"{key}={_value(key, value)}" for key, value in _leaves(part)]
    if not isinstance(part, str) or part.startswith("-"):
        raise UserError(f"{part!r} is no setting: key=value, or a mapping; options of the command line have no place here.")
    return [part]


def _leaves(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _value(key: str, value: object) -> str:
    """A value in Hydra's grammar; a list is swept over, unless it is what the setting holds."""
    from l2v.config import Config
    from l2v.ranges import leaves

    value = value.tolist() if hasattr(value, "tolist") else value  # numpy's numbers and arrays
    if not isinstance(value, (list, tuple, range)):
        return _scalar(value)
    if isinstance(leaves(Config()).get(key.lstrip("+")), list) and not any(isinstance(one, (list, tuple)) for one in value):
        return f"[{','.join(map(_scalar, value))}]"
    if not value:
        raise UserError(f"{key}={value!r} sweeps over nothing; give it a value.")
    return ",".join(_value(key, one) for one in value)


def _scalar(value: object) -> str:
    if value is None or isinstance(value, (bool, int, float)):
        return json.dumps(value)
    return text if PLAIN.fullmatch(text := str(value)) and text.lower() not in ("null", "true", "false") else _quoted(text)


def _quoted(text: str) -> str:
    """As Hydra reads it back: only quotes, and backslashes before them, are escaped."""
    return "'" + re.sub(r"(\\*)'", r"\1\1\\'", text) + ("\\" * (len(text) - len(text.rstrip("\\")))) + "'"


def _planned(configs: Sequence[Config]) -> pd.DataFrame:
    import pandas as pd

    from l2v.study.columns import settings
    from l2v.study.jobs import plan_jobs
    from l2v.study.plan import distinct

    return pd.DataFrame([settings(job.cell) for job in distinct(plan_jobs(configs))])


def _run(configs: Sequence[Config]) -> pd.DataFrame:
    from l2v.study.cells import Job
    from l2v.study.jobs import planned
    from l2v.study.protocol import run_study
    from l2v.study.results import read_selection
    from l2v.study.store import Store
    from l2v.study.workers.executors import Submitted
    from l2v.track.agent import agent_run
    from l2v.track.follower import followed

    first = configs[0]
    store, plan = Store(first.runtime.outputs, first.study), planned(configs)
    with followed(first.runtime.outputs, first.study, first.tracker, agent_run(configs)) as lost:
        try:
            outcome = run_study(plan, first)
        except Submitted as message:
            print(message)
            outcome = None
    if outcome is None:
        table = results(first.study, first.runtime.outputs)
        if lost:
            raise FailedCellsError(lost, table)
        return table
    chosen = set(read_selection(store).reports.values()) if first.protocol.name != "none" else set()
    table = outcome.results
    table = table[table["cell"].isin(chosen | {one.cell.id for one in plan if isinstance(one, Job)})].reset_index(drop=True)
    refused = {f"refused {place}": f"{one.describe()}: {one.reason}" for place, one in enumerate(outcome.refused)}
    if failed := refused | lost | outcome.failed:
        raise FailedCellsError(failed, table)
    return table
