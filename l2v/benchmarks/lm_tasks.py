"""Any generate_until task or group of lm-eval as a benchmark: its prompts, its images, its filters, its own metrics.

An item is one document of one task; its id is "<task>:<index>". A verdict is right when the task's first metric, under its
first filter, gives that document 1. The task's own metrics, aggregated as lm-eval does, are scores beside the headline.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

from PIL import Image

from l2v.benchmarks.base import TEXT, Answer, Benchmark, Item, OwnScore, Question, Verdict
from l2v.benchmarks.catalogue import DataRef, task_folders
from l2v.benchmarks.data import read_image
from l2v.benchmarks.lm_data import data_checked, data_commit, own_rows
from l2v.errors import UserError, nearest, unknown
from l2v.hub import bound_requests, unanswered
from l2v.identity import digest, fingerprint

# Decoding settings that a task may ask for and a cell can carry; the rest change nothing in greedy decoding.
GREEDY_KEYS = {
    "until", "max_gen_toks", "max_new_tokens", "max_tokens", "max_length", "do_sample", "temperature", "top_p", "top_k",
}  # fmt: skip
DEFAULT_MAX_TOKENS = 256  # lm-eval's own, where a task names none
# Where a task file names a task, a group or a tag.
NAMED = re.compile(rb"^[ \t-]*[\"']?(?:task|group|tag)[\"']?[ \t]*:[ \t]*[\"']?([^\s\"'#\[{]+)", re.MULTILINE)
COT = "\nLet's think step by step."


@dataclass(frozen=True)
class TaskDecoding:
    """How a task wants its answers: at most `max_new_tokens`, ended by one of `stop`; temperature 0 is greedy."""

    max_new_tokens: int
    stop: tuple[str, ...]
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0


def decoding_of(kwargs: Mapping[str, Any], where: str) -> TaskDecoding:
    """Decoding from lm-eval's generation_kwargs. Raises UserError for settings that cannot be honoured."""
    strange = sorted(set(kwargs) - GREEDY_KEYS)
    if strange:
        raise UserError(f"{where} asks for {', '.join(strange)} in its generation_kwargs, which l2v does not support.")
    until = kwargs.get("until") or []
    stop = tuple(text for text in ([until] if isinstance(until, str) else until) if text)
    tokens = next((kwargs[k] for k in ("max_gen_toks", "max_new_tokens", "max_tokens") if k in kwargs), DEFAULT_MAX_TOKENS)
    if not kwargs.get("do_sample", False):
        return TaskDecoding(int(tokens), stop)
    temperature = float(kwargs.get("temperature", 1.0))
    return TaskDecoding(int(tokens), stop, temperature, float(kwargs.get("top_p", 1.0)), int(kwargs.get("top_k", 0)))


@lru_cache(maxsize=8)
def open_task(ref: DataRef) -> LmEvalTask:
    """The task or group `ref.task`, loaded with its data. Raises UserError when lm-eval does not have it or cannot load it."""
    if not ref.task:
        raise UserError("benchmark=lm_eval needs the name of an lm-eval task: set benchmark.task=….")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    if ref.include_path is not None and not Path(ref.include_path).is_dir():
        raise UserError(f"benchmark.include_path '{ref.include_path}' is no folder.")
    check_named(ref.task, ref.include_path)
    # The index of lm-eval's own thousands of files takes seconds; a task of one's own seldom needs it.
    stand = fingerprint(ref.include_path) if ref.include_path else ""
    manager = _manager(ref.include_path, stand, defaults=False)
    if ref.task in manager.all_tasks:
        try:
            return LmEvalTask(ref, _loaded(manager, ref))
        except UserError as error:
            if not isinstance(error.__cause__, KeyError):
                raise  # otherwise: a group that names tasks of lm-eval's own
    manager = _manager(ref.include_path, stand, defaults=True)
    if ref.task not in manager.all_tasks:
        raise _no_task(ref.task, manager.all_tasks, "load without errors and lie in benchmark.include_path")
    return LmEvalTask(ref, _loaded(manager, ref))


