"""Bad command lines, made from the schema: every verb and every setting, with each kind of value that cannot be meant.

    python tests/bad_lines.py FOLDER            # all of them, a quarter of an hour; a line for each that is not refused well
    python tests/bad_lines.py FOLDER 60 run     # every 60th of one verb

FOLDER: an outputs folder with a study "kept".
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

from l2v.cli import VERBS, main
from l2v.config import Config
from l2v.ranges import EMPTY, range_of
from l2v.verbs.help import groups, verb_module

# Settings whose value is one of few words, checked before anything is computed.
NAMES = (
    "source.dtype", "target.dtype", "source.quantization", "target.quantization", "source.attention", "target.attention",
    "processor.name", "contrast.kind", "method.name", "method.weights.kind", "benchmark.name", "benchmark.prompt",
    "benchmark.part", "intervention.positions", "intervention.scale", "protocol.name", "protocol.choose", "scorer",
    "finetune.method", "finetune.unusable", "finetune.model", "tracker.name", "tracker.mode", "executor.name",
    "runtime.device", "judge.prompt", "format", "metric", "missing", "split",
)  # fmt: skip
# Settings that name a file or folder which must be there, with one of the other kind, or without anything of use in it.
PLACES = {
    **dict.fromkeys(("source.path", "target.path", "method.weights.checkpoint", "benchmark.include_path", "model"), "{file}"),
    **dict.fromkeys(("contrast.path", "benchmark.path", "responses", "items", "file"), "{folder}"),
}
# What looks like a number to somebody.
ODD = ("1e400", "-1e400", "0x10", "--", "1:2", "½", "[[1],[2]]")
# Where a setting counts only beside others.
BESIDE = {
    "method.weights.kind": ("method=merging",),
    "method.weights.checkpoint": ("method=finetuned_cot",),
    "benchmark.include_path": ("benchmark=lm_eval", "benchmark.task=gsm8k"),
    "protocol.choose": ("protocol.name=select_then_test",),
    "judge.prompt": ("scorer={judge}", "judge.model=m", "judge.base_url=http://localhost:9/v1"),
    "items": ("benchmark=mathvista", "responses={file}"),
    "responses": ("benchmark=mathvista",),
    "missing": ("benchmark=mathvista", "responses={file}"),
    "model": ("out={folder}/converted",),
}


@dataclass(frozen=True)
class BadLine:
    """A verb, its words, and what its sentence must name: a setting by its last part."""

    verb: str
    words: tuple[str, ...]
    names: str

    def __str__(self) -> str:
        return " ".join((self.verb, *self.words))


def bad_lines(verbs: tuple[str, ...] = VERBS) -> Iterator[BadLine]:
    """All of them. "{folder}" and "{file}" in a word stand for a folder that is there and for a file of no use."""
    for verb in verbs:
        module = verb_module(verb)
        if hasattr(module, "PARTS"):
            settings, hydra = Config(), True
        elif hasattr(module, "SETTINGS"):
            settings, hydra = module.SETTINGS(), False
        else:
            continue
        for key, kind in leaves(settings, ""):
            if not hydra or key.partition(".")[0] in module.PARTS:
                if (verb, key) == ("agreement", "judge.prompt"):
                    continue  # a study's verdicts are stored: nobody is asked
                if verb == "preflight" and key in (*NAMES, *PLACES):
                    continue  # a problem among others: listed with its cells and its mend, exit code 1
                for word in dict.fromkeys(bad_words(key, kind, hydra)):
                    out = () if verb != "finetune" or key == "finetune.out" else ("finetune.out={folder}/tuned",)
                    if verb == "finetune" and key.startswith("source."):
                        out = (*out, "finetune.model=source")
                    yield BadLine(verb, (*out, *_beside(key, hydra), word), key.removesuffix(".name").rpartition(".")[2])
        for group in sorted(set(groups()) & set(module.PARTS) if hydra else ()):
            yield from (
                BadLine(verb, (f"{group}={value}",), group) for value in ("null", "../config", "nosuch", "[]", "{a: 1}")
            )
        yield BadLine(verb, ("word",), "word")
        yield BadLine(verb, ("--bogus",), "bogus")
        yield BadLine(verb, ("nosuch=1",), "nosuch")


def _beside(key: str, hydra: bool) -> list[str]:
    """What else is given for a setting to count."""
    return [word.replace("{judge}", "[judge]" if hydra else "robust,judge") for word in BESIDE.get(key, ())]


def leaves(settings: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Every setting with its full key and its declared type."""
    hints = get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name, None)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", hints[field.name]


