"""A cell: the resolved scientific settings of one run, and the identity that follows from them.

Settings that a method does not depend on are None, so that a grid over them makes one cell: `direct` swept over four
layers is computed once. Paths, devices, batch sizes and scorers are no part of a cell. resolve.py makes cells from configs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

from l2v.benchmarks.parts import WHOLE, Part
from l2v.config import Config, ImpossibleConfig
from l2v.errors import UserError
from l2v.identity import digest, rebuilt, settings_of
from l2v.images import ImageSettings
from l2v.ranges import leaves
from l2v.study.columns import describe
from l2v.transfer.arms import ARMS
from l2v.transfer.cutoff import Cutoff

# Raised when old responses may no longer be mixed with new ones: the meaning of a setting or of a stored row changed.
SCHEMA = 2

# The ways to prompt, and the setting of `method` that each takes; the others are left out of its identity.
PROMPT_METHODS: dict[str, str | None] = {
    "direct": None,
    "cot_prompt": None,
    "few_shot_cot": "shots",
    "forced_prefix": "prefix",
    "budget_matched": "min_new_tokens",
}
WEIGHT_METHODS = ("merging", "mathneuro", "finetuned_cot")
# The parts of a configuration that tell one that makes no cell from others on its models and questions.
TOLD = ("intervention", "method", "decoding", "seed")
# Settings that came after this schema's first studies: where they are None, ids and stored cells are as before.
LATER = ("packages", "neutral", "map")


@dataclass(frozen=True)
class ModelId:
    """What a model is, wherever it lies: `revision` is the hub's commit or the fingerprint of a local folder.

    `dtype` is the precision it computes in, with "+4bit" or "+8bit" where its weights are quantised. `images`: of a target,
    what differs from its own image processor; where nothing does it is no part of the id, which is older than the setting.
    """

    name: str
    id: str
    revision: str
    dtype: str
    images: ImageSettings | None = None

    def identity(self) -> dict[str, Any]:
        """What goes into a hash."""
        values = settings_of(self)
        del values["images"]
        return values if self.images is None else {**values, "images": self.images.given()}


@dataclass(frozen=True)
class ContrastId:
    """What pairs of texts a direction was read from."""

    name: str
    kind: str
    id: str
    revision: str
    split: str
    columns: dict[str, str]
    domains: list[str]
    per_domain: int | None
    seed: int
    cot_instruction: str | None
    direct_instruction: str | None
    max_new_tokens: int | None
    shots: int | None = None

    def identity(self) -> dict[str, Any]:
        """What goes into a hash; without the shots of demonstrations where there are none, as before they were a setting."""
        values = settings_of(self)
        return values if self.shots is not None else {key: value for key, value in values.items() if key != "shots"}


@dataclass(frozen=True)
class NeutralId:
    """What texts a learned map was fitted on, and how many tokens of each were read."""

    name: str
    id: str
    revision: str
    split: str
    columns: dict[str, str]
    domains: list[str]
    texts: int | None
    places: int
    seed: int


@dataclass(frozen=True)
class BenchmarkId:
    """Which questions were asked, and in which prompt style."""

    name: str
    id: str
    revision: str
    split: str
    limit: int | None
    prompt: str
    part: Part | None = None
    config_name: str | None = None
    task: str | None = None
    num_fewshot: int | None = None

    def identity(self) -> dict[str, Any]:
        """What an id is made of: a part that is no block stands as it did before parts had blocks."""
        values = settings_of(self)
        if self.part is not None and self.part.first is None and self.part.last is None:
            del values["part"]["first"], values["part"]["last"]
        return values


@dataclass(frozen=True)
class Sampling:
    """Decoding that draws: temperature > 0, top_p in (0, 1], top_k at least 0 (0: all), and the seed of the draws."""

    temperature: float
    top_p: float
    top_k: int
    seed: int


@dataclass(frozen=True)
class Weights:
    """A change of the target's weights; None: the kind does not depend on that setting. `base`, `checkpoint`: fingerprints."""

    kind: str
    share: float | None = None
    layers: list[int] | None = None
    density: float | None = None
    scale: float | None = None
    factor: float | None = None
    base: str | None = None
    checkpoint: str | None = None