def check_named(task: str, include_path: str | None = None) -> None:
    """Raise UserError when no task file so much as mentions a name. lm-eval's own index of them takes many times as long."""
    found = importlib.util.find_spec("lm_eval")
    own = [str(Path(found.origin).parent / "tasks")] if found and found.origin else []
    mentioned, names = _mentioned(task.encode(), (*own, *task_folders(), *([include_path] if include_path else [])))
    if not mentioned:
        raise _no_task(task, names, "lie in benchmark.include_path")


def _no_task(task: str, known: Iterable[str], must: str) -> UserError:
    near = ", ".join(nearest(task, known))
    return UserError(
        f"lm-eval has no task '{task}'{f'; did you mean {near}?' if near else '.'} A task file of your own must {must}."
    )


@lru_cache(maxsize=16)
def _mentioned(task: bytes, folders: tuple[str, ...]) -> tuple[bool, frozenset[str]]:
    """Whether a task file holds these bytes, a whole name by themselves; if none does, the names that stand at their places."""
    whole = re.compile(rb"(?<![\w-])" + re.escape(task) + rb"(?![\w-])")
    names: set[bytes] = set()
    for folder in folders:
        for path, _, files in os.walk(folder):
            for file in files:
                if not file.endswith(("yaml", "yml")):
                    continue
                content = Path(path, file).read_bytes()
                if task in content and whole.search(content):
                    return True, frozenset()
                names.update(NAMED.findall(content))
    return False, frozenset(name.decode("utf-8", "replace") for name in names)


@lru_cache(maxsize=4)
def _manager(include_path: str | None, _stand: str, defaults: bool) -> Any:
    """`_stand`: what lies there, so that changed files are looked at again."""
    from lm_eval.tasks import TaskManager

    include = [*task_folders(), *([include_path] if include_path else [])]
    return TaskManager(include_path=include, include_defaults=defaults)


def _loaded(manager: Any, ref: DataRef) -> dict[str, Any]:
    import datasets

    bound_requests()
    datasets.disable_progress_bars()
    try:
        with data_checked():
            return cast(dict[str, Any], manager.load([_spec(manager, ref)]))
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"The lm-eval task '{ref.task}' did not load; if the hub cannot be reached from here, give benchmark.path=<local "
            f"data set>. Reason: {unanswered() or f'{type(error).__name__}: {reason}'}"
        ) from error


def _spec(manager: Any, ref: DataRef) -> Any:
    """What to load: a name or, where the data lie elsewhere, the task's whole configuration with its data set replaced."""
    if ref.path is None:
        return ref.task
    entry = manager.task_index[ref.task]
    if ref.task in manager.all_groups or ref.task in manager.all_tags or entry.yaml_path is None:
        raise UserError(f"benchmark.path replaces the data of one task; '{ref.task}' is a group: name one of its tasks.")
    from lm_eval.tasks._yaml_loader import load_yaml

    task = load_yaml(entry.yaml_path, resolve_func=True)
    # What names files of the data that are replaced would be read in the place of these.
    kwargs = {key: value for key, value in (task.get("dataset_kwargs") or {}).items() if key not in ("data_files", "data_dir")}
    return {**task, "task": ref.task, "dataset_path": ref.path, "dataset_kwargs": kwargs}


