"""The schema: every setting is declared here, once, with its unit and range.

Settings marked (science) are part of a cell's identity; the others say where and how to compute, never what.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class ModelConfig:
    """A source (text LLM) or a target (vision-language model)."""

    name: str = MISSING  # its name in tables (science)
    id: str = MISSING  # hub id (science)
    revision: str | None = None  # hub commit (science); a local folder is known by its content instead
    path: str | None = None  # local folder in place of the hub
    layers: int | None = None  # number of decoder blocks; None reads the model's config
    width: int | None = None  # size of the residual stream; None reads the model's config
    dtype: str = "auto"  # auto, float32, bfloat16, float16 (science)
    trust_remote_code: bool = False  # run code from the checkpoint; off unless you trust it
    device_map: str | None = None  # accelerate's placement, e.g. "auto"


@dataclass
class ColumnsConfig:
    """What the columns of the contrast data are called."""

    question: str = "question"  # (science)
    domain: str = "domain"  # (science)
    cot: str = "cot"  # chain-of-thought response (science)
    direct: str = "direct"  # direct response (science)
    combined_text: str = "combined_text"  # thought and solution blocks in one, as in STILL-2 (science)


@dataclass
class ContrastConfig:
    """The pairs of texts that a direction is read from (METHOD 1)."""

    name: str = MISSING  # its name in tables (science)
    kind: str = "response_pairs"  # response_pairs, generated or prompts (science)
    id: str = MISSING  # hub id of the data (science)
    revision: str | None = None  # hub commit (science)
    path: str | None = None  # local .json, .jsonl or .parquet in place of the hub
    split: str = "train"  # split on the hub (science)
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    domains: list[str] = field(default_factory=list)  # domains to draw from, empty: all (science)
    per_domain: int | None = 100  # questions per domain, None: all (science)
    seed: int = 0  # of the draw (science)
    cot_instruction: str = "Let's think step by step."  # kinds generated and prompts (science)
    direct_instruction: str = "Answer the question directly."  # kinds generated and prompts (science)
    max_new_tokens: int = 1024  # kind generated: length of the responses (science)


@dataclass
class MethodConfig:
    """A row of the tables: an arm that injects a vector, or a way to prompt."""

    name: str = MISSING  # (science)
    prompt: str | None = None  # prompt style it insists on; None: benchmark.prompt (science)


@dataclass
class BenchmarkConfig:
    """Which questions, and how they are put."""

    name: str = MISSING  # folder in l2v/benchmarks (science)
    id: str = MISSING  # hub id of the data (science)
    revision: str | None = None  # hub commit (science); a local folder is known by its content instead
    path: str | None = None  # local file or folder in place of the hub
    split: str = MISSING  # (science)
    limit: int | None = None  # only the first items, None: all (science)
    prompt: str = "direct"  # prompt style: direct, cot, raw, … (science)
    max_new_tokens: int = 1024  # a sensible limit for its answers; decoding.max_new_tokens overrides it


@dataclass
class InterventionConfig:
    """What is injected where (Eq. 6-9)."""

    layer: int | None = None  # decoder block of the target, 0-based; None: the middle one (science)
    source_layer: int | None = None  # decoder block of the source; None: at the same relative depth (science)
    alpha: float = 0.5  # strength, at least 0; 0 changes nothing (science)
    cutoff: Any = None  # k, a share of the spectrum (0 to 1), or "energy:0.9"; None: 400, narrow models a third (science)
    positions: str = "all"  # all, text, generated, decode, prompt or release (science)
    scale: str = "direction"  # direction: Eq. 7; relative: alpha in median activation norms of the layer (science)


@dataclass
class DecodingConfig:
    """Greedy decoding."""

    max_new_tokens: int | None = None  # None: benchmark.max_new_tokens (science)
    stop: list[str] = field(default_factory=list)  # stop strings (science)


@dataclass
class ProtocolConfig:
    """none: every cell as given. select_then_test: choose layer, alpha and k per arm on one split, report on another."""

    name: str = "none"  # none or select_then_test
    select: str = "dev"  # split to choose on
    report: str = "test"  # split to report on


@dataclass
class RuntimeConfig:
    """Where and how to compute; never part of an identity."""

    outputs: str = "outputs"  # folder of all studies and of the cache
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    batch_rows: int = 512  # rows (request, cell) per batch
    batch_tokens: int = 16384  # padded tokens per batch when reading directions
    cells_per_claim: int = 32  # cells that a runner takes at once; two runners share a study claim by claim
    progress: bool = True  # show the progress bar and what was read


@dataclass
class Config:
    """One cell and how to run it. `l2v run --multirun key=a,b` makes a grid of them."""

    study: str = "default"  # folder under outputs; cells of one study are reported together
    source: ModelConfig = field(default_factory=ModelConfig)
    target: ModelConfig = field(default_factory=ModelConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    intervention: InterventionConfig = field(default_factory=InterventionConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    seed: int = 0  # of arms that draw (science)
    scorer: list[str] = field(default_factory=lambda: ["official"])  # scorers to apply when a cell is done
    blocks: list[list[str]] = field(default_factory=list)  # an experiment's grid: the union of these products
    dry_run: bool = False  # list the cells and stop


@dataclass
class ReportConfig:
    """Settings of `l2v report` and `l2v score`."""

    study: str = "default"
    scorer: str | None = None  # one name, or several with commas; None: official
    format: str = "text"  # text, md or csv
    split: str | None = None  # None: the split that the study reports on
    outputs: str = "outputs"


def register() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml begins with."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="l2v_schema", node=Config)
