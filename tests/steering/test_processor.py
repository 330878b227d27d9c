"""Settings of image processors: on the real ones, by the number of image tokens that they leave in a prompt."""

from __future__ import annotations

from pathlib import Path

import families
import pytest

from l2v.checkpoint import ModelSpec
from l2v.errors import UserError
from l2v.images import ImageSettings
from l2v.steering.models import image_token_ids, load_model
from l2v.steering.prompts import encode_prompts
from l2v.study.cells import ModelId
from l2v.study.resolve import resolve
from l2v.verbs.compose import compose


def tokens(folder: Path, settings: ImageSettings | None, size: tuple[int, int] = (40, 24)) -> int:
    """How many image tokens one picture becomes."""
    loaded = load_model(ModelSpec(id="tests/it", path=str(folder), dtype="float32", images=settings), "vision")
    turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "w1"}]}]
    prompt = loaded.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)  # type: ignore[union-attr]
    ids = encode_prompts(loaded, [prompt], [[families.picture(*size)]])["input_ids"]
    return int(sum((ids == one).sum() for one in image_token_ids(loaded.model)))


@pytest.mark.parametrize(
    ("family", "settings", "change"),
    [
        # Patches of 4, merged two by two: an area of 8 x 8 pixels is one token.
        ("qwen2_vl", ImageSettings(max_pixels=16 * 16), "fewer"),
        ("qwen2_5_vl", ImageSettings(min_pixels=48 * 48, max_pixels=64 * 64), "more"),
        ("qwen3_vl", ImageSettings(max_pixels=16 * 16), "fewer"),
        ("internvl", ImageSettings(max_tiles=1), "fewer"),
        ("idefics2", ImageSettings(split_images=True), "more"),
        ("idefics3", ImageSettings(split_images=False), "fewer"),
        ("smolvlm", ImageSettings(longest_edge=14), "fewer"),
    ],
)
def test_a_setting_changes_how_many_tokens_a_picture_becomes(
    family: str, settings: ImageSettings, change: str, tmp_path: Path
) -> None:
    families.load(family, tmp_path)
    before, after = tokens(tmp_path, None), tokens(tmp_path, settings)
    assert before == tokens(tmp_path, ImageSettings())
    assert (after < before) if change == "fewer" else (after > before), (before, after)


def test_qwens_tokens_are_those_of_the_area(tmp_path: Path) -> None:
    """A picture of 64 x 64 scaled into at most 32 x 32, in tokens of 8 x 8 pixels."""
    families.load("qwen2_vl", tmp_path)
    assert tokens(tmp_path, ImageSettings(max_pixels=32 * 32), (64, 64)) == 16
    assert tokens(tmp_path, ImageSettings(max_pixels=16 * 16), (64, 64)) == 4


@pytest.mark.parametrize(
    ("family", "settings", "name"),
    [
        ("llava", ImageSettings(max_pixels=100), "processor.max_pixels"),
        ("llava_next", ImageSettings(max_tiles=1), "processor.max_tiles"),
        ("qwen2_vl", ImageSettings(longest_edge=10), "processor.longest_edge"),
        ("idefics2", ImageSettings(min_pixels=10), "processor.min_pixels"),
        ("internvl", ImageSettings(split_images=True), "processor.split_images"),
        ("qwen2_vl", ImageSettings(min_pixels=33 * 33), "at least 1089 and at most 1024"),  # its own largest
    ],
)
def test_a_processor_without_the_setting_is_refused(family: str, settings: ImageSettings, name: str, tmp_path: Path) -> None:
    families.load(family, tmp_path)
    with pytest.raises(UserError, match=name):
        load_model(ModelSpec(id="tests/it", path=str(tmp_path), dtype="float32", images=settings), "vision")


REAL = ["target=qwen2_vl_7b", "benchmark=mathvista", "method=direct"]


def test_a_named_choice_is_the_targets_own_and_part_of_the_cell() -> None:
    hub, release = resolve(compose(REAL)), resolve(compose([*REAL, "processor=release"]))
    assert hub.target.images is None
    assert release.target.images == ImageSettings(min_pixels=1280 * 28 * 28, max_pixels=16384 * 28 * 28)
    assert hub.id != release.id
    assert 'processor "min_pixels=1003520 max_pixels=12845056"' in release.describe()
    assert resolve(compose([*REAL, "processor=release", "processor.max_pixels=1003520"])).target.images != release.target.images
    # Where the release leaves a processor alone, both are one cell.
    llava = ["target=llava_next_8b", "benchmark=mathvista", "method=direct"]
    assert resolve(compose(llava)).id == resolve(compose([*llava, "processor=release"])).id


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["target=mini", "processor=release"], "'mini'.*'release'.*hub"),
        (["processor.min_pixels=0"], "processor.min_pixels=0"),
        (["processor.min_pixels=9", "processor.max_pixels=8"], "min_pixels=9 is above"),
    ],
)
def test_bad_settings_are_told(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        resolve(compose(words))


def test_a_direction_is_read_once_for_all_processors() -> None:
    """Texts have no pictures: the target's own directions are one file, whatever its processor."""
    from l2v.study.plan import job_readings

    own = ["target=qwen2_vl_7b", "benchmark=mathvista", "method=own_direction", "contrast=still2"]
    hub, release = resolve(compose(own)), resolve(compose([*own, "processor=release"]))
    assert hub.id != release.id
    assert [r.id for r in job_readings(hub)] == [r.id for r in job_readings(release)]
    assert ModelId("a", "b", "c", "auto").identity() == {"name": "a", "id": "b", "revision": "c", "dtype": "auto"}
