"""What a run takes that nobody chose. The defaults are the miniature's; no model of another world may meet them unasked."""

from __future__ import annotations

from collections.abc import Sequence

from l2v.config import Config, ModelConfig
from l2v.errors import UserError
from l2v.paths import local_path
from l2v.transfer.arms import ARMS

# The ids of the miniature's checkpoints begin so, and no others.
MINIATURE = "l2v/mini"
# The paper's contrast, as a word of the command line.
PAPER_CONTRAST = "contrast=still2"
# What the default contrast, source and neutral texts read; another path is a choice.
DEFAULT_TEXTS = "package:mini/data/contrast.jsonl"
DEFAULT_SOURCE = "package:mini/checkpoints/kin"
DEFAULT_NEUTRAL = "package:mini/texts/neutral.parquet"


def miniature(model: ModelConfig) -> bool:
    """Whether a model is one of the miniature's."""
    return str(model.id).startswith(MINIATURE)


def contrast_chosen(config: Config) -> bool:
    """Whether somebody chose the contrast, by its name or by texts of their own."""
    return config.contrast.chosen or config.contrast.path != local_path(DEFAULT_TEXTS)


def wants_paper_contrast(config: Config) -> bool:
    """Whether nobody chose a contrast, and the default's miniature texts do not fit the models: still2 is taken then.

    A miniature's source that was chosen keeps its texts, whatever it steers.
    """
    if contrast_chosen(config) or (miniature(config.source) and miniature(config.target)):
        return False
    arm = ARMS.get(config.method.name)
    return not (arm and arm.reads == "source" and source_chosen(config) and miniature(config.source))


def source_chosen(config: Config) -> bool:
    """Whether somebody chose the source, by its name or by a folder of their own."""
    return config.source.chosen or config.source.path != local_path(DEFAULT_SOURCE)


def check_contrast(config: Config, readers: Sequence[ModelConfig]) -> None:
    """Raise UserError when models of another world would read the miniature's texts without anybody having asked for it."""
    strange = list(dict.fromkeys(model.name for model in readers if not miniature(model)))
    if strange and not contrast_chosen(config):
        raise UserError(
            f"No contrast was chosen, and the default's texts are the miniature's, not for {' and '.join(strange)}: the "
            f"paper's is {PAPER_CONTRAST}; contrast=mini says that the miniature's are meant."
        )


def check_source(config: Config) -> None:
    """Raise UserError when the default source, a miniature, would steer a target of another world."""
    if not source_chosen(config) and miniature(config.source) and not miniature(config.target):
        raise UserError(
            f"No source was chosen, and the default '{config.source.name}' is the miniature's, not for target "
            f"'{config.target.name}': the paper's is source=r1_qwen_32b; source={config.source.name} says that the miniature's "
            "is meant."
        )


def check_neutral(config: Config) -> None:
    """Raise UserError when models of another world would be mapped by the miniature's texts without anybody having asked."""
    strange = [model.name for model in (config.source, config.target) if not miniature(model)]
    if strange and not (config.neutral.chosen or config.neutral.path != local_path(DEFAULT_NEUTRAL)):
        raise UserError(
            f"No neutral texts were chosen, and the default's are the miniature's, not for {' and '.join(strange)}: give "
            "neutral=local neutral.path=FILE (.jsonl or .parquet, column question); neutral=mini says that they are meant."
        )
