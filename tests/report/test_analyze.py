"""`l2v analyze` on the miniature: what it writes, that its forms hold the same numbers, and what it refuses."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.integrate import trapezoid

from l2v.report.panels import Line, Picture, save_png
from l2v.study.columns import COLUMNS
from l2v.study.store import Store

FIGURES = ["dispersion", "dispersion_raw", "dispersion_blocks", "dispersion_map", "pca", "spectrum", "densities", "cosine"]
SMALL = ("contrast.per_domain=30", "analyze.permutations=4", "runtime.device=cpu", "intervention.cutoff=16")


DRAWN: dict[Path, Picture] = {}


@pytest.fixture(scope="module", autouse=True)
def watched() -> Iterator[None]:
    """Every picture is kept beside its file."""

    def kept(picture: Picture, path: Path) -> None:
        DRAWN[path] = picture
        save_png(picture, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("l2v.report.lat.folder.save_png", kept)
        yield


@dataclass(frozen=True)
class Look:
    """A finished analysis."""

    folder: Path
    out: str
    content: dict[str, Any]

    @property
    def drawn(self) -> dict[str, Picture]:
        """What was handed to the one that draws, by id."""
        return {path.stem: picture for path, picture in DRAWN.items() if path.parent == self.folder}

    def figure(self, name: str) -> dict[str, Any]:
        return next(one for one in self.content["figures"] if one["id"] == name)

    def table(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.folder / self.figure(name)["csv"])

    def line(self, figure: str, name: str, index: int = 0) -> Line:
        """What was drawn under this name."""
        lines = [line for panel in self.drawn[figure].panels for line in panel.lines if line.name.startswith(name)]
        return lines[index]


@pytest.fixture(scope="module")
def analyze(l2v: Callable[..., Any], outputs: Path) -> Callable[..., Any]:
    """`l2v analyze …` of the drifted pair with few texts; later words win."""

    def run(*words: str) -> Any:
        return l2v("analyze", "target=mini_drifted", "study=look", f"runtime.outputs={outputs}", *SMALL, *words)

    return run


def opened(answer: Any) -> Look:
    assert answer.code == 0, answer.err
    path = Path(answer.out.splitlines()[-2])
    return Look(path.parent, answer.out, json.loads(path.read_text()))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the PNG files, which take four fifths of an analysis and which `look` and `low_high` are there for."""
    monkeypatch.setattr("l2v.report.lat.folder.save_png", lambda picture, path: path.write_bytes(b""))


@pytest.fixture(scope="module")
def look(analyze: Callable[..., Any]) -> Look:
    return opened(analyze())


def test_every_figure_is_there_in_all_its_forms(look: Look) -> None:
    assert [one["id"] for one in look.content["figures"]] == FIGURES
    assert set(look.content) == {"title", "note", "settings", "figures", "page_digest", "digest"}
    assert all(isinstance(text, str) for text in look.content["settings"].values())
    for one in look.content["figures"]:
        assert set(one) == {"id", "title", "note", "png", "csv", "table_digest", "picture_digest"}
        panels = look.drawn[one["id"]].panels
        assert panels and all(panel.x and panel.y and (panel.lines or panel.heat) for panel in panels)
        picture = Image.open(look.folder / one["png"]).convert("RGB")
        assert picture.width >= 600 and len(picture.getcolors(10**7) or ()) > 20
        assert len(look.table(one["id"]))
    assert "n = 30 pairs" in look.content["note"] and "miniature" in look.content["note"]


def test_the_table_agrees_with_what_the_extraction_measured(look: Look, outputs: Path, config: Callable[..., Any]) -> None:
    """The extraction keeps trace and mean square as running sums over batches, by another way."""
    from l2v.study.plan import directions_path, job_readings
    from l2v.study.resolve import resolve
    from l2v.transfer.directions import Directions

    shared = ("contrast.per_domain=30", "method.name=ridge", "target.name=mini_drifted")
    path = "target.path=package:mini/checkpoints/vlm_drifted"
    cell = resolve(config(*shared, path, "target.id=l2v/mini-vlm-drifted"))
    table = look.table("dispersion_map")
    for role, reading in zip(("source", "target"), job_readings(cell), strict=True):
        kept = Directions.load(directions_path(str(outputs), reading.id))
        ours = table[(table["role"] == role) & (table["k"] == 16)]
        assert ours["block"].tolist() == [0, 1, 2, 3] and set(ours["n"]) == {30}
        assert ours["trace_unfiltered"].to_numpy() == pytest.approx(kept.trace.numpy(), rel=1e-3)
        assert ours["mean_square_unfiltered"].to_numpy() == pytest.approx(kept.mean_square.numpy(), rel=1e-4)


