"""Injecting vectors into a vision-language model while it answers. Plain torch and transformers; usable from a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2v.steering.hook import Intervention as Intervention
    from l2v.steering.write import inject as inject

__all__ = ["Intervention", "inject"]


def __getattr__(name: str) -> Any:
    """Intervention and inject, when they are asked for: torch takes seconds, and names of positions are read without it."""
    if name in __all__:
        from l2v.steering import hook, write

        return getattr(write if name == "inject" else hook, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
