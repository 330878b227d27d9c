"""One table of columns: every setting of a cell and every figure, its name, its role and its printed word.

The columns of results.csv, of trackers and of the page, the families of tests, the arms, what a protocol may choose, and what
two studies are compared by all follow from it. A new setting of a cell is one line here; a test holds that no field of `Cell`
is missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from l2v.benchmarks.parts import Part
from l2v.config import ContrastConfig, DecodingConfig, InterventionConfig, ModelConfig, NeutralConfig, WeightsConfig
from l2v.identity import canonical_json
from l2v.images import ImageSettings

if TYPE_CHECKING:
    from l2v.study.cells import Cell

Value: TypeAlias = "str | int | float | bool | None"

# What is asked of whom and how it is answered: rows that share all of it are compared with one baseline.
ITEMS = "items"
# What makes an arm, besides.
ARM = "arm"
# What an arm is searched over: of cells that differ in nothing else, one is reported.
SWEPT = "swept"
# Which score by which scorer, the score's figures, what is said of it beside others, and how the answers look.
SCORE, FIGURE, COMPARED, SEARCHED, OUTPUT = "score", "figure", "compared", "searched", "output"


@dataclass(frozen=True)
class Column:
    """One column.

    name: in results.csv, trackers and protocol.choose. role: one of the constants above. path: where a cell holds it, "" for
    a figure. word: what stands before its value in print, "" where the value speaks for itself; a figure's title in tables.
    usual: a value that need not be said. behind: the column whose value stands for this one too, as a model's name for its
    revision; print tells it only where one name stands for several. choosable: a protocol may choose it per arm. own: a cell
    is compared with the baseline that shares it, where there are several. loose: two studies may differ in it and still be
    compared cell by cell. axis: the title of an axis along which the page may draw it, "" where it may not.
    """

    name: str
    role: str
    path: str = ""
    word: str = ""
    usual: Value = None
    behind: str = ""
    choosable: bool = False
    own: bool = False
    loose: bool = False
    axis: str = ""
    absent: Value = None  # the value of a cell that has no such part

    def of(self, cell: Cell) -> Value:
        """The cell's value: a number or text, None where the method does not depend on it."""
        value: Any = cell
        for name in self.path.split("."):
            value = None if value is None else getattr(value, name)
        return self.absent if value is None else _plain(value)


def _plain(value: Any) -> Value:
    """Lists and dictionaries as JSON, so that no two of them look alike; an empty one is no setting."""
    if isinstance(value, Part):
        return value.describe()
    if isinstance(value, ImageSettings):
        return str(value)
    if isinstance(value, (list, dict)):
        return canonical_json(value) if value else None
    found: Value = value
    return found


def _model(name: str, role: str) -> list[Column]:
    """A model: what stands behind its name, whichever of the two it is."""
    return [
        Column(f"{name}_id", role, f"{name}.id", f"{name} id", behind=name, loose=True),
        Column(f"{name}_dtype", role, f"{name}.dtype", f"{name} dtype", usual=ModelConfig.dtype, behind=name, loose=True),
    ]


def _contrast(field: str, usual: Value = None) -> Column:
    """A setting of the pairs of texts that their name usually stands for."""
    word = f"contrast {field}".replace("_", " ")
    return Column(f"contrast_{field}", ARM, f"contrast.{field}", word, usual=usual, behind="contrast", loose=True)


def _neutral(field: str, usual: Value = None) -> Column:
    return Column(f"neutral_{field}", ARM, f"neutral.{field}", f"neutral {field}", usual=usual, behind="neutral", loose=True)


def _weights(field: str, role: str, usual: Value = None, axis: str = "") -> Column:
    word = f"weights {field}"
    return Column(f"weights_{field}", role, f"weights.{field}", word, usual, choosable=role == SWEPT, axis=axis)


def _share(name: str, word: str, axis: str = "") -> Column:
    return Column(f"{name}_share", OUTPUT, word=word, axis=axis)