class LmEvalTask(Benchmark):
    """A loaded task or group, in the form of a benchmark; a row is {"task", "index", "doc"}."""

    STYLES = ("direct", "cot")

    def __init__(self, ref: DataRef, loaded: dict[str, Any]) -> None:
        self.ref = ref
        self.tasks: dict[str, Any] = loaded["tasks"]
        self.groups: dict[str, Any] = loaded["groups"]
        for name, task in self.tasks.items():
            kind = task.get_config("output_type")
            if kind != "generate_until":
                raise UserError(
                    f"The lm-eval task '{name}' is of type {kind}; only generate_until tasks can be answered under steering."
                )
            if ref.path is not None and (own_rows(task) or str(task.DATASET_PATH) != ref.path):
                raise UserError(
                    f"The lm-eval task '{name}' makes its rows by Python of its own, which benchmark.path does not reach; "
                    "leave it out."
                )
            if getattr(task, "UNSAFE_CODE", False):
                raise UserError(f"The lm-eval task '{name}' runs model text as code, which l2v does not do.")
            if (task.get_config("repeats") or 1) != 1:
                raise UserError(f"The lm-eval task '{name}' asks for repeated answers; greedy answers would all be equal.")
            if ref.num_fewshot is not None:
                task.set_config(key="num_fewshot", value=ref.num_fewshot)
            elif task.get_config("num_fewshot") is None:
                task.set_config(key="num_fewshot", value=0)

    @cached_property
    def revision(self) -> str:
        """The versions of the tasks and the revisions of their data, for the identity of a cell."""
        tasks, own = sorted(self.tasks.items()), self.ref.include_path is not None
        parts = [f"{name}@{task.VERSION}:{data_commit(task, own)}" for name, task in tasks]
        return ",".join(parts) if len(parts) <= 3 else f"{self.ref.task}: {len(parts)} tasks, {digest(parts)}"

    def decoding(self) -> TaskDecoding:
        """How the tasks want their answers. Raises UserError when they differ within a group."""
        found = {decoding_of(task.get_config("generation_kwargs") or {}, f"The task '{n}'") for n, task in self.tasks.items()}
        if len(found) > 1:
            raise UserError(f"The tasks of '{self.ref.task}' ask for different generation settings; run them one by one.")
        return next(iter(found))

    def items(self, limit: int | None, style: str = "direct") -> list[Item]:
        """Every document with the prompt that lm-eval itself builds, few-shot examples included; `limit` per task.

        Style "cot" adds the sentence of zero-shot chain of thought (Kojima et al., arXiv 2205.11916).
        """
        if style not in self.STYLES:
            raise unknown("prompt style of an lm-eval task", style, self.STYLES)
        import lm_eval.api.task as module

        items = []
        for name, task in self.tasks.items():
            # lm-eval's own default, each time anew: examples are drawn question by question, and would be others the next time.
            task.set_fewshot_seed(seed=1234)
            bar, module.tqdm = module.tqdm, lambda rows, **_: rows  # lm-eval's own progress bar has no switch
            try:
                task.build_all_requests(limit=limit)
            finally:
                module.tqdm = bar
            for instance in task.instances:
                where = f"{name} item {instance.doc_id}"
                images = request_images(instance, where)
                doc = {"task": name, "index": instance.doc_id, "doc": instance.doc}
                text = _aligned(instance.args[0], len(images), where) + (COT if style == "cot" else "")
                items.append(Item(self.item_id(doc), text, self.gold(doc), doc, images))
            task._instances = None
        return items

    # -- the functions of a benchmark ------------------------------------------------------------------------------

    def item_id(self, doc: dict[str, Any]) -> str:
        """ "<task>:<index>"."""
        return f"{doc['task']}:{doc['index']}"

    def gold(self, doc: dict[str, Any]) -> str:
        """The task's target, as text; several accepted ones are joined by " | "."""
        target = self.tasks[doc["task"]].doc_to_target(doc["doc"])
        return " | ".join(map(str, target)) if isinstance(target, list) else str(target)

    def question(self, doc: dict[str, Any]) -> Question:
        return Question(str(self.tasks[doc["task"]].doc_to_text(doc["doc"])), TEXT, self.gold(doc))

    def prompt(self, doc: dict[str, Any], style: str) -> str:
        """The task's own prompt, without examples."""
        return str(self.tasks[doc["task"]].doc_to_text(doc["doc"])) + (COT if style == "cot" else "")

    def subsets(self, doc: dict[str, Any]) -> tuple[str, ...]:
        """The headline and, in a group, the task."""
        return ("accuracy",) if len(self.tasks) == 1 else ("accuracy", f"task/{doc['task']}")

    def official(self, doc: dict[str, Any], answer: Answer) -> Verdict:
        """The task's own filters and metrics; right when its first metric under its first filter is 1."""
        task = self.tasks[doc["task"]]
        random.seed(self.item_id(doc))  # some tasks guess at random where an answer names no option: once and for all
        by_filter = self.values(doc, answer)
        filter_name, (filtered, values) = next(iter(by_filter.items()))
        metric = next(name for name in (*task.aggregation(), *values) if name in values)
        value = _single(task, metric, values[metric])
        return Verdict(value >= 1 - 1e-9, str(filtered), f"{metric},{filter_name}", f"{metric} is {value:g}")

    def values(self, doc: dict[str, Any], answer: Answer) -> dict[str, tuple[Any, dict[str, Any]]]:
        """Per filter of the task: the filtered response and the metrics that lm-eval gives it."""
        from lm_eval.api.instance import Instance

        task = self.tasks[doc["task"]]
        text = answer.text if answer.extraction is None else answer.extraction
        instance = Instance("generate_until", doc["doc"], (), 0, (doc["task"], doc["index"], 1), resps=[text])
        for chain in task._filters:
            chain.apply([instance])
        found = {}
        for name, filtered in instance.filtered_resps.items():
            found[name] = filtered, task.process_results(doc["doc"], [filtered])
        return found

    def own_scores(self, rows: Sequence[dict[str, Any]], answers: Sequence[Answer]) -> list[OwnScore]:
        """lm-eval's figures over all rows, as "<metric>,<filter>"; in a group, per task with its name in front, and for the
        groups that aggregate, under the group's."""
        from lm_eval.api.metrics import stderr_for_metric

        random.seed(0)  # some tasks guess at random; lm-eval seeds once before it begins
        collected: dict[tuple[str, str], list[Any]] = {}
        for doc, answer in zip(rows, answers, strict=True):
            for filter_name, (_, values) in self.values(doc, answer).items():
                for metric, single in values.items():
                    collected.setdefault((doc["task"], f"{metric},{filter_name}"), []).append(single)
        found: list[OwnScore] = []
        by_task: dict[str, dict[str, tuple[float, int]]] = {}
        for (name, key), every in collected.items():
            function = self.tasks[name].aggregation().get(key.split(",")[0], lambda v: sum(v) / len(v))
            error = stderr_for_metric(metric=function, bootstrap_iters=1000)
            stderr = error(every) if error and len(every) > 1 else None
            by_task.setdefault(name, {})[key] = (function(every), len(every))
            label = key if len(self.tasks) == 1 else f"{name}/{key}"
            found.append(OwnScore(label, function(every), len(every), stderr))
        return found + self._group_scores(by_task)

    def _group_scores(self, by_task: dict[str, dict[str, tuple[float, int]]]) -> list[OwnScore]:
        found: list[OwnScore] = []
        for group in self.groups.values():
            for wanted in group.aggregate_metric_list or ():
                keys = {key for values in by_task.values() for key in values if key.split(",")[0] == wanted.metric}
                if wanted.filter_list is not None:
                    keys = {f"{wanted.metric},{name}" for name in wanted.filter_list}
                for key in sorted(keys):
                    parts = [by_task[t.task_name][key] for t in group.get_all_tasks() if key in by_task.get(t.task_name, {})]
                    if parts:
                        total = sum(n for _, n in parts)
                        weights = [n / total if wanted.weight_by_size else 1 / len(parts) for _, n in parts]
                        value = sum(part * w for (part, _), w in zip(parts, weights, strict=True))
                        found.append(OwnScore(f"{group.name}/{key}", value, total))
        return found


def request_images(instance: Any, where: str) -> tuple[Image.Image, ...]:
    """The images of one lm-eval request, RGB. Raises UserError, naming `where`, for a corrupt one."""
    visual = (instance.args[2] if len(instance.args) > 2 else {}).get("visual")
    if visual is None:
        return ()
    return tuple(read_image(image, where) for image in (visual if isinstance(visual, list) else [visual]))


def _single(task: Any, metric: str, value: Any) -> float:
    """A document's value of a metric as a number: as it is, or by the metric's own aggregation over this document alone."""
    if isinstance(value, (bool, int, float)):
        return float(value)
    try:
        return float(task.aggregation()[metric]([value]))
    except Exception as error:
        raise UserError(
            f"The metric '{metric}' of the lm-eval task '{task.task_name}' has no value for a single item ({error}); its "
            "responses cannot be told right from wrong."
        ) from error


def _aligned(text: str, images: int, where: str) -> str:
    """The prompt with one <image> per image; tasks that name none have the images put first."""
    named = text.count("<image>")
    if named not in (0, images):
        raise UserError(f"{where} names {named} images in its prompt and comes with {images}.")
    return text
