"""Injecting vectors into a vision-language model while it answers. Plain torch and transformers; usable from a notebook."""

from l2v.steering.hook import Intervention, inject

__all__ = ["Intervention", "inject"]
