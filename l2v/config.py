"""The schema: every setting is declared once, with its unit and range; all but a room's own (finetuning, the judge) here.

Settings marked (science) are part of a cell's identity; the others say where and how to compute, never what.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, TypeVar, cast

from l2v.benchmarks.judging import JudgeConfig
from l2v.finetune.settings import FinetuneSettings

# OmegaConf's mark of a setting that has no default; help and completion need nothing else of it, which takes time to load.
MISSING: Any = "???"
Kind = TypeVar("Kind")


@dataclass
class ImageConfig:
    """What differs from a checkpoint's own image processor (l2v/images.py)."""

    min_pixels: int | None = None  # least area that a picture is scaled to (Qwen-VL); None: the checkpoint's own (science)
    max_pixels: int | None = None  # largest area that a picture is scaled to (Qwen-VL) (science)
    max_tiles: int | None = None  # most crops of a picture (InternVL) (science)
    longest_edge: int | None = None  # longer side of a picture in pixels (Idefics, SmolVLM) (science)
    split_images: bool | None = None  # whether a picture is cut into crops (Idefics, SmolVLM) (science)


@dataclass
class ProcessorConfig(ImageConfig):
    """How the target sees pictures: a named choice, and settings that win over it."""

    name: str = "hub"  # hub: the checkpoint's own; or a name in the target's processors, such as release


@dataclass
class ModelConfig:
    """A source (text LLM) or a target (vision-language model or text LLM)."""

    name: str = MISSING  # its name in tables (science)
    id: str = MISSING  # hub id (science)
    revision: str | None = None  # hub commit (science); a local folder is known by its content instead
    path: str | None = None  # local folder in place of the hub
    kind: str | None = None  # of a target: vision or text; None: what its folder's config says, on the hub vision
    layers: int | None = None  # number of decoder blocks; None reads the model's config
    width: int | None = None  # size of the residual stream; None reads the model's config
    dtype: str = "auto"  # auto, float32, bfloat16, float16 (science)
    quantization: str | None = None  # 4bit or 8bit through bitsandbytes, on a CUDA GPU; None: weights as they are (science)
    attention: str | None = None  # sdpa, eager, flash_attention_2: the same function up to rounding; None: the default
    trust_remote_code: bool = False  # run code from the checkpoint; off unless you trust it
    device_map: str | None = None  # accelerate's placement over several devices, e.g. "auto"; None: all on runtime.device
    processors: dict[str, ImageConfig] = field(default_factory=dict)  # named settings of its image processor: processor=NAME
    chosen: bool = True  # false: nobody chose it, it is the default; a default source steers the miniature alone


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
    kind: str = "response_pairs"  # response_pairs, generated, prompts or demonstrations (science)
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
    shots: int = 4  # kind demonstrations: worked or direct examples before the question (science)
    chosen: bool = True  # false: nobody chose it, it is the default, and models other than the miniature take still2


@dataclass
class NeutralColumnsConfig:
    """What the columns of the neutral texts are called."""

    question: str = "question"  # (science)
    response: str = "response"  # empty or absent: the text is not answered (science)
    domain: str = "domain"  # (science)


@dataclass
class NeutralConfig:
    """The texts that a learned map is fitted on: none of a contrast, read by source and target at the same places."""

    name: str = MISSING  # its name in tables (science)
    id: str = MISSING  # hub id of the data (science)
    revision: str | None = None  # hub commit (science)
    path: str | None = None  # local .json, .jsonl or .parquet in place of the hub
    split: str = "train"  # split on the hub (science)
    columns: NeutralColumnsConfig = field(default_factory=NeutralColumnsConfig)
    domains: list[str] = field(default_factory=list)  # domains to draw from, empty: all (science)
    texts: int | None = 1000  # how many are drawn, None: all (science)
    places: int = 4  # tokens of each that are read, the final one and ends of words before it; 1 to 10,000 (science)
    seed: int = 0  # of the draw (science)
    chosen: bool = True  # false: nobody chose it, it is the default, which fits the miniature alone


