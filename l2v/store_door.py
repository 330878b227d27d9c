"""The verbs that work on a stored study, `l2v report` and `l2v score`: settings as key=value, no Hydra needed."""

from __future__ import annotations

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from l2v.config import ReportConfig
from l2v.errors import UserError, unknown


def parse(arguments: list[str]) -> ReportConfig:
    """The settings from key=value words. Raises UserError for an unknown key or a word of another form."""
    known = list(OmegaConf.structured(ReportConfig))
    for word in arguments:
        key, equals, _ = word.partition("=")
        if not equals:
            raise UserError(f"'{word}' is not of the form key=value.")
        if key not in known:
            raise unknown("setting", key, known)
    try:
        merged = OmegaConf.merge(OmegaConf.structured(ReportConfig), OmegaConf.from_dotlist(arguments))
        config = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise UserError(f"The settings {' '.join(arguments)} could not be read: {str(error).splitlines()[0]}.") from error
    assert isinstance(config, ReportConfig)
    return config


def report_verb(arguments: list[str]) -> int:
    """Print the headline table of a study."""
    from l2v.report.tables import study_report

    config = parse(arguments)
    for scorer in (config.scorer or "official").split(","):
        print(study_report(config.outputs, config.study, scorer, config.split, config.format))
    return 0


def score_verb(arguments: list[str]) -> int:
    """Score the stored responses of a study again and rebuild its results."""
    from l2v.study.results import build_results
    from l2v.study.score import rescore
    from l2v.study.store import Store

    config = parse(arguments)
    scorers = (config.scorer or "official").split(",")
    store = Store(config.outputs, config.study).existing()
    folders = store.finished()
    rescore(folders, scorers)
    build_results(store)
    print(
        f"{len(folders)} cells of study '{config.study}' scored by {', '.join(scorers)}; results: {store.path / 'results.csv'}"
    )
    return 0
