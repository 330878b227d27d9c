"""What `l2v VERB --help` prints, from the schema and the config groups; no heavy import."""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from dataclasses import fields, is_dataclass
from typing import Any

from l2v.errors import nearest
from l2v.paths import conf_dir

RUN = """l2v run: one cell, or a grid of cells.

    l2v run source=mini_kin target=mini method=l2v intervention.layer=2 intervention.alpha=0.5
    l2v run --multirun intervention.layer=0,1,2,3 intervention.alpha=0.2,0.4 method=l2v,random seed=0
    l2v run --multirun +experiment=demo

Finished rows are stored at once and never computed again: repeat a command to go on where it stopped.
Options: --multirun (-m); --config-dir DIR adds your own configs; --cfg job shows the composed config and stops.
Exit code: 0 all cells done, 1 some failed, 2 bad input.
"""
EXTRACT = """l2v extract: read the directions that a cell needs into outputs/cache/directions, and print the files.

    l2v extract source=mini_kin contrast=mini

Takes the settings of `l2v run` (see `l2v run --help`).
"""
FINETUNE = """l2v finetune: supervised fine-tuning on the contrast data's chains of thought, the vision tower frozen.

    l2v finetune target=mini +finetune=mini finetune.out=outputs/checkpoints/mini_sft
    l2v run method=finetuned_cot method.weights.checkpoint=outputs/checkpoints/mini_sft

Takes the settings of `l2v run`; its own begin with finetune. (LoRA needs the extra: pip install 'l2v[finetune]').
"""
SCORE = """l2v score: apply scorers to stored responses; no model is loaded.

    l2v score study=demo scorer=official,robust,lenient
    l2v score benchmark=mathvista scorer=official items=testmini.json responses=answers.jsonl out=verdicts.jsonl

The second form scores a file of {id, response or extraction} from anywhere against rows in the benchmark's own fields
(id: id, pid, index or sample_index) and ends with one JSON line per scorer: n, correct, accuracy, unresolved (the scorer
abstains: not right), guessed (official took the nearest option).
Scorers: official (the benchmark's own rule), official_int (MathVista's older rule for integers), robust (strict extraction,
symbolic equality; abstains rather than guesses), lenient (the released code's substring rule), judge (an LLM, judge.*).
"""
AGREEMENT = """l2v agreement: scorer x scorer on the same responses, and every response on which they differ.

    l2v agreement study=demo                                             all scorers that were applied
    l2v agreement benchmark=mathvista items=… responses=… scorer=official,robust,lenient out=differ.csv
"""
REPORT = """l2v report: the tables of a study, from its stored scores, and its page (outputs/STUDY/report/index.html).

    l2v report study=demo                  in colour where there is a terminal; ends with the page's path
    l2v report study=demo --format latex   text (default), md, csv or latex; format=latex is the same
    l2v report study=mine metric=all       every score of the benchmark, not only the headline
    l2v report study=mine compare=theirs   two studies on one page
"""
STATUS = """l2v status: how far a study is, on this machine and on all others that share its folder.

    l2v status study=demo                  cells done, running, failed, waiting; rows a second; time left; failures; workers
    l2v status study=demo --watch          again every two seconds, until everything is done
    l2v status study=demo --format json    one line for programs
"""
ANALYZE = """l2v analyze: what the states of source and target show (dispersion, PCA, spectra, cosines), in pictures.

    l2v analyze source=mini_kin target=mini contrast=mini study=look

Takes the settings of `l2v run`; its own begin with analyze. What it writes, outputs/STUDY/lat/ID: index.html, PNG, CSV.
"""
TRACK = """l2v track: upload what a tracker lacks of a study; nothing is uploaded twice, however often it is repeated.

    l2v track study=demo                           Weights & Biases; offline where no key is known
    l2v track study=demo tracker=trackio           trackio, which keeps its runs on this disk
    l2v run --multirun … tracker=wandb             the same while the cells finish
"""
LM_EVAL = """l2v lm-eval: lm-eval's own command line, with the steered model and the packaged benchmarks.

    l2v lm-eval --tasks mathvista,mmstar --model_args target=mini,method=l2v,intervention.alpha=0.7 --limit 20

--model_args takes the settings of `l2v run` (config_dir=DIR adds your own configs); every other option is lm-eval's
(`lm-eval run --help`). --metadata '{"path": "DIR"}' reads a packaged benchmark's rows from a local folder.
"""
DOCTOR = """l2v doctor: versions, devices, memory, disk, and whether the model hub can be reached."""