def test_picture_and_csv_hold_the_same_numbers(look: Look) -> None:
    table = look.table("dispersion")
    for index, role in enumerate(("source", "target")):
        part = table[table["role"] == role]
        names = {
            "measured": "retained",
            "white": "white",
            "permuted coordinates": "permuted",
            "permuted, exact": "permuted_expected",
        }
        for name, column in names.items():
            line = look.line("dispersion", name, index)
            assert list(line.x) == part["k"].tolist()
            assert list(line.y) == pytest.approx(part[column].tolist(), rel=1e-5)
    cosine = look.table("cosine")
    for index, band in enumerate(("low", "whole", "high")):
        part = cosine[cosine["band"] == band].pivot(index="source_block", columns="target_block", values="cosine")
        heat = look.drawn["cosine"].panels[index].heat
        assert heat is not None and np.array(heat.z) == pytest.approx(part.to_numpy(), abs=1e-5)
    points = look.table("pca")
    cot = points[(points["role"] == "source") & (points["text"] == "cot")]
    assert list(look.line("pca", "chain of thought").x) == pytest.approx(cot["component_1"].tolist(), rel=1e-4)
    assert f"{100 * points['share_1'].iloc[0]:.1f} %" in look.drawn["pca"].panels[0].x
    spectrum = look.table("spectrum")
    power = spectrum[(spectrum["role"] == "source") & (spectrum["quantity"] == "power")]
    assert list(look.line("spectrum", "source mini_kin").y) == pytest.approx(power["share"].tolist(), rel=1e-4)
    assert power["share"].sum() == pytest.approx(1, abs=1e-4)


def test_a_density_integrates_to_one(look: Look) -> None:
    line = look.line("densities", "chain of thought")
    assert trapezoid(line.y, line.x) == pytest.approx(1, abs=0.03)


def test_the_carried_axis_is_held_against_axes_from_permuted_coordinates(look: Look, outputs: Path) -> None:
    """Even the stranger's axes part the miniature's two kinds of states: an AUC of 1 alone says nothing."""
    one = look.table("densities").query("axis == 'target carried low'").iloc[0]
    assert one["auc"] == 1 and 0 <= one["auc_permuted_low"] < 0.5 < one["auc_permuted_high"] <= 1
    assert f"{one['auc_permuted_low']:.3f} to {one['auc_permuted_high']:.3f} over 4 orders" in look.figure("densities")["note"]


def test_the_drifted_world_is_shared_below_and_not_above(look: Look) -> None:
    """MINIWORLD: the drifted target is the identity below one-sided bin 17 (k = 34) and random above."""
    low = look.table("cosine").query("band == 'low'")
    assert low["cosine"].min() > 0.8 and low["beyond"].all()
    assert "1/sqrt(k - 1)" in look.figure("cosine")["note"]


@pytest.mark.usefixtures("undrawn")
def test_a_stranger_is_at_the_null_level(analyze: Callable[..., Any]) -> None:
    strange = opened(analyze("source=mini_stranger_a", "intervention.cutoff=34"))
    assert not strange.table("cosine").query("band == 'low'")["beyond"].any()


