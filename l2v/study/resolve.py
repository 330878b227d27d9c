"""From a composed configuration to its cell: every check that needs no weights, and the identity of models and contrasts.

The identity of the questions is made in questions.py, which needs neither torch nor transformers.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from l2v.benchmarks.base import Benchmark
from l2v.benchmarks.catalogue import ANY_TASK, benchmark_package, open_benchmark
from l2v.checkpoint import ATTENTIONS, DTYPES, PLACEMENTS, QUANTIZATIONS, ModelFacts
from l2v.config import Config, ContrastConfig, ModelConfig, NeutralConfig, taken
from l2v.errors import UserError, unknown
from l2v.hub import commit_of
from l2v.identity import fingerprint
from l2v.images import ImageSettings
from l2v.paths import plain_name
from l2v.steering.positions import POSITIONS
from l2v.study.cells import PROMPT_METHODS, WEIGHT_METHODS, Cell, ContrastId, ModelId, NeutralId, Sampling, Weights
from l2v.study.defaults import check_contrast, check_neutral, check_source
from l2v.study.model_files import MERGINGS, check_models, kind_of_target, model_facts
from l2v.study.questions import benchmark_id, data_ref, data_revision, pinned
from l2v.transfer.arms import ARMS, MAPS
from l2v.transfer.contrast import INSTRUCTED, KINDS
from l2v.transfer.cutoff import Cutoff, parse_cutoff

# The release's one-sided cutoff of 200 for Qwen2-VL and InternVL2, counted two-sided (METHOD 2).
DEFAULT_CUTOFF = 400

# Hub ids of checkpoints in their authors' own format, which `l2v convert` rewrites.
CONVERTED = ("OpenGVLab/InternVL2-",)
# Where it puts what it makes from packages.
PACKAGED = "outputs/checkpoints"
SCALES = ("direction", "relative")


def resolve(config: Config) -> Cell:
    """The cell of a composed configuration. Every check that needs no weights is made here.

    Raises UserError, one sentence each: unknown method, positions or scale; missing local path; layer or source layer out
    of range; alpha negative or not finite; a cutoff of a wrong form or above the smaller width.
    """
    method = config.method.name
    # One after the other: what other distributions bring is looked for only where a name is none of ours.
    if not any(method in known for known in (PROMPT_METHODS, WEIGHT_METHODS, ARMS)):
        raise unknown("method", method, (*PROMPT_METHODS, *WEIGHT_METHODS, *ARMS))
    plain_name(config.study)
    if config.contrast.kind not in KINDS:
        raise unknown("contrast kind", config.contrast.kind, KINDS)
    for role, model in (("source", config.source), ("target", config.target)):
        if model.dtype not in DTYPES:
            raise unknown(f"{role}.dtype", model.dtype, DTYPES)
    base: dict[str, Any] = {
        "method": method,
        "target": replace(model_id(config.target, "target"), images=image_settings(config)),
        "benchmark": benchmark_id(config.benchmark, config.method.prompt),
        **_decoding(config),
        **_asking(config),
        "packages": _packages(config),
    }
    check_models(config)
    if method in ARMS:
        if config.intervention.positions == "decode" and base["max_new_tokens"] == 1 and config.intervention.alpha > 0:
            raise UserError(
                "intervention.positions=decode writes to generated tokens as they are fed back, and decoding.max_new_tokens=1 "
                "feeds none back; give at least 2 or other positions."
            )
        return Cell(**base, **_intervention(config))
    return Cell(**base, **weight_settings(config)) if method in WEIGHT_METHODS else Cell(**base)


def _packages(config: Config) -> str | None:
    """Which other distributions a cell depends on, and in which version."""
    names = {ARMS.package(config.method.name), benchmark_package(config.benchmark.name)} - {None}
    return ", ".join(sorted(map(str, names))) or None


def _asking(config: Config) -> dict[str, Any]:
    """What the method puts before the question and into the answer; settings that it does not depend on are left out."""
    method = config.method
    takes = PROMPT_METHODS.get(method.name)
    if takes == "shots":
        if method.shots < 1:
            raise UserError(f"method={method.name} needs method.shots of at least 1, not {method.shots}.")
        check_contrast(config, [config.target])
        return {"shots": method.shots, "contrast": contrast_id(config.contrast)}
    if takes == "min_new_tokens":
        if method.min_new_tokens < 1:
            raise UserError(f"method={method.name} needs method.min_new_tokens: the mean tokens of the arm it stands against.")
        return {"min_new_tokens": method.min_new_tokens}
    if takes == "prefix":
        if not method.prefix:
            raise UserError(f"method={method.name} needs method.prefix: the beginning of every answer, or auto.")
        own = (
            Benchmark.REASONING_PREFIX
            if config.benchmark.name == ANY_TASK
            else open_benchmark(config.benchmark.name).REASONING_PREFIX
        )
        return {"prefix": own if method.prefix == "auto" else method.prefix}
    return {}


def _decoding(config: Config) -> dict[str, Any]:
    """How answers are generated: as asked, else as the lm-eval task or the benchmark's YAML says."""
    chosen, length, stop = config.decoding, config.benchmark.max_new_tokens, list(config.decoding.stop)
    temperature, top_p, top_k = chosen.temperature, chosen.top_p, chosen.top_k
    if config.benchmark.name == ANY_TASK:
        from l2v.benchmarks.lm_tasks import open_task

        own = open_task(data_ref(config.benchmark)).decoding()
        length, stop = own.max_new_tokens, stop or list(own.stop)
        if temperature == 0:
            temperature, top_p, top_k = own.temperature, own.top_p, own.top_k
    length = length if chosen.max_new_tokens is None else chosen.max_new_tokens
    sampling = Sampling(float(temperature), float(top_p), top_k, chosen.seed) if temperature > 0 else None
    return {"max_new_tokens": length, "stop": stop, "sampling": sampling}