TEXTS = {
    "run": RUN,
    "extract": EXTRACT,
    "finetune": FINETUNE,
    "score": SCORE,
    "agreement": AGREEMENT,
    "report": REPORT,
    "status": STATUS,
    "analyze": ANALYZE,
    "track": TRACK,
    "lm-eval": LM_EVAL,
    "doctor": DOCTOR,
}
# The settings of l2v.config.ReportConfig that each verb on a stored study looks at.
USES = {
    "score": ("study", "scorer", "outputs", "benchmark", "items", "responses", "out", "judge", "progress"),
    "agreement": ("study", "scorer", "outputs", "benchmark", "items", "responses", "out", "judge", "progress"),
    "report": ("study", "scorer", "metric", "format", "page", "compare", "examples", "split", "outputs", "out"),
    "status": ("study", "format", "outputs", "watch"),
    "track": ("study", "scorer", "outputs", "progress", "tracker"),
}


def verb_help(verb: str) -> str:
    """The text for one verb."""
    text = TEXTS[verb]
    if verb == "run":
        text += f"\nChoices (GROUP=NAME):\n{_choices()}\n"
        text += f"\nSettings (KEY=VALUE, default; '(science)' makes another cell):\n{_settings()}"
    elif verb == "finetune":
        from l2v.config import FinetuneConfig

        text += "\nSettings:\n" + "\n".join(_describe(FinetuneConfig(), "finetune."))
    elif verb == "analyze":
        from l2v.config import AnalyzeConfig

        text += "\nSettings:\n" + "\n".join(_describe(AnalyzeConfig(), "analyze."))
    elif verb in USES:
        from l2v.config import ReportConfig

        text += "\nSettings:\n" + "\n".join(_describe(ReportConfig(), "", USES[verb]))
    return text


def group_options(group: str) -> list[str]:
    """The names in one packaged config group."""
    return sorted(p.stem for p in (conf_dir() / group).glob("*.yaml"))


def _choices() -> str:
    groups = sorted(p.name for p in conf_dir().iterdir() if p.is_dir())
    return "\n".join(f"  {('+' if g == 'experiment' else '') + g:12} {', '.join(group_options(g))}" for g in groups)


def _settings() -> str:
    from l2v.config import Config

    return "\n".join(_describe(Config(), ""))


def setting_names() -> list[str]:
    """Every setting of the schema with its full key."""
    return [line.split()[0] for line in _settings().splitlines()]


def nearest_settings(key: str) -> list[str]:
    """The settings spelt most like `key`, by their full name or, for a key without a dot, by their last part."""
    names = setting_names()
    by_leaf = {name.rpartition(".")[2]: name for name in reversed(names)}
    return nearest(key, names) if "." in key else [by_leaf[leaf] for leaf in nearest(key, by_leaf)]


def _describe(settings: Any, prefix: str, chosen: Collection[str] | None = None) -> list[str]:
    """A line per setting of a dataclass of defaults: key, default, comment in the schema. `chosen`: only these fields."""
    comments = dict(re.findall(r"^    (\w+): [^#\n]*?(?:#\s*(.*))?$", inspect.getsource(type(settings)), re.MULTILINE))
    lines = []
    for field in fields(settings):
        name, default = prefix + field.name, getattr(settings, field.name)
        if chosen is not None and field.name not in chosen:
            continue
        if is_dataclass(default):
            lines += _describe(default, f"{name}.")
        else:
            lines.append(f"  {name:32} {str(default):10} {comments.get(field.name, '')}".rstrip())
    return lines
