"""The scripts beside the experiments: what they print is right by a hand's arithmetic, and stands in the committed files."""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch

EXPERIMENTS = Path(__file__).parents[1] / "experiments"


def script(path: str) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(f"script_{Path(path).stem}", EXPERIMENTS / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two vectors."""
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_geometry_of_models_that_differ_by_a_rotation() -> None:
    """A map finds the rotation from paired texts, not from shuffled ones nor for a random direction; a low-pass does not."""
    geometry = script("maps/geometry.py")
    rng = np.random.default_rng(0)
    texts, places, d = 60, 4, 24
    turn, x = np.linalg.qr(rng.normal(size=(d, d)))[0], rng.normal(size=(texts * places, d)) * np.linspace(1, 3, d)
    pairs = rng.normal(size=(40, d))
    pairs[::2] += 4 * rng.normal(size=d)
    carried = (pairs[::2] - pairs[1::2]).mean(axis=0)
    own = carried @ turn
    given = (x, x @ turn, np.arange(texts * places) // places, pairs, carried, own)
    here = geometry.Blocks(*(torch.tensor(part) if part.ndim == 2 else torch.tensor(part) for part in given))
    for name in ("procrustes", "ridge_neutral", "cca"):
        row = geometry.carried(here, name, 5)
        assert float(row["cosine"]) > 0.99
        assert float(row["reconstruction"]) > 0.99
        assert row["p_shuffled"] == row["p_random"] == f"{1 / 6:.3f}", "above all of five"
        assert float(row["shuffled_high"]) < 0.9 > float(row["random_high"])
    row = geometry.low_passed(here, 8, 5)
    kept = np.fft.rfft(carried)
    kept[4:] = 0
    assert float(row["cosine"]) == pytest.approx(cosine(np.fft.irfft(kept, d), own), abs=6e-4)


def test_geometry_of_the_miniature_from_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command of its help reads what it needs by itself; kin's low band points where the target's own direction does."""
    geometry = script("maps/geometry.py")
    monkeypatch.chdir(tmp_path)
    words = "world=0 maps=procrustes blocks=3:3 seeds=2 source=mini_kin target=mini neutral=mini neutral.texts=40"
    monkeypatch.setattr(sys, "argv", ["geometry.py", *words.split()])
    geometry.main()
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["map"] for row in rows] == ["l2v", "procrustes"]
    assert float(rows[0]["cosine"]) == pytest.approx(0.506, abs=6e-4), "as geometry.csv has it"
    assert -1 <= float(rows[1]["cosine"]) <= 1


def test_permuted_seeds_beside_the_carried_direction(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The script's cosine of l2v is that of the directions on disk, filtered by hand; a seed's rank counts those above it."""
    from safetensors.numpy import load_file

    permuted = script("permuted.py")
    monkeypatch.setattr(permuted, "SEEDS", 6)
    monkeypatch.chdir(tmp_path)
    permuted.main()
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("layer")]
    assert [line.partition(":")[0] for line in told] == [f"layer {layer}, k {k}" for layer in (2, 3) for k in (16, 34)]
    means = [load_file(path)["mean"] for path in sorted((tmp_path / "outputs" / "cache" / "directions").glob("*.safetensors"))]
    assert len(means) == 2
    source, target = sorted((mean[3].astype(float) for mean in means), key=len, reverse=True)
    low = np.fft.irfft(np.fft.rfft(source)[:17], len(target))
    found = float(told[3].split("l2v ")[1].partition(";")[0])
    assert (len(source), len(target)) == (160, 96)
    assert found == pytest.approx(cosine(low, target), abs=6e-4)
    assert all(1 <= int(word.rpartition(" ")[2]) <= 6 for line in told for word in line.split("; ")[-2:])


def test_claims_hold_in_a_world_or_do_not() -> None:
    """A strangers' row above a quarter breaks its claim in its world alone; a world without rows claims nothing."""
    worlds = script("maps/worlds.py")
    rows = [
        {"world": world, "source": source, "target": target, "map": "l2v", "control": "", "neutral": "", "value": value}
        for world, source, target, value in (
            ("0", "mini_kin", "mini", 1.0), ("0", "mini_kin", "mini_drifted", 0.95), ("0", "mini_stranger_a", "mini", 0.1),
            ("0", "mini_stranger_b", "mini_drifted", 0.25), ("1", "mini_kin", "mini", 0.89),
            ("1", "mini_kin", "mini_drifted", 1.0),
            ("1", "mini_stranger_a", "mini", 0.26), ("1", "mini_stranger_b", "mini_drifted", 0.1),
        )
    ]  # fmt: skip
    table = pd.DataFrame(rows).assign(cosine=0.0)
    held = worlds.claims(table)
    assert held["`l2v` from kin reaches both targets"].to_dict() == {"0": True, "1": False}
    assert held["`l2v` from strangers reaches neither"].to_dict() == {"0": True, "1": False}
    table["arm"] = table.apply(worlds.label, axis=1)
    spread = worlds.accuracies(table).set_index(["target", "arm"]).loc[("mini", "l2v kin")]
    assert (spread["mean"], spread["least"], spread["most"]) == pytest.approx((94.5, 89.0, 100.0))


def test_the_worlds_readme_holds_what_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Both tables, to the figure."""
    script("maps/worlds.py").main()
    told = (EXPERIMENTS / "maps" / "README.md").read_text().splitlines()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|") and "---" not in line]
    assert len(printed) > 60
    assert [line for line in printed if line not in told] == []