_SETTINGS = [
    Column("source", ARM, "source.name", "from"),
    Column("contrast", ARM, "contrast.name", "contrast"),
    Column("per_domain", ARM, "contrast.per_domain", "pairs per domain", ContrastConfig.per_domain,
           axis="contrast pairs per domain"),
    Column("contrast_seed", ARM, "contrast.seed", "contrast seed", ContrastConfig.seed),
    Column("neutral", ARM, "neutral.name", "neutral"),
    Column("neutral_texts", ARM, "neutral.texts", "neutral texts", axis="neutral texts"),
    Column("neutral_places", ARM, "neutral.places", "places", NeutralConfig.places),
    Column("neutral_seed", ARM, "neutral.seed", "neutral seed", NeutralConfig.seed),
    Column("map", ARM, "map", "map"),
    Column("target", ITEMS, "target.name"),
    Column("processor", ITEMS, "target.images", "processor"),
    Column("benchmark", ITEMS, "benchmark.name"),
    Column("task", ITEMS, "benchmark.task"),
    Column("split", ITEMS, "benchmark.split"),
    Column("part", ITEMS, "benchmark.part"),
    Column("prompt", ARM, "benchmark.prompt", "prompt", "direct", own=True),
    Column("limit", ITEMS, "benchmark.limit", "first"),
    Column("method", ARM, "method"),
    Column("weights", ARM, "weights.kind"),
    Column("layer", SWEPT, "layer", "layer", choosable=True, axis="layer (decoder block of the target)"),
    Column("source_layer", SWEPT, "source_layer", "source layer", choosable=True, axis="layer of the source"),
    Column("alpha", SWEPT, "alpha", "alpha", choosable=True, axis="alpha"),
    Column("cutoff", SWEPT, "cutoff", "k", choosable=True, axis="k (bins kept, both halves)"),
    Column("positions", ARM, "positions", "positions", InterventionConfig.positions, choosable=True, axis="positions"),
    Column("scale", ARM, "scale", "scale", InterventionConfig.scale, choosable=True),
    Column("seed", ARM, "seed", "seed", axis="seed"),
    Column("packages", ARM, "packages", "of"),
    _weights("share", SWEPT, axis="share of the weights"),
    _weights("layers", SWEPT),
    _weights("density", SWEPT, WeightsConfig.density, axis="density"),
    _weights("scale", SWEPT, WeightsConfig.scale, axis="scale of the task vectors"),
    _weights("factor", SWEPT, WeightsConfig.factor, axis="factor"),
    _weights("base", ARM),
    _weights("checkpoint", ARM),
    Column("shots", ARM, "shots", "shots", choosable=True, axis="shots"),
    Column("prefix", ARM, "prefix", "prefix", choosable=True),
    Column("source_revision", ARM, "source.revision", "source revision", behind="source", loose=True),
    Column("target_revision", ITEMS, "target.revision", "target revision", behind="target", loose=True),
    Column("benchmark_revision", ITEMS, "benchmark.revision", "benchmark revision", behind="benchmark", loose=True),
    *_model("source", ARM),
    *_model("target", ITEMS),
    Column("benchmark_id", ITEMS, "benchmark.id", "benchmark id", behind="benchmark", loose=True),
    Column("benchmark_config_name", ITEMS, "benchmark.config_name", "configuration", behind="benchmark"),
    Column("benchmark_num_fewshot", ITEMS, "benchmark.num_fewshot", "task's examples"),
    _contrast("id"),
    _contrast("revision"),
    _contrast("kind", ContrastConfig.kind),
    _contrast("split", ContrastConfig.split),
    _contrast("columns"),
    _contrast("domains"),
    _contrast("cot_instruction", ContrastConfig.cot_instruction),
    _contrast("direct_instruction", ContrastConfig.direct_instruction),
    _contrast("max_new_tokens", ContrastConfig.max_new_tokens),
    _contrast("shots", ContrastConfig.shots),
    *map(_neutral, ("id", "revision", "columns", "domains")),
    _neutral("split", NeutralConfig.split),
]  # fmt: skip

_FIGURES = [
    Column("metric", SCORE),
    Column("scorer", SCORE),
    Column("value", FIGURE, axis="%"),
    Column("n", FIGURE, word="n"),
    Column("problems", FIGURE),
    Column("low", FIGURE),
    Column("high", FIGURE),
    Column("diff", COMPARED, axis="difference to direct, points"),
    Column("diff_low", COMPARED),
    Column("diff_high", COMPARED),
    Column("flips_right", COMPARED),
    Column("flips_wrong", COMPARED),
    Column("p", COMPARED),
    Column("p_holm", SEARCHED, word="p (Holm)"),
    Column("selected", SEARCHED),
    Column("reported", SEARCHED),
    Column("budget", SEARCHED, word="cells searched"),
    Column("p_best_of_grid", SEARCHED, word="p (best of grid)"),
    Column("p_best_of_seeds", SEARCHED),
    Column("null_seeds", SEARCHED),
    Column("null_cells", SEARCHED),
    Column("tokens", OUTPUT, word="tokens", axis="mean output tokens"),
    _share("steps", "steps %", "answers that show steps, %"),
    _share("no_answer", "no answer %", "no answer found, %"),
    _share("unresolved", "unresolved %", "unresolved, %"),
    _share("guessed", "guessed %"),
    _share("truncated", "cut off %", "answers cut off, %"),
]

