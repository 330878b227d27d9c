"""The steered target as a model of lm-eval: `import l2v.verbs.lm_model` registers it under the name "l2v".

    import l2v.verbs.lm_model as l2v
    lm_eval.simple_evaluate(model="l2v", model_args="target=mini,method=l2v,intervention.alpha=0.7", tasks=["mathvista"],
                            task_manager=l2v.task_manager())

Model arguments are the settings of `l2v run`; task_manager() finds the packaged benchmarks beside lm-eval's own tasks.
lm-eval's response cache (`use_cache`) knows nothing of a model's settings: never share one file between two of them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.tasks import TaskManager
from tqdm import tqdm

from l2v.benchmarks.catalogue import TASKS, task_folders
from l2v.benchmarks.lm_tasks import TaskDecoding, decoding_of, request_images
from l2v.errors import UserError
from l2v.hub import bound_requests
from l2v.steering.engine.engine import Decoding, Engine, Request, Row, require_effect
from l2v.steering.models import load_model
from l2v.steering.prompts import IMAGE_PLACEHOLDER, check_words, check_written, template_failed
from l2v.study.cells import Job
from l2v.study.model_files import kind_of_target
from l2v.study.resolve import resolve
from l2v.study.workers.answer import cell_steering
from l2v.study.workers.devices import pick_device
from l2v.study.workers.directions import ensure_directions
from l2v.study.workers.maps import ensure_maps
from l2v.study.workers.weights import target_spec
from l2v.verbs.compose import compose

ONLY_GENERATION = "The model 'l2v' answers generate_until tasks only; this task asks for likelihoods."


def task_manager(include_path: str | Sequence[str] | None = None, metadata: dict[str, Any] | None = None) -> TaskManager:
    """lm-eval's task manager with the packaged benchmarks. Raises UserError when one of them did not load."""
    bound_requests()
    more = [include_path] if isinstance(include_path, str) else list(include_path or ())
    manager = TaskManager(include_path=[*task_folders(), *more], metadata=metadata)
    lost = [name for name in TASKS.values() if name not in manager.all_tasks]
    if lost:
        raise UserError(f"lm-eval does not list the packaged tasks {', '.join(lost)}: their files did not load.")
    return manager


@register_model("l2v")
class L2VModel(LM):
    """A target under one method; see the module's docstring.

    settings: those of `l2v run`, as keyword arguments with dots (`**{"intervention.layer": 14}`); `config_dir` adds a folder
    of your own configs. batch_size: rows per batch; device: as runtime.device. Raises UserError as `l2v run` does.
    """

    MULTIMODAL = True

    def __init__(
        self,
        batch_size: int | str | None = None,
        max_batch_size: int | None = None,
        device: str | None = None,
        config_dir: str | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.config = compose([f"{key}={value}" for key, value in settings.items()], config_dir)
        runtime = self.config.runtime
        if batch_size not in (None, "auto") and int(batch_size or 0) > 1:
            runtime.batch_rows = int(batch_size or 0)
        self.cell = resolve(self.config)
        self._device = pick_device(runtime.device if device in (None, "", "auto") else str(device))
        job = Job(self.cell, self.config)
        ensure_directions([job], self._device, logging.getLogger(__name__).info)
        ensure_maps([job], self._device, logging.getLogger(__name__).info)
        self.target = load_model(target_spec(job), kind_of_target(self.config.target), self._device)
        self.steering = cell_steering(job, self.target.width)
        self.templated: set[str] = set()

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """The responses, in order; every request is handed to lm-eval's cache with all its arguments."""
        by_decoding: dict[TaskDecoding, list[int]] = {}
        for i, instance in enumerate(requests):
            wanted = decoding_of(instance.args[1], f"The task '{instance.task_name}'")
            by_decoding.setdefault(wanted, []).append(i)
        answers: dict[int, str] = {}
        with tqdm(total=len(requests), desc="l2v", unit="response", delay=1.0) as bar:
            for wanted, indices in by_decoding.items():
                rows: list[Row] = [(self._request(requests[i]), self.steering) for i in indices]
                for place, text in self._answer(rows, wanted):
                    i = indices[place]
                    answers[i] = text
                    self.cache_hook.add_partial("generate_until", requests[i].args, text)
                    bar.update()
        return [answers[i] for i in range(len(requests))]

    def _answer(self, rows: list[Row], wanted: TaskDecoding) -> Iterator[tuple[int, str]]:
        """(place in `rows`, response) as they finish."""
        if self.steering is not None and self.steering.alpha > 0:
            require_effect(self.target, rows[0][0], [self.steering])
        decoding = Decoding(
            wanted.max_new_tokens, wanted.stop, wanted.temperature, wanted.top_p, wanted.top_k, self.config.decoding.seed
        )
        engine = Engine(self.target, decoding, max_rows=self.config.runtime.batch_rows)
        for place, response in engine.answer(rows):
            yield place, response.text

    def _request(self, instance: Instance) -> Request:
        context = instance.args[0]
        images = request_images(instance, f"{instance.task_name} item {instance.doc_id}")
        # The id that `l2v run` gives the item: draws depend on it.
        return Request(f"{instance.task_name}:{instance.doc_id}", context, images, templated=context in self.templated)

    # -- the chat format -------------------------------------------------------------------------------------------

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation in the target's own chat format; a literal <image> becomes the family's image marker."""
        holder, where = self._template_holder, self.target.spec.where()
        said = [piece for turn in chat_history for piece in turn["content"].split(IMAGE_PLACEHOLDER)]
        check_words(self.target, said)
        turns = [
            {**turn, "content": _content(turn["content"]) if self.target.processor else turn["content"]}
            for turn in chat_history
        ]
        ending = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt}
        try:
            text = str(holder.apply_chat_template(turns, tokenize=False, **ending))
        except Exception as error:  # a template is a program of the checkpoint's
            raise template_failed(where, error) from error
        check_written(text, said, where)
        self.templated.add(text)
        return text

    @property
    def _template_holder(self) -> Any:
        """Who has the chat template: the processor, of a text model the tokenizer."""
        return self.target.processor or self.target.tokenizer

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's cache of requests."""
        return f"{self.cell.target.id}@{self.cell.target.revision}".replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template's text, for lm-eval's record."""
        return str(getattr(self._template_holder, "chat_template", "") or "") if chat_template else ""

    def get_model_info(self) -> dict[str, Any]:
        """For lm-eval's record: which cell this model is."""
        return {"l2v_cell": self.cell.describe(), "model_dtype": str(self.target.model.dtype)}

    def loglikelihood(self, requests: list[Instance]) -> Any:
        """Not supported, nor the rolling ones. Raises UserError."""
        raise UserError(ONLY_GENERATION)

    loglikelihood_rolling = loglikelihood


def _content(text: str) -> list[dict[str, str]]:
    content: list[dict[str, str]] = []
    for index, piece in enumerate(text.split(IMAGE_PLACEHOLDER)):
        content += [{"type": "image"}] if index else []
        content += [{"type": "text", "text": piece}] if piece.strip() else []
    return content