def test_the_summary_is_four_lines_of_the_tables_numbers_and_the_paths(look: Look) -> None:
    lines = look.out.splitlines()
    assert len(lines) == 7 and lines[4] == ""
    assert [Path(line).name for line in lines[5:]] == ["lat.json", "index.html"]
    table = look.table("dispersion").query("role == 'source' and k == 16").iloc[0]
    for value in (
        f"kept {100 * table['retained']:.1f} %",
        f"white {100 * table['white']:.1f} %",
        "n = 30",
        f"permuted {100 * table['permuted']:.1f} %",
    ):
        assert value in lines[0]
    cosine = look.table("cosine").query("band == 'low'")
    assert f"best {cosine['cosine'].max():+.3f}" in lines[3] and "sd 0.258" in lines[3]


def test_the_page_stands_alone(look: Look) -> None:
    text = (look.folder / "index.html").read_text()
    assert "viewport" in text and "<script" not in text
    assert not re.search(r'<(link|img)[^>]+(src|href)="(?!data:image/png)', text)
    for one in look.content["figures"]:
        assert f'id="{one["id"]}"' in text and f'href="{one["csv"]}"' in text
        assert base64.b64encode((look.folder / one["png"]).read_bytes()).decode() in text


def test_names_stay_text_on_the_page(tmp_path: Path) -> None:
    from l2v.report.lat.folder import page

    hostile = "</script><script>alert(1)</script>"
    figure = {
        "id": "x",
        "title": hostile,
        "note": hostile,
        "png": "x.png",
        "csv": "x.csv",
    }
    (tmp_path / "x.png").write_bytes(b"")
    text = page({"title": hostile, "note": hostile, "settings": {hostile: hostile}, "figures": [figure]}, tmp_path)
    assert "<script>alert" not in text
    assert text.count(html.escape(hostile)) >= 5


