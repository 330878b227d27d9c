"""L2V-CoT: carry a chain-of-thought direction from a text LLM into a vision-language model (arXiv 2511.17910)."""

__version__ = "0.1.0"
