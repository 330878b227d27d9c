"""No default of the miniature's meets a model of another world without a word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2v.errors import UserError
from l2v.paths import PACKAGE
from l2v.study.resolve import resolve
from l2v.verbs.compose import compose

REAL = ("target=qwen2_vl_7b", "source=r1_qwen_7b", "benchmark=mathvista")


def contrast(*words: str) -> str:
    cell = resolve(compose(words))
    assert cell.contrast is not None
    return cell.contrast.name


def test_a_real_source_takes_the_papers_contrast_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert contrast(*REAL) == "still2"
    assert "contrast=still2 is taken" in capsys.readouterr().err
    assert contrast(*REAL, "contrast.per_domain=7") == "still2"
    assert resolve(compose([*REAL, "contrast.per_domain=7"])).contrast.per_domain == 7  # type: ignore[union-attr]
    assert contrast(*REAL, "method=own_direction") == "still2"


def test_the_same_on_the_command_line(l2v: Callable[..., Any], tmp_path: Any) -> None:
    """Composed by Hydra's own command line and by its sweeper: the cells are those of an explicit contrast=still2."""
    given = ("dry_run=true", f"runtime.outputs={tmp_path}")
    sweep = ("--multirun", "target=qwen2_vl_7b,llava_next_8b", "source=r1_qwen_7b", "benchmark=mathvista", *given)
    for words in ((*REAL, *given), sweep):
        silent, explicit = l2v("run", *words), l2v("run", *words, "contrast=still2")
        assert silent.code == explicit.code == 0, silent.err
        assert silent.out == explicit.out
        assert "contrast=still2 is taken" in silent.err
        assert "is taken" not in explicit.err


def test_whoever_reads_the_papers_contrast_is_named_once(l2v: Callable[..., Any], tmp_path: Any) -> None:
    """Whatever method comes first: one that reads no texts hid it from the others, and two that do were not told of."""
    given = (*REAL, "dry_run=true", f"runtime.outputs={tmp_path}")
    for methods, readers in (
        ("direct,l2v,random", ["r1_qwen_7b"]),
        ("direct,mathneuro", ["qwen2_vl_7b"]),
        ("few_shot_cot,own_direction", ["qwen2_vl_7b"]),
        ("l2v,own_direction", ["r1_qwen_7b", "qwen2_vl_7b"]),
        ("direct,merging", []),
    ):
        answer = l2v("run", "--multirun", *given, f"method={methods}")
        told = [line.split()[-1] for line in answer.err.splitlines() if "is taken" in line]
        assert answer.code == 0 and told == [f"{reader}." for reader in readers], (methods, answer.err)


def test_the_miniatures_texts_need_a_word_for_others() -> None:
    assert contrast(*REAL, "contrast=mini") == "mini"
    assert contrast("target=qwen2_vl_7b", "source=mini_kin", "benchmark=mathvista") == "mini"
    with pytest.raises(UserError, match=r"qwen2_vl_7b.*contrast=still2"):
        resolve(compose(["target=qwen2_vl_7b", "source=mini_kin", "intervention.scale=relative"]))


def test_the_default_source_steers_the_miniature_alone() -> None:
    with pytest.raises(UserError, match=r"'mini_kin'.*'qwen2_vl_7b'.*source=r1_qwen_32b.*source=mini_kin"):
        resolve(compose(["target=qwen2_vl_7b", "benchmark=mathvista"]))
    assert resolve(compose(["target=qwen2_vl_7b", "benchmark=mathvista", "method=direct"])).source is None


def test_the_miniatures_cells_are_what_they_were(capsys: pytest.CaptureFixture[str]) -> None:
    """Ids of before today: defaults, and the same chosen by name."""
    assert resolve(compose([])).id == "c48bee9b0f1ad551"
    assert resolve(compose(["source=mini_kin", "contrast=mini"])).id == "c48bee9b0f1ad551"
    assert resolve(compose([*REAL, "contrast=still2"])).id == "89a4349ac091eccd"
    assert capsys.readouterr().err == ""


def test_a_model_of_ones_own_needs_its_folder_alone(tmp_path: Path) -> None:
    """From the command line, and as a YAML without name and id; a folder is known by its content, wherever it lies."""
    mini = PACKAGE / "mini" / "checkpoints"
    one = resolve(compose(["target=local", f"target.path={mini / 'vlm'}", "method=direct"]))
    assert (one.target.name, one.target.id) == ("vlm", "vlm")
    shutil.copytree(mini / "vlm", tmp_path / "vlm")
    (tmp_path / "conf" / "target").mkdir(parents=True)
    (tmp_path / "conf" / "target" / "own.yaml").write_text(f"path: {tmp_path / 'vlm'}\n")
    other = resolve(compose(["target=own", "method=direct"], str(tmp_path / "conf")))
    assert other.id == one.id
    named = resolve(compose(["target=own", "target.name=mine", "method=direct"], str(tmp_path / "conf")))
    assert (named.target.name, named.target.id) == ("mine", "mine")
    with pytest.raises(UserError, match=r"target\.path"):
        compose(["target=local", "method=direct"])
