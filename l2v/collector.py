"""Python's collector of cycles in a process that is its own: it rests while modules are loaded, none of which is garbage.

torch, transformers and datasets make a million objects, through which the collector would walk again and again.
"""

from __future__ import annotations

import atexit
import gc

# Objects between two walks, and walks of the young between two of the older, while modules are loaded.
LOADING = (50_000, 20, 50)
USUAL = gc.get_threshold()


def rest_while_loading() -> None:
    """For the start of a process."""
    gc.set_threshold(*LOADING)


def resume() -> None:
    """What is loaded is walked through no more; from here on the collector works as usual. Elsewhere this does nothing."""
    if gc.get_threshold() == LOADING:
        gc.freeze()
        # Libraries that count what they made say that it leaked, where it is still there at the end.
        atexit.register(gc.unfreeze)
        gc.set_threshold(*USUAL)
