"""The page's data: which cells and examples, verdicts in words, pictures, and that nothing in it can become code."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from page_helpers import HOSTILE, block, poison, unpacked, written
from PIL import Image

from l2v.errors import UserError
from l2v.report.page.examples import choose, longest, shortened
from l2v.report.page.page import embedded
from l2v.report.page.pictures import thumbnail
from l2v.report.study import read_study
from l2v.report.verdicts import Against, Told, few_nulls, finding

RANDOM, PERMUTED = Against("random seed 0", 0.10, True), Against("permuted seed 1", 0.98, False)


def told(**changes: Any) -> Told:
    """An arm 12 points above direct, clearly."""
    values = {"value": 0.5, "n": 500, "low": 0.45, "high": 0.55, "diff": 0.124, "diff_low": 0.081, "diff_high": 0.166}
    values |= {"p_holm": 0.0004, "selected": "dev", "budget": 12, "p_best_of_grid": 0.0001, "p_best_of_seeds": 1 / 7}
    return Told(**(values | changes))


@pytest.mark.parametrize(
    ("cell", "nulls", "kind"),
    [
        (told(), [RANDOM], "above_nulls"),
        (told(), [RANDOM, PERMUTED], "above_some"),
        (told(), [PERMUTED], "like_nulls"),
        (told(), [], "untested"),
        # The interval touches zero, or Holm's p does not hold: one of the two is not enough.
        (told(diff_low=-0.001), [RANDOM], "same"),
        (told(p_holm=0.06), [RANDOM], "same"),
        (told(diff=-0.1, diff_low=-0.15, diff_high=-0.05), [RANDOM], "below"),
        (told(diff=-0.1, diff_low=-0.15, diff_high=0.01), [RANDOM], "same"),
        # Selected on the very items: the search must be allowed for.
        (told(selected="test"), [RANDOM], "above_nulls"),
        (told(selected="test", p_best_of_grid=0.2), [RANDOM], "same"),
        (told(selected="test", p_best_of_grid=None), [RANDOM], "same"),
        (told(null=True), [], "null_above"),
        (told(steered=False), [], "above"),
        (told(diff=None, diff_low=None, diff_high=None, p_holm=None), [RANDOM], "open"),
    ],
)
def test_the_rule_by_hand(cell: Told, nulls: list[Against], kind: str) -> None:
    assert finding(cell, nulls).kind == kind


def test_the_sentence_carries_every_figure() -> None:
    text = finding(told(), [RANDOM, Against("random seed 1", 0.11, True), Against("random seed 2", 0.12, True)]).text
    assert text == (
        "+12.4 points, 95 % interval [+8.1, +16.6], Holm p < 0.001; beats all 3 null searches; "
        "rank among null searches p = 0.14; n = 500."
    )
    assert "not permuted seed 1 at 98.0 %" in finding(told(), [RANDOM, PERMUTED]).text
    assert "selected on the reported items: the best of 12 cells" in finding(told(selected="test"), [RANDOM]).text
    assert "no null arm was run" in finding(told()).text
    assert "no null arm was searched over the same settings" in finding(told(), others=3).text


def test_few_nulls_are_said() -> None:
    assert "0.14" in few_nulls(6)
    assert few_nulls(19) == "" and few_nulls(0) == ""


@pytest.fixture(scope="module")
def paged(tiny: Callable[..., Any], outputs: Path) -> Path:
    """A sweep of two arms, one of them null, beside the baseline."""
    answer = tiny(
        "--multirun", "study=paged", "benchmark.limit=30", "method=direct,l2v,random", "intervention.layer=2,3",
        "intervention.alpha=0.3,0.7", "intervention.scale=relative",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    return outputs / "paged"


@pytest.fixture
def copied(paged: Path, tmp_path: Path) -> Path:
    """A copy of that study that a test may damage."""
    shutil.copytree(paged, tmp_path / "paged", ignore=shutil.ignore_patterns("report"))
    return tmp_path / "paged"


def test_the_page_holds_results_csv_as_it_lies_on_disk(paged: Path) -> None:
    table = block(written(paged), "data")["tables"][0]
    with (paged / "results.csv").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    assert table["order"] == head
    assert unpacked(table) == rows and len(rows) == 9


def test_a_choice_of_responses_is_called_one_and_all_of_them_are_not(paged: Path) -> None:
    whole, some = written(paged), written(paged, examples=10)
    told, few = (block(page, "examples-data") for page in (whole, some))
    assert f"All {told['total']} responses of the reported cells, scorer official." in whole and "Shares among" not in whole
    assert f"{few['reported']} of {told['total']} responses" in some and "Shares among" in some and few["reported"] <= 10


def test_verdicts_carry_the_figures_of_the_results(paged: Path) -> None:
    page = written(paged)
    rows = pd.read_csv(paged / "results.csv")
    best = rows[(rows["method"] == "l2v") & (rows["selected"] == "test")].iloc[0]
    assert f"{100 * best['diff']:+.1f} points, 95 % interval [{100 * best['diff_low']:+.1f}, " in page
    assert "selected on the reported items: the best of 4 cells" in page
    assert "The miniature world" in page


def test_nothing_but_the_arms_best_cells_is_reported_without_a_selection(paged: Path) -> None:
    study = read_study(str(paged.parent), "paged", "official")
    assert Counter(study.reported["method"]) == {"direct": 1, "l2v": 1, "random": 1}
    assert set(study.reported[study.reported["method"] != "direct"]["selected"]) == {"test"}


def test_a_selection_says_what_is_reported(tiny: Callable[..., Any], outputs: Path) -> None:
    answer = tiny(
        "--multirun", "study=page_selected", "protocol.name=select_then_test", "protocol.select=dev", "protocol.report=test",
        "method=direct,l2v", "intervention.alpha=0.3,0.7",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    study = read_study(str(outputs), "page_selected", "official")
    arms = json.loads((outputs / "page_selected" / "selection.json").read_text())["arms"]
    assert set(study.reported["cell"]) == {arm["report"] for arm in arms}
    page = written(outputs / "page_selected")
    assert "chosen on split dev; every figure is reported on split test" in page
    extra = block(page, "data")["tables"][0]["extra"]["chosen"]
    cells = [row[0] for row in unpacked(block(page, "data")["tables"][0])]
    marked = {cell for cell, word in zip(cells, extra["index"], strict=True) if extra["words"][word] == "1"}
    assert marked == {arm["select"] for arm in arms}


def flips_on_disk(study: Path) -> Counter[tuple[str, str]]:
    """(cell, kind of flip) of every response of the reported arms, counted from the files."""
    rows = pd.read_csv(study / "results.csv")
    direct = rows[rows["method"] == "direct"]["cell"].iloc[0]

    def right(cell: str) -> dict[str, bool]:
        lines = (study / "cells" / cell / "scores" / "official.jsonl").read_text().splitlines()
        return {v["id"]: v["correct"] is True for v in map(json.loads, lines)}

    base = right(direct)
    names = {(True, False): "flipped right", (False, True): "flipped wrong"}
    names |= {(False, False): "both wrong", (True, True): "both right"}
    found: Counter[tuple[str, str]] = Counter()
    for cell in rows[rows["selected"] == "test"]["cell"]:
        found.update((cell, names[r, base[item]]) for item, r in right(cell).items())
    return found


def test_all_responses_are_examples_where_there_is_room(paged: Path) -> None:
    study = read_study(str(paged.parent), "paged", "official")
    chosen, total = choose(study, 1000)
    assert Counter((e.cell, e.flip) for e in chosen) == flips_on_disk(paged)
    assert total == 60


def test_examples_are_shared_out_among_cells_and_flips_and_always_the_same(paged: Path) -> None:
    study = read_study(str(paged.parent), "paged", "official")
    chosen, _ = choose(study, 12)
    there = flips_on_disk(paged)
    got = Counter((e.cell, e.flip) for e in chosen)
    assert len(chosen) == 12
    # Nobody gets a further one while another who has some left got fewer.
    for kind, count in got.items():
        assert all(got[other] >= count - 1 for other in there if there[other] > got[other]), kind
    assert chosen == choose(read_study(str(paged.parent), "paged", "official"), 12)[0]
    assert choose(study, 0)[0] == []


def test_every_cell_has_examples_and_the_budget_is_kept(paged: Path) -> None:
    rows = pd.read_csv(paged / "results.csv")
    steered = set(rows[rows["method"] != "direct"]["cell"])
    for most in (1000, 60, 20):
        data = block(written(paged, examples=most), "examples-data")
        told = data["examples"][: data["reported"]]
        rest = [data["cells"][e["cell"]] for e in data["examples"][data["reported"] :]]
        assert len(data["examples"]) == min(most, 240) and {data["cells"][e["cell"]] for e in data["examples"]} == steered
        assert len({data["cells"][e["cell"]] for e in told}) == 2 and set(Counter(rest).values()) <= {
            30,
            most // 15,
            most // 15 + 1,
        }
        # The other cells answer the same items.
        assert len({e["item"] for e in data["examples"][data["reported"] :]}) == -(-len(rest) // 6)


def test_texts_share_one_budget() -> None:
    assert longest([10, 20], 1000) >= 20
    lengths = [300_000, 5_000, 700, 90_000]
    limit = longest(lengths, 50_000)
    assert sum(min(length, limit) for length in lengths) <= 50_000
    assert sum(min(length, limit + 1) for length in lengths) > 50_000
    # What is cut of an answer is its middle: it begins with its steps and ends with what is scored.
    text = "First, " + "we add. " * 500 + "The answer is 7."
    kept = shortened(text, 400)
    assert kept.startswith("First, we add.") and kept.endswith("add. The answer is 7.") and len(kept) == 400
    assert shortened(text, len(text)) == text


def test_pictures_are_small_and_stored_once(paged: Path) -> None:
    data = block(written(paged), "examples-data")
    assert data["note"] == ""
    pictures = [Image.open(io.BytesIO(base64.b64decode(text))) for text in data["pictures"]]
    assert len(set(data["pictures"])) == len(data["pictures"]) == 30 == len(data["items"])
    assert [list(p.size) for p in pictures] == data["pixels"]
    small, size = thumbnail(Image.effect_noise((900, 600), 80), 240)
    assert size == (240, 160) and Image.open(io.BytesIO(small)).size == (240, 160)


def test_pictures_keep_within_their_budget(paged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = block(written(paged), "examples-data")
    budget = sum(len(text) for text in whole["pictures"]) * 3 // 4 // 2
    monkeypatch.setattr("l2v.report.page.pictures.IMAGE_BUDGET", budget)
    page = written(paged)
    data = block(page, "examples-data")
    bare = sum(not item["images"] for item in data["items"])
    assert 0 < len(data["pictures"]) < 30 and sum(len(text) for text in data["pictures"]) * 3 / 4 <= budget
    assert bare == 30 - len(data["pictures"]) and f"there is no room for those of {bare} items" in data["note"]


def test_the_picture_is_the_items_own(paged: Path) -> None:
    data = block(written(paged), "examples-data")
    rows = pd.read_parquet(Path("l2v/mini/data/dev.parquet")).set_index("id")
    for item in data["items"][:5]:
        ours = Image.open(io.BytesIO(base64.b64decode(data["pictures"][item["images"][0]]))).convert("RGB")
        theirs = Image.open(io.BytesIO(rows.loc[item["id"]]["image"]["bytes"])).convert("RGB")
        assert ours.tobytes() == theirs.tobytes()


def test_a_page_without_the_benchmarks_data_says_so(copied: Path, tmp_path: Path) -> None:
    for path in copied.glob("cells/*/config.yaml"):
        content = yaml.safe_load(path.read_text())
        content["locations"]["benchmark"] = str(tmp_path / "gone")
        path.write_text(yaml.safe_dump(content))
    page = written(copied)
    (note,) = re.findall(r"Some pictures are missing: (.*?)</p>", page)
    assert note.count("does not exist") == 1 and note.endswith("mend its path.") and not note.endswith("..")
    data = block(page, "examples-data")
    assert data["pictures"] == [] and data["reported"] == 60


def test_hostile_responses_stay_data(copied: Path) -> None:
    clean = written(copied)
    poison(copied)
    page = written(copied)
    for sign in ("<script", "</script", "<img"):
        assert page.count(sign) == clean.count(sign)
    texts = block(page, "examples-data")["texts"]
    for hostile in HOSTILE:
        assert any(text.startswith(hostile) for text in texts), (hostile[:30], [t[:30] for t in texts])
    assert len(page.encode()) < 15e6


def test_embedded_data_can_end_no_element_and_no_line() -> None:
    data = {"a": ["</script>", "<!--", "&amp;", "\u2028", "\ud800", float("nan")]}
    text = embedded(data)
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text)["a"][:4] == data["a"][:4]
    text.encode("utf-8")


def test_the_pages_policy_allows_its_own_scripts_alone(paged: Path) -> None:
    page = written(paged)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = policy.group(1).replace("&#39;", "'")
    assert "default-src 'none'" in rules and "unsafe-eval" not in rules
    assert "'unsafe-inline'" not in next(part for part in rules.split(";") if "script-src" in part)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in scripts]
    assert len(hashes) == 1 and f"'sha256-{hashes[0]}'" in rules
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)


def test_what_cannot_be_shown_is_told_in_a_sentence(l2v: Callable[..., Any], paged: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no study 'nowhere'"):
        written(paged.parent / "nowhere")
    with pytest.raises(UserError, match="scorer=lenient"):
        written(paged, scorer="lenient")
    with pytest.raises(UserError, match="is the study itself"):
        written(paged, compare="paged")
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(paged / "study.json", empty)
    assert "no finished cell yet" in written(empty)


def test_cells_that_failed_are_told_with_their_reason(copied: Path) -> None:
    (run,) = (json.loads(path.read_text()) for path in copied.glob("runs/*/run.json"))
    failed = [path.parent for path in sorted(copied.glob("cells/*/DONE"))[:2]]
    for folder in failed:
        (folder / "DONE").unlink()
        said = "OutOfMemoryError: <b>2 GiB"
        reason = {"attempt": run["attempt"], "worker": "w", "reason": said, "aside": True}
        (folder / "failures.w.jsonl").write_text(json.dumps(reason) + "\n")
    page = written(copied)
    assert "2 of 9 cells not finished, 2 of them failed; " in page
    assert page.count("not finished") == 1, "folders are no count of cells: one number is told"
    assert "2 cells failed: OutOfMemoryError: &lt;b&gt;2 GiB" in page


def test_a_study_without_a_baseline_says_so(copied: Path) -> None:
    rows = pd.read_csv(copied / "results.csv")
    shutil.rmtree(copied / "cells" / rows[rows["method"] == "direct"]["cell"].iloc[0])
    shutil.rmtree(copied / "runs")
    page = written(copied)
    assert "No baseline: the arm direct was not run" in page
    assert "no paired comparison with direct" in page
    flips = {e["flip"] for e in block(page, "examples-data")["examples"]}
    assert flips <= {"right", "wrong"} and flips


def test_two_studies_are_compared_item_by_item(paged: Path, tiny: Callable[..., Any], outputs: Path) -> None:
    answer = tiny(
        "study=paged_short", "benchmark.limit=30", "method=l2v", "intervention.layer=3", "intervention.alpha=0.7",
        "intervention.scale=relative", "decoding.max_new_tokens=6",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    page = written(paged, compare="paged_short")
    assert "1 cell in both" in (words := " ".join(page.split()))
    assert "Their settings are the same but for max new tokens: 32 → 6." in words
    (pair,) = block(page, "data")["pairs"]

    def right(study: str, cell: str) -> list[bool]:
        lines = (outputs / study / "cells" / cell / "scores" / "official.jsonl").read_text().splitlines()
        return [v["correct"] is True for v in sorted(map(json.loads, lines), key=lambda v: v["id"])]

    ours, theirs = right("paged", pair["first"]), right("paged_short", pair["second"])
    assert pair["n"] == 30 and "max new tokens: 32 → 6" in pair["differs"]
    assert pair["right"] == sum(b and not a for a, b in zip(ours, theirs, strict=True))
    assert pair["wrong"] == sum(a and not b for a, b in zip(ours, theirs, strict=True))
    assert pair["diff"] == pytest.approx((sum(theirs) - sum(ours)) / 30)
    # It is cut before its answer: the difference is no accident.
    assert pair["high"] < 0 and pair["p_holm"] < 0.05
    assert "8 cells only in paged, 0 only in paged_short" in " ".join(page.split())