def _intervention(config: Config) -> dict[str, Any]:
    """The settings of a steered cell."""
    chosen, arm = config.intervention, ARMS[config.method.name]
    reader = config.source if arm.reads == "source" else config.target
    if reader is config.source:
        check_source(config)
    check_contrast(config, [reader] if arm.needs == "mean" and chosen.scale != "relative" else [reader, config.target])
    target = model_facts(config.target)
    source = model_facts(reader)
    if arm.needs == "both" and config.contrast.kind == "generated":
        raise UserError(
            f"Method '{config.method.name}' needs the same texts for source and target; contrast.kind=generated lets each "
            "model write its own: choose response_pairs or prompts."
        )
    layer = target.layers // 2 if chosen.layer is None else chosen.layer
    _check_layer("intervention.layer", layer, target, config.target.name)
    source_layer = chosen.source_layer
    if source_layer is None and not arm.learned:
        source_layer = min(round(layer / target.layers * source.layers), source.layers - 1)
    if source_layer is not None:
        _check_layer("intervention.source_layer", source_layer, source, reader.name)
    if chosen.positions not in POSITIONS:
        raise unknown("intervention.positions", chosen.positions, POSITIONS)
    if chosen.scale not in SCALES:
        raise unknown("intervention.scale", chosen.scale, SCALES)
    return {
        "source": model_id(reader, "source" if arm.reads == "source" else "target"),
        "contrast": contrast_id(config.contrast),
        "layer": layer,
        "source_layer": source_layer,
        "alpha": float(chosen.alpha),
        "cutoff": _checked_cutoff(chosen.cutoff, source.width, target.width, arm.high) if arm.uses_cutoff else None,
        "positions": chosen.positions,
        "scale": chosen.scale,
        "seed": config.seed if arm.seeded else None,
        **(_mapping(config) if arm.learned else {}),
    }