@dataclass
class WeightsConfig:
    """How a method changes the target's weights while it answers; they are restored bit for bit."""

    kind: str | None = None  # linear, layer_swap, ties (merging with the source), mathneuro or checkpoint (science)
    share: float | None = None  # merging: the target's share, 0 to 1; mathneuro: top share of each Linear (science)
    layers: list[int] | None = None  # layer_swap: first block and the one after the last; None: the upper half (science)
    density: float = 0.2  # ties: share of a task vector that is kept (science)
    scale: float = 1.0  # ties: lambda (science)
    factor: float = 1.1  # mathneuro: what the chosen parameters are multiplied with (science)
    base: str | None = None  # ties: the LLM that target and source descend from, hub id or folder (science)
    checkpoint: str | None = None  # checkpoint: folder of the fine-tuned target (science)


@dataclass
class MethodConfig:
    """A row of the tables: an arm that injects a vector, a way to prompt, or a change of the target's weights."""

    name: str = MISSING  # (science)
    prompt: str | None = None  # prompt style it insists on; None: benchmark.prompt (science)
    prefix: str | None = None  # forced_prefix: the beginning of every answer; auto: the benchmark's own words (science)
    shots: int = 0  # few_shot_cot: worked text demonstrations before the question, from the contrast (science)
    min_new_tokens: int = 0  # budget_matched: no answer ends before so many tokens (science)
    map: str | None = None  # shuffled_map, mapped_random: the learned map that they are the control of (science)
    weights: WeightsConfig = field(default_factory=WeightsConfig)


@dataclass
class BenchmarkConfig:
    """Which questions, and how they are put."""

    name: str = MISSING  # folder in l2v/benchmarks, or lm_eval for any lm-eval task (science)
    id: str = MISSING  # hub id of the data (science)
    config_name: str | None = None  # the hub's configuration of the data, where it has several (science)
    revision: str | None = None  # hub commit (science); a local folder is known by its content instead
    path: str | None = None  # local file or folder in place of the hub
    split: str = MISSING  # (science)
    limit: int | None = None  # only the first items, None: all (science)
    prompt: str = "direct"  # prompt style: direct, cot, raw, … (science)
    max_new_tokens: int = 1024  # a sensible limit for its answers; decoding.max_new_tokens overrides it
    part: str | None = None  # only the part select or report of the split, divided by problem; None: all (science)
    part_share: float = 0.3  # share of the problems in the part select, 0 to 1 (science)
    part_seed: int = 0  # of the division, and of the order of problems in a race (science)
    part_first: int | None = None  # a race's block of the part: rank of its first problem; a race sets it itself (science)
    part_last: int | None = None  # rank behind the block's last problem; a race sets it itself (science)
    task: str | None = None  # benchmark=lm_eval: name of the lm-eval task or group (science)
    items: int | None = None  # how many items the split has, for a dry run's estimate; local lines are counted
    num_fewshot: int | None = None  # benchmark=lm_eval: worked examples before the question, None: the task's own (science)
    include_path: str | None = None  # benchmark=lm_eval: folder with task files of your own


@dataclass
class InterventionConfig:
    """What is injected where (Eq. 6-9)."""

    layer: int | None = None  # decoder block of the target, 0-based; None: the middle one (science)
    source_layer: int | None = None  # block of the source; None: at the same relative depth, of maps the best fit (science)
    alpha: float = 0.5  # strength, at least 0; 0 changes nothing (science)
    cutoff: Any = None  # k, a share of the spectrum (0 to 1), or "energy:0.9"; None: 400, narrow models a third (science)
    positions: str = "all"  # all, text, generated, decode, prompt or release (science)
    scale: str = "direction"  # direction: Eq. 7; relative: alpha in median activation norms of the layer (science)


