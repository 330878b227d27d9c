"""Real items go all the way: loading, prompt, a tiny model of a real family, scoring by several scorers, results.csv.

The model's weights are random; what is checked is that nothing on the way drops, mixes up or mistreats an item.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

import families

PARITY = Path(__file__).parents[2].parent / "shared" / "parity"
real = pytest.mark.skipif(not PARITY.is_dir(), reason="the real annotations (shared/parity) are not here")
SCORERS = "scorer=[official,robust,lenient]"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """A tiny LLaVA as the settings of a target."""
    folder = tmp_path_factory.mktemp("llava")
    loaded = families.load("llava", folder)
    return ("target.name=tiny", f"target.path={folder}", f"target.layers={len(loaded.layers)}", f"target.width={loaded.width}")


def results(tiny: Callable[..., Any], outputs: Path, study: str, *words: str) -> pd.DataFrame:
    answer = tiny(f"study={study}", SCORERS, "decoding.max_new_tokens=6", "benchmark.limit=null", *words)
    assert answer.code == 0, answer.err
    return pd.read_csv(outputs / study / "results.csv")


@real
def test_three_real_mathvista_items_direct_and_steered(
    target: tuple[str, ...], tiny: Callable[..., Any], outputs: Path, tmp_path: Path
) -> None:
    """Images whose annotations name another suffix; the steering is of the target itself, whose answers must change."""
    rows = json.loads((PARITY / "mathvista" / "testmini.json").read_text())
    shutil.copytree(PARITY / "mathvista" / "images", tmp_path / "images")
    chosen = {pid: {**rows[pid], "image": f"images/{pid}.png"} for pid in ("106", "225", "540")}
    (tmp_path / "testmini.json").write_text(json.dumps(chosen))
    pairs = [{"question": families.question(4, i), "cot": families.question(9, 50 + i), "direct": "w1", "domain": "mini"}
             for i in range(8)]  # fmt: skip
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    table = results(tiny, outputs, "real-mathvista", *target, "benchmark=mathvista", f"benchmark.path={tmp_path}", "--multirun",
                    f"contrast.path={tmp_path / 'pairs.jsonl'}", "contrast.per_domain=8",
                    "method=direct,own_direction", "intervention.alpha=3", "intervention.layer=1")  # fmt: skip
    assert set(table["scorer"]) == {"official", "robust", "lenient"}
    headline = table[table["metric"] == "accuracy"]
    assert len(headline) == 6 and set(headline["n"]) == {3}
    # Each item counts towards its category, its task and each of its skills.
    official = table[(table["scorer"] == "official") & (table["method"] == "direct")].set_index("metric")["n"]
    assert official.get("general", 0) + official.get("math", 0) == 3
    assert sum(n for name, n in official.items() if name.startswith("task/")) == 3
    skills = sum(len(chosen[pid]["metadata"]["skills"]) for pid in chosen)
    assert sum(n for name, n in official.items() if name.startswith("skill/")) == skills
    cells = (outputs / "real-mathvista" / "cells").glob("*/responses.jsonl")
    said = [[json.loads(line)["response"] for line in path.read_text().splitlines()] for path in cells]
    assert len(said) == 2 and said[0] != said[1]


@real
def test_twenty_real_mathverse_figures(
    target: tuple[str, ...], tiny: Callable[..., Any], outputs: Path, tmp_path: Path
) -> None:
    rows = json.loads((PARITY / "mathverse" / "samples_six_versions.json").read_text())
    shutil.copytree(PARITY / "mathverse" / "images", tmp_path / "images")
    there = {path.name for path in (tmp_path / "images").iterdir()}
    chosen = {key: {**row, "image": f"images/{row['image']}"} for key, row in rows.items() if row["image"] in there}
    chosen = dict(list(chosen.items())[:20])
    (tmp_path / "testmini.json").write_text(json.dumps(chosen))
    table = results(tiny, outputs, "real-mathverse", *target, "benchmark=mathverse", f"benchmark.path={tmp_path}",
                    "method=cot_prompt")  # fmt: skip
    official = table[table["scorer"] == "official"].set_index("metric")
    versions = [name for name in official.index if name.startswith("version/")]
    assert official.loc[versions, "n"].sum() == 20
    main = [name for name in versions if name != "version/text_only"]
    assert official.loc["accuracy", "value"] == pytest.approx(official.loc[main, "value"].mean())


def written(folder: Path, count: int = 3) -> Path:
    """Rows in MathVista's fields, with an RGBA, a palette and a grey picture."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for i, mode in zip(range(count), ("RGBA", "P", "L"), strict=False):
        Image.new("RGB", (40 + 9 * i, 30), (250, 40 * i, 0)).convert(mode).save(folder / f"{i}.png")
        lines.append(
            {"pid": str(i), "question": "How many?", "image": f"{i}.png", "choices": None, "unit": None, "precision": None,
             "answer": "3", "question_type": "free_form", "answer_type": "integer", "metadata": {"category": "general-vqa",
             "context": "x", "grade": "x", "language": "english", "skills": ["arithmetic reasoning"], "source": "x",
             "split": "testmini", "task": "math word problem"}}
        )  # fmt: skip
    (folder / "testmini.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_pictures_of_every_kind_and_every_prompt_style(
    target: tuple[str, ...], tiny: Callable[..., Any], outputs: Path, tmp_path: Path
) -> None:
    folder = written(tmp_path / "data")
    table = results(tiny, outputs, "kinds", *target, "benchmark=mathvista", f"benchmark.path={folder}", "--multirun",
                    "method=direct", "benchmark.prompt=direct,cot,raw")  # fmt: skip
    headline = table[(table["metric"] == "accuracy") & (table["scorer"] == "official")]
    assert sorted(headline["prompt"]) == ["cot", "direct", "raw"]
    assert headline["cell"].nunique() == 3
    assert set(headline["n"]) == {3}


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_damaged_picture_is_told_with_its_item_before_anything_runs(
    damage: str, target: tuple[str, ...], tiny: Callable[..., Any], outputs: Path, tmp_path: Path
) -> None:
    folder = written(tmp_path / "data")
    if damage == "missing":
        (folder / "2.png").unlink()
    else:
        content = (folder / "2.png").read_bytes()
        (folder / "2.png").write_bytes(content[: len(content) // 2])
    answer = tiny(f"study=damaged-{damage}", *target, "benchmark=mathvista", f"benchmark.path={folder}", "method=direct",
                  "benchmark.limit=null")  # fmt: skip
    assert answer.code == 2
    assert "item 2" in answer.err or "2" in answer.err.split("image of")[1][:40]
    assert "missing or corrupt" in answer.err
