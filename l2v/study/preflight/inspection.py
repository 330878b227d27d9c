"""One pass over composed configurations: every problem with its cells and its mend, and what the rest would cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from huggingface_hub import constants

from l2v.benchmarks.base import Item
from l2v.config import Config, ModelConfig
from l2v.errors import UserError
from l2v.generation import check_room
from l2v.hub import while_it_answers
from l2v.steering.merging import FORM, common_keys
from l2v.steering.prompts import encode_prompts
from l2v.steering.weights import language_tensors
from l2v.study.cells import Job, Refusal
from l2v.study.jobs import RACES, for_report, planned
from l2v.study.model_files import MERGINGS, model_spec
from l2v.study.plan import Group, Reading, distinct, grouped, job_readings, readings
from l2v.study.preflight.checkpoints import BASE, Checkpoint, look
from l2v.study.preflight.costs import Card, Cost, answering, reading
from l2v.study.preflight.lengths import check_contrast, prompt_tokens
from l2v.study.preflight.problems import Problem, Problems
from l2v.study.protocol import arms_of, check_held_out
from l2v.study.score import benchmark_items
from l2v.study.workers.directions import contrast_questions
from l2v.study.workers.maps import neutral_chats
from l2v.study.workers.weights import base_model, calibration, target_spec
from l2v.transfer import neutral
from l2v.transfer.contrast import ContrastQuestion, oddities

# What the sentences of texts that are too long have in common.
TOO_LONG = "the context of"
SHORTER = "contrast.per_domain=… fewer, contrast.path=… with shorter texts, or a reader of a longer context"


@dataclass(frozen=True)
class Need:
    """What a group of cells, or a reading, needs of a card."""

    name: str
    cells: int
    cost: Cost


@dataclass(frozen=True)
class Inspection:
    """All that was found: `cells` of the run, how many are `blocked`, what is needed of the card, and what costs no cell."""

    problems: list[Problem]
    cells: int
    blocked: int
    needs: list[Need] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)


@dataclass
class _Pass:
    """What is looked at once, however many cells need it."""

    jobs: list[Job]
    card: Card | None
    problems: Problems = field(default_factory=Problems)
    checkpoints: dict[Any, Checkpoint] = field(default_factory=dict)
    items: dict[str, list[Item]] = field(default_factory=dict)
    needs: list[Need] = field(default_factory=list)
    lost: dict[str, UserError] = field(default_factory=dict)

    def cells(self, wants: Callable[[Job], bool]) -> list[str]:
        """The ids of the cells that want something."""
        return [job.cell.id for job in self.jobs if wants(job)]

    def run(self) -> None:
        """Every check; none of them depends on what another one found wrong."""
        for group in grouped(self.jobs):
            self._group(group)
        for one, job in readings(self.jobs).values():
            self._reading(one, job)
        for job in self.jobs:
            if job.cell.weights is not None and job.cell.weights.kind in MERGINGS:
                self._merging(job)
        for same in _alike(self.jobs, _calibrated):
            self._calibration(same[0], [job.cell.id for job in same])
        for same in _alike(
            self.jobs, lambda job: job.cell.neutral and (repr(job.config.neutral), job.cell.source, target_spec(job))
        ):
            cells = [job.cell.id for job in same]
            with self.problems.of(cells):
                self._neutral(same[0], cells)

    def target(self, job: Job) -> Checkpoint:
        """A job's target as it is loaded for it."""
        spec = target_spec(job)
        if spec not in self.checkpoints:
            cells = self.cells(lambda other: target_spec(other) == spec)
            self.checkpoints[spec] = look(job.config.target, "target", spec, self.problems, cells)
        return self.checkpoints[spec]

    def source(self, config: ModelConfig) -> Checkpoint:
        """A source, whoever reads it."""
        spec = model_spec(config)
        key = ("source", spec)
        if key not in self.checkpoints:
            cells = self.cells(lambda other: _reads_source(other) and model_spec(other.config.source) == spec)
            self.checkpoints[key] = look(config, "source", spec, self.problems, cells)
        return self.checkpoints[key]

    def base(self, job: Job) -> Checkpoint:
        """The LLM from which a merging's task vectors are taken."""
        config = base_model(job)
        key = (BASE, spec := model_spec(config))
        if key not in self.checkpoints:
            cells = self.cells(lambda other: other.config.method.weights.base == config.id and other.cell.weights is not None)
            self.checkpoints[key] = look(config, BASE, spec, self.problems, cells)
        return self.checkpoints[key]

    def _group(self, group: Group) -> None:
        """The questions of cells that are asked together, and their longest prompts."""
        job, cells = group.jobs[0], [job.cell.id for job in group.jobs]
        target = self.target(job)
        items: list[Item] = []
        with self.problems.of(cells):
            items = self._items(job)
        if job.config.protocol.name != "none":
            with self.problems.of(cells):
                check_held_out(job, for_report(job), self._items)
        loaded = None
        with self.problems.of(cells):
            loaded = target.without_weights()
        if not items or loaded is None:
            return
        with self.problems.of(cells):
            check_room(loaded.model.generation_config.to_dict(), job.cell.max_new_tokens, target.spec.where())
        mend = (
            "fewer method.shots, or a contrast of shorter texts"
            if job.cell.shots
            else ("processor.max_pixels=…, processor.max_tiles=… or processor=hub, for fewer tokens per picture")
        )
        tokens: list[int] = []
        with self.problems.of(cells, mend, TOO_LONG):
            tokens = prompt_tokens(job, items, loaded)
        if tokens:
            self._note_room(target, max(tokens), group)
        if self.card is not None and tokens:
            self._answering(group, target, len(items), sum(tokens) / len(tokens))

    def _note_room(self, target: Checkpoint, longest: int, group: Group) -> None:
        """Answers that may grow beyond the context: nothing stops them there, and the model was not trained beyond it."""
        most = group.jobs[0].cell.max_new_tokens
        if target.context is not None and longest + most > target.context:
            self.problems.note(
                f"A prompt of {longest} tokens and an answer of {most} pass the context of '{target.spec.where()}' "
                f"({target.context}).",
                f"what is written after {target.context - longest} tokens means little; decoding.max_new_tokens=… says fewer",
                [job.cell.id for job in group.jobs],
            )

    def _items(self, job: Job) -> list[Item]:
        """The questions of a job, read once; data that cannot be had are asked for once, whatever split or part is wanted."""
        key, chosen = repr(job.cell.benchmark), job.config.benchmark
        if key not in self.items:
            data = repr((chosen.name, chosen.task, chosen.id, chosen.path, chosen.revision, chosen.split))
            self._read(data, lambda: self.items.update({key: benchmark_items(job.cell.benchmark, chosen)}))
        return self.items[key]

    def _texts(self, config: Config, cells: Sequence[str]) -> None:
        """Whether a contrast's texts are there, and what is odd of them."""
        chosen = config.contrast

        def tell(lacking: str) -> None:
            self.problems.note(lacking, "directions are read from the others; mend the data where that is not meant", cells)

        data, found = repr((chosen.id, chosen.path, chosen.revision, chosen.split)), list[ContrastQuestion]()
        self._read(data, lambda: found.extend(contrast_questions(config, tell)))
        for what, so in oddities(found, chosen.kind, chosen.name):
            self.problems.note(what, so, cells)

    def _read(self, data: str, read: Callable[[], object]) -> None:
        """Read, or raise again what reading these data raised: a hub that does not answer is asked once."""
        if data in self.lost:
            raise self.lost[data]
        try:
            read()
        except UserError as error:
            if "could not be loaded" in str(error):
                self.lost[data] = error
            raise

    def _answering(self, group: Group, target: Checkpoint, items: int, prompt: float) -> None:
        assert self.card is not None
        runtime, job = group.jobs[0].config.runtime, group.jobs[0]
        answer = min(runtime.tokens_per_answer, job.cell.max_new_tokens)
        cells = [job.cell.id for job in group.jobs]
        with self.problems.of(cells):
            cost = answering(target, self.card, self._rows(group, items), prompt, answer, runtime.batch_rows)
            self.needs.append(Need(f"{group.target.name} on {group.benchmark.name}", len(cells), cost))
            self._fits(f"target '{group.target.name}'", "target", cost, cells)

    def _rows(self, group: Group, items: int) -> float:
        """Answers of a group; under a protocol those that are chosen on, of a race as many as it may expect, and the report."""
        job, protocol = group.jobs[0], group.jobs[0].config.protocol
        rows = float(items * len(group.jobs))
        if protocol.name == "none":
            return rows
        arms = len(arms_of(group.jobs, protocol.choose))
        return rows * (protocol.budget if protocol.name in RACES else 1) + arms * len(self._items(for_report(job)))

    def _fits(self, name: str, role: str, cost: Cost, cells: Sequence[str]) -> None:
        if cost.rows < 1:
            self.problems.add(
                f"The weights of {name} take {cost.weights:.0f} GB and leave no room for a row on the card ({self.card}).",
                f"{role}.quantization=4bit, {role}.device_map=auto over several cards, or a larger card=…",
                cells,
            )

    def _reading(self, one: Reading, job: Job) -> None:
        """A direction: the reader, and the longest of its texts."""
        cells = self.cells(lambda other: one.id in {r.id for r in job_readings(other.cell)})
        reader = self.source(job.config.source) if one.role == "source" else self.target(job)
        if reader.without_weights() is None:
            # Nothing can be counted; whether the texts are there at all is another question.
            with self.problems.of(cells):
                self._texts(job.config, cells)
            return
        tokens: list[int] = []
        with self.problems.of(cells, SHORTER, TOO_LONG):
            self._texts(job.config, cells)
            tokens.append(check_contrast(job.config, reader))
        if self.card is not None and tokens:
            with self.problems.of(cells):
                cost = reading(reader, self.card, tokens[0])
                self.needs.append(Need(f"directions of {one.model.name} on {one.contrast.name}", len(cells), cost))
                self._fits(f"'{one.model.name}'", one.role, cost, cells)

    def _merging(self, job: Job) -> None:
        """Whether the source's language model has the shapes of the target's."""
        target, source = self.target(job), self.source(job.config.source)
        if target.config is None or source.config is None:
            return
        mend = "source=… of the target's own architecture: llama3_8b for llava_next_8b, qwen2_7b for qwen2_vl_7b"
        with self.problems.of([job.cell.id], mend):
            check_mergeable(target, source)
        if job.config.method.weights.kind == "ties":
            base = self.base(job)
            if base.config is not None:
                with self.problems.of([job.cell.id], f"{BASE}=… of the target's own architecture"):
                    check_mergeable(target, base)

    def _neutral(self, job: Job, cells: Sequence[str]) -> None:
        """The texts that a learned map is fitted on, as both of its models read them."""
        chats = neutral_chats(job.config)
        for what, so in neutral.oddities(chats, job.config.neutral.name):
            self.problems.note(what, so, cells)
        for reader in (self.source(job.config.source), self.target(job)):
            if (loaded := reader.without_weights()) is not None:
                vision = loaded.processor is not None
                neutral.places_read(loaded.model, loaded.tokenizer, chats, job.config.neutral.places, vision)

    def _calibration(self, job: Job, cells: Sequence[str]) -> None:
        """The texts that MathNeuro calibrates the target with."""
        with self.problems.of(cells, SHORTER, TOO_LONG):
            loaded = self.target(job).without_weights()
            if loaded is not None:
                longest = [max(texts, key=len) for texts in calibration(loaded, job.config)]
                encode_prompts(loaded, longest, [[] for _ in longest])


