"""The verbs that work on what is stored, `l2v report`, `score` and `agreement`: settings as key=value, no Hydra needed.

`parse` also serves `l2v track` and `l2v status`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from l2v.config import ReportConfig
from l2v.errors import UserError, unknown

if TYPE_CHECKING:
    import pandas as pd

    from l2v.benchmarks.base import Verdict
    from l2v.study.answer_files import Answered


NESTED = ("judge", "tracker")
SWITCHES = ("watch",)


def parse(arguments: list[str]) -> ReportConfig:
    """The settings from key=value words. Raises UserError for an unknown key or a word of another form."""
    schema = OmegaConf.structured(ReportConfig)
    known = [str(key) for key in schema if key not in NESTED] + [f"{part}.{key}" for part in NESTED for key in schema[part]]
    arguments = _as_settings(arguments)
    for word in arguments:
        key, equals, _ = word.partition("=")
        if not equals:
            raise UserError(f"'{word}' is not of the form key=value.")
        if key not in known:
            raise unknown("setting", key, known)
    try:
        merged = OmegaConf.merge(schema, OmegaConf.from_dotlist(arguments))
        config = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"The settings {' '.join(arguments)} could not be read: {str(error).splitlines()[0]}.") from error
    assert isinstance(config, ReportConfig)
    return config


def _as_settings(arguments: list[str]) -> list[str]:
    """`--format csv`, `--format=csv` and `--watch` as settings; `tracker=NAME` names the tracker, as in a config group."""
    words: list[str] = []
    waiting = ""
    for word in arguments:
        if waiting:
            words.append(f"{waiting}={word}")
            waiting = ""
        elif word.startswith("--") and "=" not in word and word.removeprefix("--") in SWITCHES:
            words.append(f"{word.removeprefix('--')}=true")
        elif word.startswith("--") and "=" not in word:
            waiting = word.removeprefix("--")
        else:
            words.append(word.removeprefix("--"))
    if waiting:
        raise UserError(f"'--{waiting}' needs a value after it.")
    return [f"tracker.name={word.removeprefix('tracker=')}" if word.startswith("tracker=") else word for word in words]


def report_verb(arguments: list[str]) -> int:
    """Print the headline table of a study and write its page."""
    experiment = next((word for word in arguments if word.startswith("+experiment=")), None)
    config = parse([word for word in arguments if word != experiment])
    if experiment is not None:
        return _experiment_report(config, experiment.partition("=")[2])
    results = None
    for scorer in _scorers(config):
        results = _print_table(config, scorer, results)
    _write_page(config, results)
    return 0


def _scorers(config: ReportConfig) -> list[str]:
    return (config.scorer or "official").split(",")


def _print_table(config: ReportConfig, scorer: str, results: pd.DataFrame | None) -> pd.DataFrame:
    """Print a study's table; returns its results, which are built once."""
    from l2v.report.tables import check_format, on_terminal, study_report
    from l2v.study.results import build_results
    from l2v.study.store import Store

    check_format(config.format)
    if results is None:
        results = build_results(Store(config.outputs, config.study).existing())
    chosen = (config.outputs, config.study, scorer, config.split, config.format)
    print(study_report(*chosen, results=results, metric=config.metric, color=on_terminal()))
    return results


def _write_page(config: ReportConfig, results: pd.DataFrame | None) -> None:
    """Write the page, unless page=false or nothing is finished, and tell where: on stderr where stdout is a table to copy."""
    if not config.page or results is None or not len(results):
        return
    from l2v.report.page.page import write_page

    path = write_page(config.outputs, config.study, _scorers(config)[0], config.compare, config.examples, results)
    print(f"\npage: {path}", file=sys.stdout if config.format == "text" else sys.stderr)