_DECODING = [
    Column("min_new_tokens", ARM, "min_new_tokens", "at least tokens", choosable=True),
    Column("max_new_tokens", ITEMS, "max_new_tokens", "tokens at most", loose=True),
    Column("stop", ITEMS, "stop", "stop at", loose=True),
    Column("temperature", ITEMS, "sampling.temperature", "temperature", DecodingConfig.temperature, loose=True, absent=0.0),
    Column("top_p", ITEMS, "sampling.top_p", "top-p", DecodingConfig.top_p, loose=True),
    Column("top_k", ITEMS, "sampling.top_k", "top-k", DecodingConfig.top_k, loose=True),
    Column("decoding_seed", ARM, "sampling.seed", "decoding seed", DecodingConfig.seed, own=True, loose=True),
    Column("seconds", OUTPUT),
    Column("bound", OUTPUT),
]

# All of them, in the order of results.csv.
COLUMNS = {column.name: column for column in (Column("cell", "", "id"), Column("study", ""), *_SETTINGS, *_FIGURES, *_DECODING)}
# What a cell is: two cells that differ in none of these are one cell.
SETTINGS = [column for column in COLUMNS.values() if column.role in (ITEMS, ARM, SWEPT)]


def names(*roles: str) -> tuple[str, ...]:
    """The names of all columns of these roles, in the order of the table."""
    return tuple(column.name for column in COLUMNS.values() if column.role in roles)


# Rows that answer the same questions on the same model in the same way: compared with one baseline, corrected together.
FAMILY = names(ITEMS, SCORE)
# What makes an arm within a family; the method first.
ARM_COLUMNS = ("method", *(name for name in names(ARM) if name != "method"))
# What tells the `direct` cells of one family apart: a cell is compared with the one that shares these.
OWN = tuple(column.name for column in SETTINGS if column.own)
# What `protocol.choose` may name, as a column or as the setting is called in a cell.
CHOOSABLE = {word: column for column in SETTINGS if column.choosable for word in (column.name, column.path)}


def settings(cell: Cell) -> dict[str, Value]:
    """Every setting of a cell by column, with its id."""
    return {"cell": cell.id} | {column.name: column.of(cell) for column in SETTINGS}


def preferred(told: Callable[[str], object]) -> tuple[float, ...]:
    """Of equally good cells the first by this goes on: the smaller alpha, k and layer. told: a cell's value by column."""
    values = (told(name) for name in ("alpha", "cutoff", "layer"))
    return tuple(float(value) if isinstance(value, (int, float)) else 0.0 for value in values)


def searched(row: Mapping[Any, Any]) -> list[str]:
    """What an arm is searched over, in words; the layer of the source where it is another one."""
    own = [c for c in SETTINGS if c.role == SWEPT and (c.name != "source_layer" or row[c.name] != row["layer"])]
    return [f"{c.word} {short(row[c.name])}" for c in own if short(row[c.name])]


def key(row: Mapping[Any, Any], columns: Iterable[str]) -> tuple[Value, ...]:
    """A row's values in these columns, to group by; a gap is None, whether it comes from a cell or from a frame."""
    return tuple(None if _gap(row[name]) else row[name] for name in columns)


def short(value: object) -> str:
    """A setting as text; a gap is empty."""
    if _gap(value):
        return ""
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


def _gap(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def describe(cell: Cell) -> str:
    """A cell in one line: its method, models and every setting that is not the usual one; ids and revisions are left out."""
    told = {column.name: column.of(cell) for column in SETTINGS}
    first = [cell.method, f"on {cell.target.name}"]
    first += [f"from {told['source']}"] if told["source"] is not None else []
    first += [f"({told['weights']})"] if told["weights"] is not None else []
    where = "/".join(short(told[name]) for name in ("benchmark", "task", "split") if told[name] is not None)
    said = {"method", "target", "source", "weights", "benchmark", "task", "split"}
    own = [c for c in SETTINGS if c.name not in said and not _hidden(c) and told[c.name] not in (None, c.usual)]
    parts = [_said(c, told[c.name], "=") for c in own if c.role != ITEMS]
    items = [_said(c, told[c.name], " ") for c in own if c.role == ITEMS]
    return f"{' '.join([*first, *parts])} [{', '.join([where, *items])}]"


def _hidden(column: Column) -> bool:
    """What a person does not read: ids, fingerprints and names of fields."""
    return column.name.endswith(("_id", "_revision", "_columns"))


def _said(column: Column, value: Value, sign: str) -> str:
    text = f'"{value}"' if isinstance(value, str) and " " in value and column.name != "part" else short(value)
    return f"{column.word}{sign}{text}" if column.word else text
