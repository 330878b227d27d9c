"""The ledger: every claim names cells that its experiment has, as the paper states them; verdicts follow from stored cells."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable
from functools import cache, reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

from l2v.config import Config
from l2v.errors import UserError
from l2v.report.claims import PaperClaim, comparisons, judged, least_n, on_miniature, read_claims
from l2v.report.paper import PRINTED
from l2v.study.digests import TABLE, content_digest

FILE = Path(__file__).parents[2] / "experiments" / "paper" / "claims.yaml"
CLAIMS = [claim for claim in read_claims(FILE) if claim.lat is None]
# Where the paper (METHOD sections 1, 9, 12) has each figure: targets, benchmarks.
PLACES: dict[str, tuple[set[str], set[str]]] = {
    "fig2": ({"qwen2_vl_7b"}, {"mathvista", "mmstar"}),
    "fig4": ({"internvl2_8b", "qwen2_vl_7b"}, {"mathvista", "mmstar"}),
    "fig5": ({"qwen2_vl_7b"}, {"mmstar"}),
    "fig6": ({"mulberry_llama_11b", "mulberry_qwen2_vl_2b"}, {"mathvista", "mmstar"}),
    "fig7a": ({"llava_next_8b"}, {"mathverse"}),
    "fig7b": ({"llava_next_8b"}, {"mathverse"}),
    "fig8": ({f"internvl2_{size}" for size in ("1b", "2b", "4b", "8b", "26b", "40b", "76b")}, {"mathvista", "mmstar"}),
    "table2": ({"llava_next_8b", "internvl2_8b", "qwen2_vl_7b"}, {"mathvista", "mathverse", "dynamath"}),
}
# A setting of a claim -> where a configuration holds it.
HELD = {
    "method": "method.name", "target": "target.name", "benchmark": "benchmark.name", "source": "source.name",
    "contrast": "contrast.name", "positions": "intervention.positions", "prompt": "benchmark.prompt",
    "layer": "intervention.layer",
    "source_layer": "intervention.source_layer", "alpha": "intervention.alpha", "cutoff": "intervention.cutoff",
    "per_domain": "contrast.per_domain", "max_new_tokens": "decoding.max_new_tokens", "task": "benchmark.task",
}  # fmt: skip


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, l2v: Callable[..., Any]) -> Callable[[str], list[Config]]:
    """The configurations of an experiment, composed as for a run."""
    found: list[Config] = []

    def keep(configs: list[Config]) -> tuple[list[None], list[None]]:
        found.extend(configs)
        return [None] * len(configs), [None] * len(configs)

    monkeypatch.setattr("l2v.verbs.run.run_configs", keep)

    @cache
    def run(experiment: str) -> list[Config]:
        found.clear()
        answer = l2v("run", "--multirun", f"+experiment={experiment}")
        assert answer.code == 0, answer.err
        return list(found)

    return run


def fitting(configs: list[Config], settings: dict[str, Any]) -> list[Config]:
    """Those with all of these settings; None: whatever they have, since the method does not depend on it."""
    asked = {HELD[key]: value for key, value in settings.items() if value is not None}
    return [one for one in configs if all(reduce(getattr, key.split("."), one) == value for key, value in asked.items())]


def of_experiment(experiment: str) -> list[PaperClaim]:
    return [claim for claim in CLAIMS if claim.experiment == experiment]


@pytest.mark.parametrize("experiment", sorted({claim.experiment for claim in CLAIMS}))
def test_claims_are_cells_of_their_experiment_as_the_paper_states_them(
    experiment: str, jobs: Callable[[str], list[Config]]
) -> None:
    """Both sides of every comparison; source, contrast, layer of the source, prompt, positions, length; five draws where the
    paper averages; targets and benchmarks of the printed place and no others."""
    configs = few(jobs(experiment))
    for claim in of_experiment(experiment):
        places = [dict(one.ours) for one in comparisons(claim)]
        if experiment in PLACES:
            targets, benchmarks = PLACES[experiment]
            assert {place["target"] for place in places} == targets
            assert {place["benchmark"] for place in places} == benchmarks
        for one in comparisons(claim):
            ours, theirs = fitting(configs, dict(one.ours)), fitting(configs, dict(one.theirs))
            assert ours, (claim.id, one.ours)
            assert theirs, (claim.id, one.theirs)
            facts = {key: value for key, value in claim.facts.items() if key != "draws"}
            assert len(fitting(ours, facts)) == len(ours), (claim.id, facts)
            if "draws" in claim.facts:
                assert {one.contrast.seed for one in ours} == set(range(claim.facts["draws"]))


def few(configs: list[Config]) -> list[Config]:
    """Without those that differ from others in alpha, k and layer alone, where no claim of a table asks for these."""
    kept: dict[str, Config] = {}
    for one in configs:
        named = one.study not in ("table1", "table2", "source_scale", "fig6", "fig8", "limits")
        numbers = (one.intervention.alpha, one.intervention.cutoff, one.intervention.layer) if named else ()
        kept.setdefault(
            repr(
                (
                    one.method.name,
                    one.target.name,
                    one.benchmark.name,
                    one.benchmark.task,
                    one.source.name,
                    one.contrast,
                    numbers,
                )
            ),
            one,
        )
    return list(kept.values())


def test_every_printed_row_is_claimed() -> None:
    """Each row of the printed tables but `direct`, and each printed figure of its columns that stand for a whole benchmark."""
    for table in ("table1", "table2"):
        with (PRINTED / f"{table}.csv").open() as file:
            rows = list(csv.DictReader(file))
        claimed = {(o.ours["target"], o.ours["method"]) for c in of_experiment(table) for o in comparisons(c)}
        claimed |= {(o.theirs["target"], o.theirs["method"]) for c in of_experiment(table) for o in comparisons(c)}
        assert {(row["target"], row["method"]) for row in rows} <= claimed
    first = next(iter(comparisons(of_experiment("table1")[0])))
    assert (first.ours["target"], first.diff, first.base) == ("llava_next_8b", pytest.approx(41.8 - 35.2), 35.2)
    assert least_n(first) is not None


def test_printed_copies_are_the_papers() -> None:
    """The packaged numbers against the shared ones, under the names that conf/ gives the models."""
    shared = FILE.parents[2].parent / "shared" / "paper"
    if not shared.is_dir():
        pytest.skip("the printed tables (shared/paper) are not here")
    for name in ("table1", "table2"):
        ours, theirs = ((folder / f"{name}.csv").read_text().splitlines() for folder in (PRINTED, shared))
        assert ours == [line.replace("llava_next_llama3_8b", "llava_next_8b") for line in theirs]


@pytest.mark.parametrize(
    ("direction", "diff", "p", "n", "verdict"),
    [
        ("above", 0.05, 0.01, 50, "reproduced"),
        ("above", -0.05, 0.01, 50, "contradicted"),
        ("below", -0.05, 0.01, 50, "reproduced"),
        ("above", 0.01, 0.4, 50, "under-powered"),
        ("above", 0.01, 0.4, 500, "contradicted"),
        ("none", 0.01, 0.4, 500, "reproduced"),
        ("none", 0.01, 0.4, 50, "under-powered"),
        ("none", 0.05, 0.01, 50, "contradicted"),
    ],
)
def test_verdicts(direction: str, diff: float, p: float, n: int, verdict: str) -> None:
    assert judged(direction, diff, p, n, 100) == verdict


def test_the_miniature_is_held_against_the_claims(l2v: Callable[..., Any], tmp_path: Path) -> None:
    """Two draws of a tiny twin of Table 1: what was run is judged with its n, what was not is not run; nothing is computed."""
    run = l2v(
        "run", "--multirun", "study=table1_mini", f"runtime.outputs={tmp_path}", "target=mini", "benchmark.split=test",
        "benchmark.limit=60", "method=direct,l2v", "contrast.per_domain=100", "contrast.seed=0,1",
        "intervention.scale=relative", "intervention.layer=3", "intervention.alpha=0.7", "intervention.cutoff=34",
        "runtime.progress=false", "runtime.page=false",
    )  # fmt: skip
    assert run.code == 0, run.err
    answer = l2v("claims", "mini=true", f"outputs={tmp_path}", "--format", "csv", f"out={tmp_path / 'ledger.csv'}")
    assert answer.code == 0, answer.err
    rows = list(csv.DictReader(answer.out.splitlines()))
    assert (tmp_path / "ledger.csv").read_text().strip() == answer.out.strip()
    [judged_row] = [row for row in rows if row["claim"] == "table1.l2v" and "target=mini" in row["cells"].split()]
    assert (judged_row["verdict"], judged_row["draws"], judged_row["n"]) == ("reproduced", "2", "60")
    assert float(judged_row["diff"]) > 50
    assert float(judged_row["p"]) < 0.001
    others = [row for row in rows if row is not judged_row]
    assert {row["verdict"] for row in others} == {"not run"}
    assert "no cell" in {row["claim"]: row["why"] for row in others}["table1.few_shot_cot"]
    text = l2v("claims", "mini=true", f"outputs={tmp_path}").out
    assert "table1.l2v (Table 1, rows L2V)" in text
    assert "1 reproduced, 1 not run" in text


def test_a_pilot_beside_the_whole_run_tells_nothing(l2v: Callable[..., Any], tmp_path: Path) -> None:
    """Of the same study, on the first items alone: the verdict is of the most items, and both figures are of the same ones."""
    for limit, methods in ((20, "direct,l2v"), (60, "direct,l2v"), (80, "direct")):
        run = l2v(
            "run", "--multirun", "study=table1_mini", f"runtime.outputs={tmp_path}", "target=mini", "benchmark.split=test",
            f"benchmark.limit={limit}", f"method={methods}", "contrast.per_domain=100", "intervention.scale=relative",
            "intervention.layer=3", "intervention.alpha=0.7", "intervention.cutoff=34", "runtime.progress=false",
            "runtime.page=false",
        )  # fmt: skip
        assert run.code == 0, run.err
    answer = l2v("claims", "mini=true", f"outputs={tmp_path}", "--format", "csv")
    [row] = [
        r for r in csv.DictReader(answer.out.splitlines()) if r["claim"] == "table1.l2v" and "target=mini" in r["cells"].split()
    ]
    assert (row["verdict"], row["n"]) == ("reproduced", "60")
    assert float(row["diff"]) == pytest.approx(float(row["value"]) - float(row["other"]), abs=0.01)


def test_lengths_are_tested_and_not_their_means_alone(l2v: Callable[..., Any], tmp_path: Path) -> None:
    """Two items cannot show that answers are longer, whatever their means; sixty can."""
    for limit, verdict in ((2, "under-powered"), (60, "reproduced")):
        run = l2v(
            "run", "--multirun", "study=fig4_mini", f"runtime.outputs={tmp_path / str(limit)}", "target=mini",
            "benchmark.split=test", f"benchmark.limit={limit}", "method=direct,l2v", "contrast.per_domain=100",
            "intervention.scale=relative", "intervention.layer=3", "intervention.alpha=0.7", "intervention.cutoff=34",
            "runtime.progress=false", "runtime.page=false",
        )  # fmt: skip
        assert run.code == 0, run.err
        answer = l2v("claims", "mini=true", f"outputs={tmp_path / str(limit)}", "--format", "csv")
        row = next(row for row in csv.DictReader(answer.out.splitlines()) if row["claim"] == "fig4.length")
        assert (row["verdict"], row["n"], row["why"]) == (verdict, str(limit), ""), row
        assert float(row["diff"]) == pytest.approx(float(row["value"]) - float(row["other"]), abs=0.01)
        assert float(row["low"]) > 5 and (float(row["p"]) < 0.001) == (limit == 60), row
        text = l2v("claims", "mini=true", f"outputs={tmp_path / str(limit)}").out
        assert re.search(rf"{verdict} +.* tokens \[.*, n = {limit}\n", text), text


def test_a_search_that_was_broken_off_tells_nothing(l2v: Callable[..., Any], tmp_path: Path) -> None:
    """Its cells lie on the items that it would choose on."""
    words = (f"runtime.outputs={tmp_path}", "target=mini", "benchmark.limit=4", "runtime.progress=false", "runtime.page=false")
    run = l2v("run", "--multirun", "study=table1_mini", *words, "method=direct,l2v", "benchmark.split=dev")
    assert run.code == 0, run.err
    answer = l2v("claims", "mini=true", f"outputs={tmp_path}", "--format", "csv")
    rows = [row for row in csv.DictReader(answer.out.splitlines()) if row["claim"].startswith("table1.l2v")]
    assert rows and {row["verdict"] for row in rows} == {"not run"}


def test_twins_are_cells_of_the_miniatures_experiments(jobs: Callable[[str], list[Config]]) -> None:
    """Both sides of every comparison of the ledger's miniature."""
    for claim in CLAIMS:
        twin = on_miniature(claim)
        for one in comparisons(twin) if twin else ():
            for side in (one.ours, one.theirs):
                assert fitting(jobs(twin.experiment), dict(side)), (claim.id, side)