def check_mergeable(target: Checkpoint, source: Checkpoint) -> None:
    """Raise UserError, naming the first difference, unless the two language models have the same form."""
    names = target.spec.where(), source.spec.where()
    texts = [found.config.get_text_config() for found in (target, source)]
    for name in ("num_hidden_layers", "hidden_size", "intermediate_size", *FORM):
        ours, theirs = (getattr(text, name, None) for text in texts)
        if ours is not None and theirs is not None and ours != theirs:
            raise UserError(f"'{names[0]}' and '{names[1]}' cannot be merged: {name} is {ours} and {theirs}.")
    common_keys(language_tensors(target.skeleton), language_tensors(source.skeleton), names)


def _alike(jobs: Sequence[Job], what: Callable[[Job], Any]) -> list[list[Job]]:
    """The jobs that `what` tells something of, those of which it tells the same together."""
    found: dict[Any, list[Job]] = {}
    for job in jobs:
        if told := what(job):
            found.setdefault(told, []).append(job)
    return list(found.values())


def _calibrated(job: Job) -> Any:
    """What a calibration depends on; None where there is none."""
    weights = job.cell.weights
    return (target_spec(job), repr(job.config.contrast)) if weights and weights.kind == "mathneuro" else None


def _reads_source(job: Job) -> bool:
    merged = job.cell.weights is not None and job.cell.source is not None
    return merged or any(one.role == "source" for one in job_readings(job.cell))