@dataclass
class DecodingConfig:
    """Greedy decoding, or sampling with a seed per row."""

    max_new_tokens: int | None = None  # None: benchmark.max_new_tokens (science)
    stop: list[str] = field(default_factory=list)  # stop strings (science)
    temperature: float = 0.0  # 0: greedy; above: sampling (science)
    top_p: float = 1.0  # sampling from the smallest set of tokens of this probability, above 0 to 1 (science)
    top_k: int = 0  # sampling from the k likeliest tokens, 0: all (science)
    seed: int = 0  # of sampling; each question draws from a stream of its own (science)


@dataclass
class ProtocolConfig:
    """none: every cell as given. select_then_test: choose layer, alpha and k per arm on one split, report on another.

    race, halving: the same, but most cells answer few of the problems that are chosen on (l2v/study/race.py). Without names of
    splits, the benchmark's own split is divided by problem (benchmark.part_share, part_seed).
    """

    name: str = "none"  # none, select_then_test, race or halving
    select: str | None = None  # split to choose on; None: the part select of the benchmark's split
    report: str | None = None  # split to report on; None: the part report of the benchmark's split
    choose: list[str] = field(default_factory=lambda: ["layer", "source_layer", "alpha", "cutoff"])  # or weights.share, …
    budget: float = 0.2  # race, halving: share of the full grid's rows for the choice, above 0 to 1; race: at most 1.75 of it
    eta: float = 2.0  # halving: after each look 1 / eta of the cells go on, 2 to 4; race: to keep its limit
    delta: float = 0.05  # race: share of error of dropping the best cell as proven worse, from 0 (no such drops) to below 1
    margin: float = 0.05  # race: cells known to be this close in score count as equal, from 0 to below 1; the first goes on
    prior: str = "none"  # order: what is known beforehand ranks cells (study/prior.py); strict: the lower half does not race


@dataclass
class FinetuneConfig(FinetuneSettings):
    """`l2v finetune`: supervised fine-tuning on the contrast data's chains of thought (l2v/finetune/settings.py)."""

    out: str | None = None  # folder of the checkpoint, e.g. outputs/checkpoints/mine; any target.path can name it
    model: str = "target"  # what is trained: target (its language model; the vision tower is frozen) or source


@dataclass
class AnalyzeConfig:
    """`l2v analyze`: what the states of source and target show (METHOD 5); never part of an identity."""

    layer: int | None = None  # block of the target whose pictures are drawn, None: intervention.layer or the middle one
    cutoffs: list[int] = field(default_factory=list)  # k of the curves; empty: spread over the smaller width
    permutations: int = 20  # random orders of the coordinates that dispersion is held against, at least 1
    seed: int = 0  # of the permutations


@dataclass
class TrackerConfig:
    """Where finished cells are shown besides the disk; it can never stop a study."""

    name: str = "none"  # none, wandb or trackio
    project: str = "l2v"  # the tracker's project
    entity: str | None = None  # wandb: team or user, None: the account's own
    mode: str = "auto"  # wandb: online, offline, or auto (online where a key is known)
    examples: int = 50  # rows of a cell's table of examples
    timeout: float = 60.0  # seconds that the end of a run waits for uploads


@dataclass
class ExecutorConfig:
    """Which machines compute the cells (l2v/study/executors)."""

    name: str = "local"  # local, processes, slurm or ray
    workers: int | None = None  # how many at once; None: one per GPU, without GPUs one per two cores
    retries: int = 2  # how often a failed cell is tried again before it is set aside
    heartbeat: float = 10.0  # seconds between a worker's signs of life
    expire: float = 90.0  # seconds without a sign of life after which another worker takes over
    gpus: int = 1  # GPUs per worker (slurm, ray); 0 computes on CPUs
    cpus: int = 8  # cores per worker (slurm, ray)
    memory_gb: int = 64  # memory per worker (slurm)
    minutes: int = 720  # time limit of a job, which is then requeued (slurm)
    partition: str | None = None  # slurm: the partition; None: the default
    account: str | None = None  # slurm: whom the time is charged to; None: the default
    constraint: str | None = None  # slurm: features that a node must have
    setup: list[str] = field(default_factory=list)  # slurm: shell lines before the worker starts, e.g. module load cuda
    wait: bool = True  # false: submit and leave (slurm); repeat the command or look at `l2v status`
    address: str | None = None  # ray: auto or host:port of a running cluster; None: start one on this machine