@pytest.mark.usefixtures("undrawn")
def test_a_second_call_loads_no_model_and_writes_the_same(
    look: Look, analyze: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from l2v.study.workers import making

    monkeypatch.setattr(making, "load_model", None)
    before = {path.name: path.read_bytes() for path in look.folder.glob("*.csv")}
    again = opened(analyze())
    assert again.folder == look.folder and again.out == look.out
    assert {path.name: path.read_bytes() for path in look.folder.glob("*.csv")} == before
    other = opened(analyze("analyze.layer=1", "analyze.cutoffs=[8,40]"))
    assert other.folder != look.folder
    assert set(other.table("dispersion")["k"]) == {8, 16, 40} and set(other.table("dispersion")["block"]) == {1}


@pytest.mark.usefixtures("undrawn")
def test_another_seed_gives_other_orders_and_the_same_measurement(look: Look, analyze: Callable[..., Any]) -> None:
    one, other = look.table("dispersion"), opened(analyze("analyze.seed=1")).table("dispersion")
    assert (one["retained"] == other["retained"]).all() and (one["permuted"] != other["permuted"]).any()


@pytest.mark.usefixtures("undrawn")
def test_the_papers_traces_stand_beside_those_of_its_models(analyze: Callable[..., Any]) -> None:
    """Names alone decide; the miniature under the name of the paper's model says what was measured here."""
    named = opened(analyze("source.name=llama3_8b"))
    told = named.figure("dispersion_raw")["note"]
    measured = named.table("dispersion").query("role == 'source' and k == 16").iloc[0]
    assert "176.7, low-passed 169.3 (95.8 %" in told and f"{measured['trace_unfiltered']:.4g}" in told


BASE = {"cell": "c", "source": "mini_kin", "target": "mini_drifted", "benchmark": "mini", "split": "dev", "part": None,
        "limit": None, "prompt": "direct", "metric": "accuracy", "scorer": "official", "layer": 2, "alpha": 0.5,
        "low": 0.0, "high": 1.0, "n": 200}  # fmt: skip


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What a study found: these rows, over a base."""

    def found(*rows: dict[str, Any]) -> None:
        table = pd.DataFrame([BASE | row for row in rows], columns=list(COLUMNS))
        monkeypatch.setattr("l2v.report.study.build_results", lambda store: table)

    return found


def test_low_against_high_injection_is_read_from_the_results(
    analyze: Callable[..., Any], outputs: Path, results: Callable[..., None]
) -> None:
    arms = [
        {"method": m, "cutoff": k, "value": v} for m, k, v in (("l2v", 8, 0.5), ("high_pass", 8, 0.1), ("high_pass", 16, 0.2))
    ]
    others = [{"method": "direct", "value": 0.7, "source": None, "prompt": "cot"},  # of another way to ask
              {"method": "l2v", "cutoff": 8, "value": 0.9, "layer": 3}, {"method": "direct", "value": 0.1, "source": None},
              {"method": "l2v", "cutoff": 8, "value": 1.0, "source": "mini_base"},
              {"method": "l2v", "cutoff": 8, "value": 1.0, "scorer": "lenient"}]  # fmt: skip
    Store(str(outputs), "injected").open()
    results(*arms, *others)
    found = opened(analyze("study=injected"))
    table = found.table("low_high")
    assert table.query("method == 'l2v'")[["k", "value", "layer", "best_of"]].values.tolist() == [[8, 0.9, 3, 2]]
    assert table.query("method == 'high_pass'")[["k", "value", "best_of"]].values.tolist() == [[8, 0.1, 1], [16, 0.2, 1]]
    assert list(found.line("low_high", "low-pass (l2v), best of 2 cells per k").y) == [0.9]
    assert "biased upwards" in found.figure("low_high")["note"] and "n = 200" in found.figure("low_high")["note"]
    assert list(found.line("low_high", "direct").y) == [0.1, 0.1]


@pytest.mark.usefixtures("undrawn")
def test_without_both_arms_the_figure_is_left_out_and_said_so(
    look: Look, analyze: Callable[..., Any], outputs: Path, results: Callable[..., None]
) -> None:
    Store(str(outputs), "lowonly").open()
    results({"method": "l2v", "cutoff": 8, "value": 0.5})
    for one in (look, opened(analyze("study=lowonly"))):
        assert "low_high" not in [f["id"] for f in one.content["figures"]]
        assert "No low- against high-pass" in one.content["note"]


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (("analyze.layer=4",), ["analyze.layer=4", "mini_drifted", "0 … 3"]),
        (("analyze.permutations=0",), ["analyze.permutations=0", "at least 1"]),
        (("analyze.cutoffs=[8,97]",), ["97", "96"]),
        (("intervention.cutoff=100",), ["cutoff=100", "96"]),
        (("contrast.per_domain=2", "contrast.domains=[]"), ["at least 3 pairs", "2", "per_domain"]),
        (("study=../x",), ["study="]),
        (("--multirun",), ["one configuration"]),
    ],
)
def test_bad_input_is_one_sentence(words: tuple[str, ...], pieces: list[str], analyze: Callable[..., Any]) -> None:
    answer = analyze(*words)
    assert (answer.code, answer.out) == (2, "")
    told = [line for line in answer.err.splitlines() if not line.startswith("directions read")]
    assert len(told) == 1 and told[0].startswith("l2v analyze: ")
    assert all(piece in told[0] for piece in pieces), told


def test_what_can_be_told_before_is_told_before_any_model_is_loaded(
    analyze: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from l2v.study.workers import making

    monkeypatch.setattr(making, "load_model", None)
    for word in ("analyze.layer=9", "analyze.permutations=0", "analyze.cutoffs=[500]"):
        assert analyze(word, "contrast.per_domain=31").code == 2


def test_texts_that_the_source_writes_are_read_by_both(
    analyze: Callable[..., Any], outputs: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Figures 1 and 2b: written once by the source under two instructions, kept, and the very same pairs for both models."""
    words = ("contrast.kind=generated", "contrast.max_new_tokens=26", "contrast.per_domain=8", "study=written")
    told = opened(analyze(*words)).content
    [kept] = (outputs / "cache" / "texts").glob("*.jsonl")
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert 3 <= len(rows) <= 8
    # The miniature's source does as it is told: steps end in "thus", direct answers are short.
    assert all("thus" in row["cot"] for row in rows)
    assert all(len(row["direct"].split()) < len(row["cot"].split()) for row in rows)
    assert f"n = {len(rows)} pairs" in json.dumps(told["settings"])
    from l2v.study.workers import making

    monkeypatch.setattr(making, "load_model", None)
    assert opened(analyze(*words)).content == told