def bad_words(key: str, kind: Any, hydra: bool) -> Iterator[str]:
    """key=value words that no reading of the setting allows."""
    kinds = {kind, *get_args(kind)}
    listed = "list" in str(kind) or "dict" in str(kind)
    yield f"{key}x=1"
    if hydra:
        yield f"{key}=???"
    if key in NAMES:
        yield f"{key}=[nosuch]" if listed else f"{key}=nosuch"
    if key in PLACES:
        yield f"{key}=/none/such"
        yield f"{key}={PLACES[key]}"
    if listed:
        yield from (f"{key}={value}" for value in ("x", "1", "''"))
    elif kinds & {int, float}:
        within = range_of(key)
        outside = [value for value in (-1, 0, 1.5, 5) if not within.holds(value) and (float in kinds or value != 1.5)]
        whole = ("1.5", f"1{20 * '0'}") if int in kinds else ()
        yield from (f"{key}={value}" for value in ("x", "nan", "inf", "''", "[1]", *ODD, *whole, *outside))
    elif bool in kinds:
        yield from (f"{key}={value}" for value in ("x", "''", "[true]", "nan"))
    elif str in kinds and key not in EMPTY:
        # Verbs without Hydra's grammar take brackets as they stand.
        yield from (f"{key}={value}" for value in (("''", "[a]", "{a: 1}") if hydra else ("''",)))


# What a command may take on an idle machine, in seconds of a processor.
MOST_SECONDS = 3.0
READING = ("status", "power", "score", "agreement", "report", "track")


def words_of(line: BadLine, outputs: Path) -> list[str]:
    """The whole command: where the studies are, and a study where the verb needs one."""
    useless, empty = outputs / "useless", outputs / "empty"
    words = [word.replace("{file}", str(useless)).replace("{folder}", str(empty)) for word in line.words]
    given = {word.partition("=")[0] for word in words}
    if line.verb in READING:
        own = {"study", "outputs", "responses", "items", "benchmark.name", "benchmark"} & given
        return [line.verb, *([] if own else ["study=kept", f"outputs={outputs}"]), *words]
    if hasattr(verb_module(line.verb), "PARTS"):
        # What a dry run reads no questions for is refused by a run.
        dry = line.verb == "run" and not words[-1].startswith(("benchmark.p", "benchmark.s"))
        return [line.verb, f"runtime.outputs={outputs}", *(["dry_run=true"] if dry else []), *words]
    return [line.verb, *words]


def fault(line: BadLine, outputs: Path) -> str:
    """What is wrong with how a bad line was refused; "" for nothing."""
    out, err = io.StringIO(), io.StringIO()
    began, had_torch = time.process_time(), "torch" in sys.modules
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code: object = main(words_of(line, outputs))
    except BaseException as error:  # a traceback is what is looked for
        code = repr(error)[:200]
    told, seconds = err.getvalue(), time.process_time() - began
    faults = [f"exit code {code}"] if code != 2 else []
    faults += ["not one sentence"] if len(told.splitlines()) != 1 else []
    faults += [f"'{line.names}' is not named"] if line.names not in told else []
    faults += [f"{seconds:.1f} s"] if seconds > MOST_SECONDS else []
    faults += ["torch was imported"] if "torch" in sys.modules and not had_torch else []
    return f"{line}: {', '.join(faults)}: {told[:200]!r}" if faults else ""


if __name__ == "__main__":
    place, step, *chosen = [*sys.argv[1:], "1"][:2] + sys.argv[3:]
    (Path(place) / "useless").write_text("nothing\n")
    (Path(place) / "empty").mkdir(exist_ok=True)
    lines = list(bad_lines(tuple(chosen) or VERBS))[:: int(step)]
    found = 0
    for line in lines:
        if told := fault(line, Path(place)):
            found += 1
            print(told, flush=True)
    print(f"{len(lines)} bad lines, {found} not refused well")
    sys.exit(bool(found))