@dataclass(frozen=True)
class Cell:
    """One run: a method on a target and a benchmark. None: the method does not depend on that setting."""

    method: str
    target: ModelId
    benchmark: BenchmarkId
    max_new_tokens: int
    stop: list[str]
    sampling: Sampling | None = None
    prefix: str | None = None
    shots: int | None = None
    min_new_tokens: int | None = None
    weights: Weights | None = None
    source: ModelId | None = None
    contrast: ContrastId | None = None
    layer: int | None = None
    source_layer: int | None = None
    alpha: float | None = None
    cutoff: Cutoff | None = None
    positions: str | None = None
    scale: str | None = None
    seed: int | None = None
    neutral: NeutralId | None = None
    map: str | None = None  # of a control: the learned map that it is one of
    packages: str | None = None  # the distributions, with versions, that bring its arm and its benchmark; None: l2v itself

    @cached_property
    def id(self) -> str:
        """16 hexadecimal digits; equal settings give equal ids."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        settings = {name: value for name, value in settings.items() if name not in LATER or value is not None}
        for name, value in settings.items():
            if is_dataclass(value) and not isinstance(value, type):
                settings[name] = value.identity() if hasattr(value, "identity") else settings_of(value)
        return digest({"schema": SCHEMA, **settings})

    @property
    def steered(self) -> bool:
        return self.method in ARMS

    def describe(self) -> str:
        """One readable line: what distinguishes this cell (see columns.describe)."""
        return describe(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Cell:
        """The cell that `dataclasses.asdict` took apart."""
        known = {field.name for field in fields(cls)}
        if known - set(values) - {*LATER} or set(values) - known:
            raise UserError(f"A stored cell has other settings than this version ({sorted(set(values) ^ known)}).")
        cell: Cell = rebuilt(cls, values)
        return cell


@dataclass(frozen=True)
class Refusal:
    """A configuration that makes no cell, and why, in one sentence with its mend."""

    config: Config
    reason: str

    def describe(self) -> str:
        """What was asked for, as far as it can be told."""
        config = self.config
        if isinstance(config, ImpossibleConfig):
            return f"[{config.words}]"
        parts = [config.method.name, f"on {config.target.name}"]
        parts += [f"from {config.source.name}"] if config.method.name in ARMS else []
        usual, own = leaves(Config()), leaves(config)
        own = {k: value for k, value in own.items() if k.partition(".")[0] in TOLD and k != "method.name"}
        parts += [f"{name.rpartition('.')[2]}={value}" for name, value in own.items() if value != usual[name]]
        return f"{' '.join(parts)} [{config.benchmark.name}/{config.benchmark.split}]"


@dataclass(frozen=True)
class Job:
    """A cell and the configuration that says where its models and data lie and how to compute."""

    cell: Cell
    config: Config

    def locations(self) -> dict[str, str | None]:
        """Where this machine finds what the cell names; kept for later scoring, no part of its identity."""
        places = {role: getattr(self.config, role).path for role in ("source", "target", "contrast", "benchmark")}
        return {**places, "benchmark_include": self.config.benchmark.include_path}

    def on(self, first: int, last: int) -> Job:
        """This job on one block of the problems that it asks: by their rank, from `first` to the one before `last`."""
        asked = self.config.benchmark
        own = self.cell.benchmark.part or Part(WHOLE, 1.0, asked.part_seed)
        part = replace(own, first=first, last=last)
        chosen = replace(asked, part=part.name, part_share=part.share, part_first=first, part_last=last)
        benchmark = replace(self.cell.benchmark, part=part)
        return Job(replace(self.cell, benchmark=benchmark), replace(self.config, benchmark=chosen))