@dataclass
class TableConfig:
    """What `l2v report +experiment=…` makes of an experiment."""

    printed: str | None = None  # the paper's table beside which it stands: table1, table2 or source_scale


@dataclass
class RuntimeConfig:
    """Where and how to compute; never part of an identity."""

    outputs: str = "outputs"  # folder of all studies and of the cache
    world: str = "0"  # whose miniature: 0 is the shipped one; 1 to 4 and odd are what `make worlds` writes
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    batch_rows: int = 1024  # rows (request, cell) per batch, fewer where memory asks for it
    batch_tokens: int = 16384  # padded tokens per batch when reading directions
    cells_per_claim: int = 32  # cells that a worker takes at once; workers share a study claim by claim
    most_cells: int = 50000  # cells of a grid above which it is taken for a mistake
    progress: bool = True  # show the progress bar and what was read
    page: bool = True  # draw the study's page at the end of a run
    tokens_per_second: float | None = None  # tokens that one card generates, for the estimate of a dry run
    prompt_tokens_per_second: float | None = None  # tokens of prompts that it reads; None: ten times as many
    tokens_per_answer: float = 300.0  # mean length of an answer, for the estimate of a dry run
    tokens_per_prompt: float = 1500.0  # mean length of a prompt with its pictures, for the estimate of a dry run


@dataclass
class Config:
    """One cell and how to run it. `l2v run --multirun key=a,b` makes a grid of them."""

    study: str = "default"  # folder under outputs; cells of one study are reported together
    source: ModelConfig = field(default_factory=ModelConfig)
    target: ModelConfig = field(default_factory=ModelConfig)
    processor: ProcessorConfig = field(default_factory=ProcessorConfig)
    contrast: ContrastConfig = field(default_factory=ContrastConfig)
    neutral: NeutralConfig = field(default_factory=NeutralConfig)
    method: MethodConfig = field(default_factory=MethodConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    intervention: InterventionConfig = field(default_factory=InterventionConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    seed: int = 0  # of arms that draw (science)
    scorer: Any = field(default_factory=lambda: ["official"])  # applied when a cell is done: a name, or [official,robust]
    judge: JudgeConfig = field(default_factory=JudgeConfig)  # for scorer judge
    table: TableConfig = field(default_factory=TableConfig)
    analyze: AnalyzeConfig = field(default_factory=AnalyzeConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)
    executor: ExecutorConfig = field(default_factory=ExecutorConfig)
    blocks: list[list[str]] = field(default_factory=list)  # an experiment's grid: the union of these products
    where: dict[str, list[str]] = field(default_factory=dict)  # of blocks: words of a cell -> the words it gets besides
    dry_run: bool = False  # say what would be computed, by method and target, what it would cost, and stop
    list_cells: bool = False  # of a dry run: every cell too


@dataclass
class ImpossibleConfig(Config):
    """In the place of a block's job that cannot be composed: its words, and why; all else is as in another job."""

    words: str = ""
    why: str = ""


def taken(kind: type[Kind], given: Any, **own: Any) -> Kind:
    """A dataclass with the values that `given` holds under its names; own: values that are others than there."""
    names = [one.name for one in fields(cast(Any, kind)) if one.name not in own and hasattr(given, one.name)]
    return kind(**{name: getattr(given, name) for name in names}, **own)


@lru_cache(maxsize=1)
def register() -> None:
    """Make the schema known to Hydra under the name that conf/config.yaml begins with; once, for its store stays.

    Hydra copies its sources for every composition, and with them this store, of which there is one and which gives out copies.
    """
    from hydra.core.config_store import ConfigStore

    ConfigStore.__deepcopy__ = lambda store, _: store
    ConfigStore.instance().store(name="l2v_schema", node=Config)
