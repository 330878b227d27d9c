"""The settings of a learned map: the texts that it is fitted on, and of a control which map it is one of."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from l2v.config import Config, NeutralConfig
from l2v.errors import unknown
from l2v.study.cells import NeutralId
from l2v.study.defaults import check_neutral
from l2v.study.questions import pinned
from l2v.transfer.arms import ARMS, MAPS


def mapping_settings(config: Config) -> dict[str, Any]:
    """What a cell of a learned map holds besides those of any arm. Raises UserError for settings out of range."""
    chosen, method = config.neutral, config.method
    check_neutral(config)
    control = ARMS[method.name].learned == "chosen"
    if control and method.map not in MAPS:
        raise unknown("method.map", str(method.map), MAPS)
    return {"neutral": _neutral_id(chosen), "map": method.map if control else None}


def _neutral_id(config: NeutralConfig) -> NeutralId:
    revision = pinned(config, "neutral.path")
    return NeutralId(
        config.name, config.id, revision, config.split, asdict(config.columns), list(config.domains), config.texts,
        config.places, config.seed,
    )  # fmt: skip
