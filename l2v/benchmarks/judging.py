"""The settings of a judge, for the schema of all settings and for the scorer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class JudgeConfig:
    """The LLM behind scorer=judge: an OpenAI-compatible endpoint (base_url) or a model of lm-eval (lm_eval)."""

    model: str | None = None  # the model's name at the endpoint, or for the record
    base_url: str | None = None  # e.g. http://localhost:8000/v1
    api_key_env: str = "OPENAI_API_KEY"  # environment variable that holds the key; the key itself is stored nowhere
    lm_eval: str | None = None  # lm-eval model type, e.g. hf
    model_args: str = ""  # its arguments, e.g. pretrained=…
    timeout: float = 60.0  # seconds a request may take
    retries: int = 3  # how often a failed request is tried again
    concurrency: int = 4  # requests in flight
    max_tokens: int = 256  # length of the judge's answer
    prompt: str = "default"  # name of the judge's prompt