def _experiment_report(config: ReportConfig, name: str) -> int:
    """The table of an experiment file: measured beside printed where the paper has one, else the study's."""
    from l2v.paths import conf_dir
    from l2v.report.paper import paper_report
    from l2v.report.tables import check_format, measured_csv
    from l2v.study.results import build_results
    from l2v.study.store import Store, write_atomically

    check_format(config.format)
    path = conf_dir() / "experiment" / f"{name}.yaml"
    if not path.is_file():
        raise unknown("experiment", name, [p.stem for p in path.parent.glob("*.yaml")])
    chosen = yaml.safe_load(path.read_text(encoding="utf-8"))
    printed = (chosen.get("table") or {}).get("printed")
    config = replace(config, study=chosen["study"])
    store = Store(config.outputs, config.study)
    # A printed table is shown for a study that was not run, too.
    results = build_results(store) if (store.path / "study.json").exists() else None
    for scorer in _scorers(config):
        if printed:
            print(paper_report(config.outputs, config.study, printed, scorer, config.format, results))
        else:
            results = _print_table(config, scorer, results)
        if config.out:
            write_atomically(Path(config.out), measured_csv(config.outputs, config.study, scorer, results))
    _write_page(config, results)
    return 0


def score_verb(arguments: list[str]) -> int:
    """Score the stored responses of a study again and rebuild its results, or score a file of responses."""
    config = parse(arguments)
    if config.responses is not None or config.items is not None:
        return _score_file(config)
    from l2v.study.results import build_results
    from l2v.study.score import rescore, scoring_of
    from l2v.study.store import Store

    scorers = _scorers(config)
    store = Store(config.outputs, config.study).existing()
    folders = store.finished()
    rescore(folders, scorers, scoring_of(config.judge, config.outputs, config.progress))
    build_results(store)
    print(
        f"{len(folders)} cells of study '{config.study}' scored by {', '.join(scorers)}; results: {store.path / 'results.csv'}"
    )
    return 0


def agreement_verb(arguments: list[str]) -> int:
    """Compare scorers on the stored responses of a study, or on a file of responses."""
    from l2v.report.agreement import Judged, agreement_report, disagreements, from_study

    config = parse(arguments)
    names = config.scorer.split(",") if config.scorer else None
    if config.responses is None:
        judged = from_study(config.outputs, config.study, names)
    else:
        names = names or ["official", "robust", "lenient"]
        if len(names) < 2:
            raise UserError("Agreement needs two scorers: set scorer=official,robust.")
        answered, verdicts = _file_verdicts(config, names)
        judged = [
            Judged(
                config.responses,
                answered.ids[i],
                answered.answers[i].text or answered.answers[i].extraction or "",
                {name: (verdicts[name][i].correct, verdicts[name][i].extraction) for name in names},
            )
            for i in range(len(answered.ids))
        ]
    print(agreement_report(judged))
    if config.out:
        from l2v.study.store import write_atomically

        write_atomically(Path(config.out), disagreements(judged).to_csv(index=False))
        print(f"\nall disagreements: {config.out}")
    return 0


def _score_file(config: ReportConfig) -> int:
    """Score a file of responses; the last line is one JSON object (with several scorers, one line each)."""
    from l2v.study.answer_files import summary, write_verdicts
    from l2v.study.score import scoring_of

    names = _scorers(config)
    answered, verdicts = _file_verdicts(config, names)
    if config.out:
        write_verdicts(config.out, answered, verdicts, scoring_of(config.judge, config.outputs, config.progress))
    for name in names:
        print(json.dumps(summary(answered, name, verdicts[name])))
    return 0


def _file_verdicts(config: ReportConfig, names: list[str]) -> tuple[Answered, dict[str, list[Verdict]]]:
    from l2v.study.answer_files import read_answered, score_file
    from l2v.study.score import scoring_of

    missing = [key for key in ("benchmark", "items", "responses") if getattr(config, key) is None]
    if missing:
        raise UserError(f"Scoring a file needs benchmark=…, items=… and responses=…; missing: {', '.join(missing)}.")
    assert config.benchmark is not None and config.items is not None and config.responses is not None
    answered = read_answered(config.benchmark, config.items, config.responses)
    scoring = scoring_of(config.judge, config.outputs, config.progress)
    return answered, {name: score_file(answered, name, scoring) for name in names}
