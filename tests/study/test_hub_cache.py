"""Checkpoints that came from the hub are looked at as folders are: in its cache, before they answer, and by preflight."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
from huggingface_hub import constants

sys.path.insert(0, str(Path(__file__).parents[1]))

from steering.test_checkpoints import note
from study.test_more_faults import put
from study.test_preflight import BASE, WORDS, text_model, texts
from study.test_quiet_faults import zeros

from l2v.errors import UserError
from l2v.identity import sha256
from l2v.steering.models import ModelSpec, load_model

COMMIT = "1" * 40


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import families

    folder = tmp_path_factory.mktemp("llava") / "llava"
    families.load("llava", folder)
    return folder


def cached(hub: Path, name: str, sound: Path, damage: Callable[[Path, Path], object]) -> Path:
    """The cache's folder of org/NAME, a damaged copy of a sound checkpoint."""
    place = hub / f"models--org--{name}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    damage(sound, place / "snapshots" / COMMIT)
    return place / "snapshots" / COMMIT


def blank(sound: Path, folder: Path) -> None:
    zeros(Path(shutil.copytree(sound, folder)), "lm_head.weight")


def twice(sound: Path, folder: Path) -> None:
    shutil.copytree(sound, folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4] * 3}))


def adapted(sound: Path, folder: Path) -> None:
    """transformers reads such an adapter without a word, where its package is installed."""
    shutil.copytree(sound, folder)
    loaded = load_model(ModelSpec("tests/sound", path=str(sound), dtype="float32"), "vision")
    settings = peft.LoraConfig(target_modules=["q_proj"], base_model_name_or_path="org/sound")
    peft.get_peft_model(loaded.model, settings).save_pretrained(folder)
    changed = json.loads((folder / "adapter_config.json").read_text()) | {"base_model_name_or_path": "org/sound"}
    (folder / "adapter_config.json").write_text(json.dumps(changed))


def pointed(sound: Path, folder: Path) -> None:
    shutil.copytree(sound, folder)
    (folder / "merges.txt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


DAMAGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "blank": (blank, "lm_head.weight is zeros throughout"),
    "rooted": (lambda a, b: put(a, b, "text_config", rms_norm_eps=-1.0), r"rms_norm_eps=-1\.0, which must be above 0"),
    "twice": (twice, "sets pictures twice, image_mean"),
    "adapted": (adapted, r"is an adapter \(PEFT\) of 'org/sound'"),
    "pointed": (pointed, "is a pointer of Git LFS"),
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_copy_is_told(name: str, llava: Path, hub: Path, tmp_path: Path, l2v: Callable[..., Any]) -> None:
    """Each answered without a word, for only folders were looked at."""
    damage, told = DAMAGES[name]
    cached(hub, "sound", llava, shutil.copytree)
    place = cached(hub, name, llava, damage)
    load_model(ModelSpec("org/sound", dtype="float32"), "vision")
    with pytest.raises(UserError, match=told) as error:
        load_model(ModelSpec(f"org/{name}", dtype="float32"), "vision")
    assert str(place) in str(error.value)
    models = [f"target.id=org/{name}", "target.name=far", f"source.path={text_model(tmp_path / 'source')}"]
    words = [*BASE, "method=direct", *models, f"contrast.path={texts(tmp_path / 'x.jsonl', 4)}", f"runtime.outputs={tmp_path}"]
    found = json.loads(l2v("preflight", "format=json", *words, *WORDS).out)
    assert [str(place) in one["what"] for one in found["problems"]] == [True], found


@pytest.mark.parametrize("place", ["cache", "folder"])
def test_doctor_holds_weights_against_the_hubs_digests(
    place: str, llava: Path, hub: Path, tmp_path: Path, l2v: Callable[..., Any]
) -> None:
    """One bit of one weight changes no shape, and the model answers."""
    commit = cached(hub, "one", llava, shutil.copytree)
    blobs = hub / "models--org--one" / "blobs"
    blobs.mkdir()
    for file in sorted(commit.iterdir()):
        kept = file.rename(blobs / sha256(file)) if file.suffix == ".safetensors" else file
        if kept != file:
            file.symlink_to(kept)
    local = Path(shutil.copytree(llava, tmp_path / "local"))
    note(local / "model.safetensors", "a" * 40, sha256(local / "model.safetensors"))
    model = f"target.path={local}" if place == "folder" else "target.id=org/one"
    own = [f"source.path={text_model(tmp_path / 'source')}", f"contrast.path={texts(tmp_path / 'x.jsonl', 4)}"]
    words = [*BASE, "method=direct", model, "target.name=far", *own, f"runtime.outputs={tmp_path}", "study=s", *WORDS]
    ran = l2v("run", *words)
    assert ran.code == 0, ran.err
    doctor = ("doctor", "study=s", f"outputs={tmp_path}")
    assert l2v(*doctor).code == 0
    damaged = next(blobs.iterdir()) if place == "cache" else local / "model.safetensors"
    data, times = bytearray(damaged.read_bytes()), damaged.stat()
    data[-100] ^= 1
    damaged.write_bytes(data)
    os.utime(damaged, ns=(times.st_atime_ns, times.st_mtime_ns))
    answer = l2v(*doctor)
    assert answer.code == 1 and f"{damaged} is not what the hub keeps under this digest" in answer.out, answer.out