def test_bad_claims_are_one_sentence(l2v: Callable[..., Any], tmp_path: Path) -> None:
    for text in ("- {id: a}", "- {id: a, where: x, says: y, colour: red}", "{", "- {id: a, where: x, says: y}\n" * 2):
        (tmp_path / "claims.yaml").write_text(text)
        answer = l2v("claims", f"file={tmp_path / 'claims.yaml'}")
        assert (answer.code, len(answer.err.strip().splitlines())) == (2, 1)
    with pytest.raises(UserError, match="cannot be read"):
        read_claims(tmp_path / "none.yaml")
    for text in (b"\xff\xfe: 1", b"[" * 5000, b"- 7"):
        (tmp_path / "odd.yaml").write_bytes(text)
        with pytest.raises(UserError, match="odd.yaml' are not of the expected form"):
            read_claims(tmp_path / "odd.yaml")


def test_the_claim_of_states_is_held_against_a_stored_analysis(l2v: Callable[..., Any], tmp_path: Path) -> None:
    """The newest of these names is read; a difference within its intervals is no finding; one that is not there is not run."""
    entry = next(entry for entry in yaml.safe_load(FILE.read_text()) if entry["id"] == "fig1")
    claims = ("claims", f"file={tmp_path / 'claims.yaml'}", f"outputs={tmp_path}", "--format", "csv")
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump([entry]))
    header = "role,model,block,k,n,retained,retained_low,retained_high,white"
    for number, (kept, verdict) in enumerate(((0.9, "reproduced"), (0.2, "under-powered"), (0.05, "contradicted"))):
        folder = tmp_path / "look" / "lat" / str(number)
        folder.mkdir(parents=True)
        contrast = ("mini (d)", "mini, written by mini_kin (d)")[number % 2]
        settings = {"source": "mini_kin (a, b)", "target": "mini (c)", "contrast": contrast, "cutoff k": "34"}
        (folder / "lat.json").write_text(json.dumps({"settings": settings}))
        rows = [f"source,mini_kin,2,34,200,{kept},{kept - 0.01},{kept + 0.01},.2", "target,mini,2,34,200,.21,.2,.22,.3"]
        (folder / "dispersion.csv").write_text("\n".join([header, *rows]) + "\n")
        os.utime(folder / "lat.json", (number, number))
        answer = l2v(*claims, "mini=true")
        found = [row for row in csv.DictReader(answer.out.splitlines()) if row["claim"] == "fig1"]
        assert [row["verdict"] for row in found] == [verdict, "not run"], answer.out + answer.err
        assert float(found[0]["diff"]) == pytest.approx(100 * (kept - 0.21), abs=0.01)
    rows = list(csv.DictReader(l2v(*claims).out.splitlines()))
    [real] = [row for row in rows if row["claim"] == "fig1"]
    assert (real["verdict"], float(real["printed"])) == ("not run", pytest.approx(95.8 - 17.7, abs=0.1))
    figures = [{"csv": "dispersion.csv", TABLE: content_digest(b"another table")}]
    for told, file in (({"figures": figures}, "dispersion.csv"), ({"digest": "00"}, "lat.json")):
        (folder / "lat.json").write_text(json.dumps({"settings": settings} | told))
        answer = l2v(*claims, "mini=true")
        assert answer.code == 2 and f"{folder / file} is damaged; repeat" in answer.err
    # An older one would say something else. The page is written last, so that one that broke off has none.
    (folder / "lat.json").unlink()
    assert l2v(*claims, "mini=true").code == 0
    (folder / "index.html").touch()
    answer = l2v(*claims, "mini=true")
    assert answer.code == 2 and f"{folder / 'lat.json'} is missing; repeat its `l2v analyze`" in answer.err
