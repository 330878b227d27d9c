"""Questions that stand twice in the data, or on both sides of a search."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from l2v.benchmarks.base import Item
from l2v.benchmarks.twins import shared, twins
from l2v.paths import PACKAGE

WHITE, BLACK = (Image.new("RGB", (4, 4), colour) for colour in ("white", "black"))


def item(name: str, text: str = "q <image>", gold: str = "1", picture: Image.Image = WHITE) -> Item:
    return Item(name, text, gold, {}, [picture])


def test_the_same_words_pictures_and_answer_are_the_same_question() -> None:
    first = item("a")
    others = [item("b", text="p <image>"), item("c", gold="2"), item("d", picture=BLACK)]
    assert twins([first, *others]) == []
    again, third = item("e", picture=WHITE.copy()), item("f")
    assert twins([first, *others, again, third]) == [(again, first), (third, first)]
    assert shared([again, *others], [first, third]) == [(again, first)]
    assert shared(others, [first, third]) == []


@pytest.fixture
def data(tmp_path: Path) -> Callable[[int], Path]:
    """Eight questions to choose on and eight to report on, of which some are the same under other ids."""

    def write(same: int) -> Path:
        rows = pd.read_parquet(PACKAGE / "mini" / "data" / "test.parquet")
        rows.iloc[:8].to_parquet(tmp_path / "dev.parquet")
        report = rows.iloc[8 - same : 16 - same].reset_index(drop=True)
        report.assign(id=[f"other-{i}" for i in range(8)]).to_parquet(tmp_path / "test.parquet")
        return tmp_path

    return write


def test_what_was_chosen_on_is_not_reported_on(
    data: Callable[[int], Path], tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("protocol.name=select_then_test", "protocol.select=dev", "protocol.report=test", "method=direct")
    answer = tiny("study=some_shared", f"benchmark.path={data(3)}", *words)
    assert answer.code == 0
    told = "3 of the 8 questions of 'test', which is reported on, are also in 'dev', which is chosen on (first: 'other-0' as"
    assert told in answer.err and "not held out" in answer.err
    monkeypatch.setattr("l2v.steering.models.load_model", None)
    answer = tiny("study=all_shared", f"benchmark.path={data(8)}", *words)
    assert answer.code == 2
    assert "8 of the 8 questions of 'test'" in answer.err and "nothing would be held out; mend the data" in answer.err
    looked = tiny("study=all_shared", f"benchmark.path={data(8)}", *words, verb="preflight")
    assert looked.code == 1
    assert "8 of the 8 questions of 'test'" in looked.out and "mend: mend the data, or choose and report on other" in looked.out


def test_doubled_questions_and_pairs_are_told(data: Callable[[int], Path], tiny: Callable[..., Any], tmp_path: Path) -> None:
    path = data(0) / "dev.parquet"
    rows = pd.read_parquet(path)
    pd.concat([rows, rows.head(2).assign(id=["x", "y"])]).to_parquet(path)
    pairs = (PACKAGE / "mini" / "data" / "contrast.jsonl").read_text().splitlines()[:6]
    same = json.dumps(json.loads(pairs[5]) | {"cot": "8", "direct": "8"})
    (tmp_path / "pairs.jsonl").write_text("\n".join([*pairs[:5], same, *pairs[:2]]) + "\n")
    where = (f"benchmark.path={tmp_path}", f"contrast.path={tmp_path / 'pairs.jsonl'}")
    answer = tiny("study=doubled_items", "method=l2v", "contrast.per_domain=8", "benchmark.limit=10", *where)
    assert answer.code == 0
    assert "2 of 10 items ask the same as another one (first: 'x' as 'test-000')" in answer.err
    assert "2 of 8 rows of contrast 'mini' repeat another one" in answer.err
    assert "1 of 8 pairs of contrast 'mini' hold one response twice" in answer.err