def _mapping(config: Config) -> dict[str, Any]:
    """What a cell of a learned map holds besides: the texts that it is fitted on, and of a control which map it is one of."""
    method = config.method
    check_neutral(config)
    control = ARMS[method.name].learned == "chosen"
    if control and method.map not in MAPS:
        raise unknown("method.map", str(method.map), MAPS)
    return {"neutral": _neutral_id(config.neutral), "map": method.map if control else None}


def _neutral_id(config: NeutralConfig) -> NeutralId:
    own = {"columns": dict(vars(config.columns)), "domains": list(config.domains)}
    return taken(NeutralId, config, revision=pinned(config, "neutral.path"), **own)


def weight_settings(config: Config) -> dict[str, Any]:
    """The settings of a cell that changes the target's weights: what is merged, scaled or put in their place."""
    chosen = config.method.weights
    _check_weights(config)
    if chosen.kind in MERGINGS:
        base = None
        if chosen.kind == "ties":
            assert chosen.base is not None
            base = _fingerprint(chosen.base)
        shares = {"share": chosen.share} if chosen.kind != "ties" else {"density": chosen.density, "scale": chosen.scale}
        layers = list(chosen.layers) if chosen.kind == "layer_swap" and chosen.layers else None
        weights = Weights(chosen.kind, **shares, layers=layers, base=base)
        return {"weights": weights, "source": model_id(config.source, "source")}
    if chosen.kind == "mathneuro":
        check_contrast(config, [config.target])
        weights = Weights("mathneuro", share=0.05 if chosen.share is None else chosen.share, factor=chosen.factor)
        return {"weights": weights, "contrast": contrast_id(config.contrast)}
    if chosen.kind == "checkpoint":
        if chosen.checkpoint is None:
            raise UserError("method=finetuned_cot needs method.weights.checkpoint: a folder that `l2v finetune` wrote.")
        mend = f"`l2v finetune target={config.target.name} +finetune=virgo finetune.out={chosen.checkpoint}` writes it"
        if Path(chosen.checkpoint).is_file():
            raise UserError(
                f"method.weights.checkpoint={chosen.checkpoint} is a file; name the folder that `l2v finetune` wrote."
            )
        path = data_revision(chosen.checkpoint, None, "method.weights.checkpoint", mend)
        return {"weights": Weights("checkpoint", checkpoint=path)}
    raise unknown("method.weights.kind", str(chosen.kind), (*MERGINGS, "mathneuro", "checkpoint"))


def _check_weights(config: Config) -> None:
    """Raise UserError for a share that does nothing, and for a merging of models of another depth or width."""
    chosen = config.method.weights
    key = "method.weights"
    if chosen.kind == "mathneuro" and chosen.share == 0:
        raise UserError(f"{key}.share=0 scales no parameter; choose a share above 0.")
    if chosen.kind not in MERGINGS:
        return
    if chosen.kind == "ties" and chosen.base is None:
        raise UserError("method.weights.kind=ties needs method.weights.base: the LLM that both models descend from.")
    target, source = model_facts(config.target), model_facts(config.source)
    if target != source:
        raise UserError(
            f"source={config.source.name} cannot be merged into target={config.target.name}: {source.layers} decoder blocks of "
            f"width {source.width} against {target.layers} of {target.width}; choose the LLM that the target was built on."
        )
    if chosen.kind == "layer_swap" and chosen.layers is not None:
        layers = list(chosen.layers)
        if len(layers) != 2 or not 0 <= layers[0] < layers[1] <= target.layers:
            told = f"the first block and the one after the last, within 0 to {target.layers}"
            raise UserError(f"{key}.layers={layers} must be {told}.")


def _fingerprint(where: str) -> str:
    """A local folder by its content, a hub id by the commit of its main branch or, where nobody can say, as it stands."""
    return fingerprint(where) if Path(where).exists() else commit_of("model", where, None) or where


