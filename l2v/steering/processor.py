"""An image processor with other settings than its checkpoint's; whatever has no such setting is refused, never ignored."""

from __future__ import annotations

import math
from typing import Any

from l2v.errors import UserError
from l2v.images import ImageSettings

# Between black and white: 1 where nothing is normalised, 2 to 5 with the usual deviations of 0.5 to 0.2; with much room.
SPANS = (0.2, 50)


def check_scaling(images: Any, where: str) -> None:
    """Raise UserError for an image processor whose numbers for scaling make no picture of three channels."""
    asked = {"rescale_factor": getattr(images, "do_rescale", False)}
    asked |= dict.fromkeys(("image_mean", "image_std"), getattr(images, "do_normalize", False))
    for name, wanted in asked.items():
        value = getattr(images, name, None) if wanted else None
        value = list(value) if isinstance(value, tuple) else value
        numbers = value if isinstance(value, list) else [value] * 3
        sound = all(isinstance(n, (int, float)) and math.isfinite(n) and (n > 0 or name == "image_mean") for n in numbers)
        if value is not None and not (sound and len(numbers) == 3):
            what = "" if name == "rescale_factor" else "a number or three, " + ("above 0" if name == "image_std" else "finite")
            raise UserError(
                f"The image processor of '{where}' has {name}={str(value)[:60]}, which must be {what or 'above 0'}; get the "
                "checkpoint again."
            )
    if isinstance(getattr(images, "do_rescale", None), bool):
        _check_span(images, where)
    _check_area(images, where, "get the checkpoint again")
    least, most = (getattr(images, name, None) for name in ("min_patches", "max_patches"))
    if isinstance(least, int) and isinstance(most, int) and least > most:
        raise UserError(
            f"The image processor of '{where}' would cut pictures into at least {least} and at most {most} tiles (min_patches, "
            "max_patches); get the checkpoint again."
        )


def _check_span(images: Any, where: str) -> None:
    """Raise UserError where black and white come out hundreds apart, as where nothing scales a picture, or as good as equal."""
    factor = images.rescale_factor if images.do_rescale else 1.0
    deviation = getattr(images, "image_std", None) if images.do_normalize else None
    deviations = deviation if isinstance(deviation, (list, tuple)) else [deviation or 1.0]
    if factor is not None and not SPANS[0] <= (span := 255 * factor / max(deviations)) <= SPANS[1]:
        raise UserError(
            f"The image processor of '{where}' puts {span:.3g} between black and white, where {SPANS[0]} to {SPANS[1]} can be "
            "right (do_rescale, rescale_factor, image_std); get the checkpoint again."
        )


def _check_area(images: Any, where: str, mend: str) -> None:
    """Raise UserError for a least area above the largest, of an image processor that scales by area, or such edges."""
    size = getattr(images, "size", None)
    edges = {} if size is None or isinstance(size, int) else dict(size)
    least, most = (edges.get(edge) for edge in ("shortest_edge", "longest_edge"))
    if least and most and least > most:
        raise UserError(
            f"The image processor of '{where}' would scale pictures to at least {least} and at most {most} pixels; {mend}."
        )


def check_tiles(processor: Any, config: Any, where: str) -> None:
    """Raise UserError where a processor cuts pictures to other shapes than its model puts together again (LLaVA-NeXT)."""
    shapes = getattr(getattr(processor, "image_processor", None), "image_grid_pinpoints", None)
    own = getattr(config, "image_grid_pinpoints", None)
    if shapes and own and (one := sorted(map(list, shapes))) != (two := sorted(map(list, own))):
        odd = next(shape for shape in [*one, *two] if (shape in one) != (shape in two) or one.count(shape) != two.count(shape))
        raise UserError(
            f"The processor of '{where}' and its config.json name other shapes of tiles in image_grid_pinpoints ({odd} is in "
            "one of them alone); get the checkpoint again."
        )


def apply_settings(processor: Any, settings: ImageSettings, where: str) -> None:
    """Change an image-text processor in place.

    Raises UserError for a setting that its image processor does not have, and for a least area above the largest.
    """
    images = processor.image_processor
    for name, value in settings.given().items():
        if not _SETTERS[name](images, value):
            raise UserError(
                f"The image processor of '{where}' ({type(images).__name__}) has no setting like processor.{name}; leave it "
                "out (processor=hub) or choose another target."
            )
    if settings.min_pixels or settings.max_pixels:
        _check_area(images, where, "give processor.min_pixels and processor.max_pixels together")


def _pixels(edge: str) -> Any:
    """Qwen-VL's smart resize keeps the area between the two sizes, which it calls edges."""

    def change(images: Any, value: int) -> bool:
        if not hasattr(images, "merge_size"):
            return False
        images.size = {**dict(images.size), edge: value}
        return True

    return change


def _tiles(images: Any, value: int) -> bool:
    if not hasattr(images, "max_patches"):
        return False
    images.max_patches, images.min_patches = value, min(value, images.min_patches)
    return True


def _longest_edge(images: Any, value: int) -> bool:
    if hasattr(images, "merge_size") or not hasattr(images, "do_image_splitting"):
        return False
    shortest = dict(images.size).get("shortest_edge")
    images.size = {"longest_edge": value} | ({} if shortest is None else {"shortest_edge": min(shortest, value)})
    return True


def _split(images: Any, value: bool) -> bool:
    if not hasattr(images, "do_image_splitting"):
        return False
    images.do_image_splitting = value
    return True


_SETTERS = {
    "min_pixels": _pixels("shortest_edge"),
    "max_pixels": _pixels("longest_edge"),
    "max_tiles": _tiles,
    "longest_edge": _longest_edge,
    "split_images": _split,
}