def inspect(configs: Sequence[Config], on: Card | None = None) -> Inspection:
    """All problems of these configurations. Raises UserError for what concerns the whole command.

    A hub that does not answer is a problem of all that needs it, and what lies in its cache is looked at nonetheless.
    """
    wanted = next((file for config in configs for file in _hub_files(config)), None)
    with while_it_answers(wanted) as silent:
        return _inspected(configs, on, silent)


def _hub_files(config: Config, source: bool = True, contrast: bool = True) -> list[str]:
    """A file on the hub of every model and data set that is no folder; with source and contrast, or without."""
    models = [config.target, *([config.source] if source else [])]
    data: list[Any] = [config.benchmark, *([config.contrast] if contrast else [])]
    files = [f"{one.id}/resolve/{one.revision or 'main'}/config.json" for one in models if one.path is None]
    return files + [
        f"datasets/{one.id}/resolve/{one.revision or 'main'}/README.md" for one in data if one.path is None and one.id
    ]


def _tell_silence(found: _Pass, silent: Sequence[str]) -> None:
    """A hub that does not answer costs every cell that wants something of it."""
    asking = found.cells(lambda job: bool(_hub_files(job.config, _reads_source(job), job.cell.contrast is not None)))
    for why in silent if asking else ():
        found.problems.add(
            f"The hub ({constants.ENDPOINT}) {why}; only what lies in its cache was looked at.",
            "HF_HUB_OFFLINE=1 where all that is needed lies there, or folders of copies with …path=…",
            asking,
        )


def _inspected(configs: Sequence[Config], on: Card | None, silent: list[str]) -> Inspection:
    """silent: why the hub does not answer, as soon as it does not."""
    plan = planned(configs, refuse_all=False)
    jobs = distinct([one for one in plan if isinstance(one, Job)])
    found = _Pass(jobs, on)
    refused = [one for one in plan if isinstance(one, Refusal)]
    for place, one in enumerate(refused):
        with found.problems.of([f"{one.describe()} #{place + 1}"]):
            raise UserError(one.reason)
    _tell_silence(found, silent)
    found.run()
    _tell_silence(found, silent)
    problems = found.problems
    return Inspection(problems.all(), len(jobs) + len(refused), len(problems.blocked()), found.needs, problems.notes())