def _check_layer(key: str, layer: int, facts: ModelFacts, name: str) -> None:
    if not 0 <= layer < facts.layers:
        raise UserError(f"{key}={layer} is out of range: {name} has decoder blocks 0 … {facts.layers - 1}.")


def _checked_cutoff(cutoff: Cutoff | None, source_width: int, target_width: int, high: bool) -> Cutoff:
    """The cutoff in the one form that goes into an identity: an int, a float or "energy:<share>"; `high`: of a high-pass."""
    smaller = min(source_width, target_width)
    if cutoff is None:
        return min(DEFAULT_CUTOFF, smaller // 3)
    value = parse_cutoff(cutoff)
    if isinstance(cutoff, str) and cutoff.startswith("energy:"):
        return f"energy:{value:g}"
    k = value if isinstance(value, int) else max(1, round(value * source_width))
    if k > smaller:
        raise UserError(
            f"intervention.cutoff={cutoff} gives k={k}, above the smaller of the widths {source_width} (source) and "
            f"{target_width} (target); choose at most {smaller}."
        )
    if high and k > (most := 2 * ((smaller - 1) // 2)):
        raise UserError(
            f"intervention.cutoff={cutoff} gives k={k}, above which both widths, {source_width} (source) and {target_width} "
            f"(target), share no frequency: the high-pass leaves nothing; choose at most {most}."
        )
    return value


def model_id(config: ModelConfig, role: str) -> ModelId:
    """The identity of a model. Raises UserError for a missing folder, or an unknown quantization, attention or device_map."""
    for key, value, known in (
        ("quantization", config.quantization, QUANTIZATIONS),
        ("attention", config.attention, ATTENTIONS),
        ("device_map", config.device_map, PLACEMENTS),
    ):
        if value is not None and value not in known and not (key == "device_map" and value.startswith("cuda:")):
            raise unknown(f"{role}.{key}", value, known)
    dtype = f"{config.dtype}+{config.quantization}" if config.quantization else config.dtype
    mend = ""
    if config.id.startswith(CONVERTED):
        mend = f"`l2v convert model={config.id} out={config.path}` makes it"
    elif config.path == f"{PACKAGED}/{config.name}":
        mend = f"`l2v convert model={config.name}` makes it"
    return ModelId(config.name, config.id, pinned(config, f"{role}.path", mend), dtype)


def image_settings(config: Config) -> ImageSettings | None:
    """What differs from the target's own image processor; None where nothing does.

    Raises UserError for a name that the target does not have and for values out of range.
    """
    chosen, known = config.processor, config.target.processors
    if chosen.name != "hub" and chosen.name not in known:
        listed = ", ".join(["hub", *known])
        raise UserError(
            f"Target '{config.target.name}' has no processor settings '{chosen.name}' (there: {listed}); choose "
            f"processor=hub, or write processors.{chosen.name} into its YAML."
        )
    named = vars(known[chosen.name]) if chosen.name in known else {}
    own = {name: value for name, value in vars(chosen).items() if name != "name" and value is not None}
    settings = ImageSettings(**{**named, **own})
    settings.check()
    if settings.given() and kind_of_target(config.target) == "text":
        raise UserError(f"Target '{config.target.name}' is a text model, which takes no pictures; leave processor.… out.")
    return settings if settings.given() else None


def contrast_id(config: ContrastConfig) -> ContrastId:
    """The identity of a contrast set; instructions count only for the kinds that use them."""
    prompted = config.kind in INSTRUCTED
    return taken(
        ContrastId,
        config,
        revision=pinned(config, "contrast.path"),
        columns=dict(vars(config.columns)),
        domains=list(config.domains),
        cot_instruction=config.cot_instruction if prompted else None,
        direct_instruction=config.direct_instruction if prompted else None,
        max_new_tokens=config.max_new_tokens if config.kind == "generated" else None,
        shots=config.shots if config.kind == "demonstrations" else None,
    )
