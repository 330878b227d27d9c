"""The miniature benchmark as an lm-eval task: its items, prompts and verdicts, and data of one's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2v.benchmarks import harness
from l2v.benchmarks.base import Answer, Item
from l2v.benchmarks.catalogue import DataRef
from l2v.benchmarks.data import load_rows
from l2v.benchmarks.harness import load_items, load_task
from l2v.benchmarks.mini import docs
from l2v.benchmarks.scoring import check_scorers, score_answers
from l2v.errors import UserError
from l2v.paths import PACKAGE

DATA = PACKAGE / "mini" / "data"


def items(prompt: str = "direct", split: str = "dev", path: Path = DATA, limit: int | None = 5) -> list[Item]:
    return load_items(DataRef("mini", split, "l2v/mini", path=str(path)), prompt, limit)


def raw(split: str = "dev", count: int = 5) -> list[dict[str, Any]]:
    """Rows as they lie in the file, read without the benchmark's code."""
    return pd.read_parquet(DATA / f"{split}.parquet").head(count).to_dict("records")


def test_the_task_loads_through_lm_eval() -> None:
    """lm-eval's own view: the same documents, its direct prompt, and our verdict under its metric's name."""
    task = load_task(DataRef("mini", "dev", "l2v/mini", path=str(DATA)))
    assert task.config.task == "l2v_mini"
    assert task.OUTPUT_TYPE == "generate_until"
    assert task.has_test_docs()
    assert [doc["id"] for doc in task.test_docs()] == [row["id"] for row in raw(count=10**6)]
    assert task.doc_to_text(task.test_docs()[0]) == items(limit=1)[0].text


@pytest.mark.parametrize(("split", "count"), [("dev", 200), ("test", 500)])
def test_a_split_has_all_its_items_in_the_order_of_the_data(split: str, count: int) -> None:
    loaded = items(split=split, limit=None)
    assert len(loaded) == count
    assert [item.id for item in loaded] == [row["id"] for row in raw(split, count)]
    assert len({item.id for item in loaded}) == count
    assert [item.id for item in items(split=split, limit=7)] == [item.id for item in loaded[:7]]


def test_splits_share_no_question() -> None:
    digits = [set(pd.read_parquet(DATA / f"{split}.parquet")["digits"]) for split in ("dev", "test")]
    assert not digits[0] & digits[1]


def test_an_item_is_the_row_of_the_file() -> None:
    for item, row in zip(items(), raw(), strict=True):
        assert item.gold == row["answer"] == str(sum(int(d) for d in row["digits"]) % 10)
        assert item.text.count("<image>") == len(item.images) == 1
        assert item.images[0].mode == "RGB"
        assert item.doc["digits"] == row["digits"]


def test_every_style_puts_another_instruction_behind_the_same_question() -> None:
    texts = {style: items(style, limit=1)[0].text for style in docs.STYLES}
    assert {"direct", "cot", "raw"} <= set(texts)
    assert len(set(texts.values())) == len(texts)
    assert all(text.startswith(texts["raw"].split(".")[0]) for text in texts.values())
    assert "step" in texts["cot"]


def test_an_unknown_style_is_told_with_the_nearest_ones() -> None:
    with pytest.raises(UserError, match="prompt style 'cott'.*cot"):
        items("cott")


@pytest.mark.parametrize(
    ("response", "correct", "extraction"),
    [("so a 3 =3 b 2 =5 thus {gold}", True, "{gold}"), ("thus {wrong}", False, "{wrong}"), ("", False, None)],
)
def test_verdicts_and_lm_evals_metric_agree(response: str, correct: bool, extraction: str | None) -> None:
    task = load_task(DataRef("mini", "dev", "l2v/mini", path=str(DATA)))
    for item in items():
        words = {"gold": item.gold, "wrong": str((int(item.gold) + 1) % 10)}
        said = response.format(**words)
        (verdict,) = score_answers("official", docs, [item.doc], [Answer(said)])
        assert verdict.correct is correct
        assert verdict.extraction == (extraction.format(**words) if extraction else None)
        assert task.process_results(item.doc, [said]) == {"accuracy": float(correct), "unresolved": 0.0}


def test_the_scorer_of_the_settings_default_is_registered() -> None:
    from l2v.config import Config

    check_scorers(Config().scorer, docs)
    with pytest.raises(UserError, match="scorer 'offical'.*official"):
        check_scorers(["offical"])
    with pytest.raises(UserError, match="no scorer 'official_int'"):
        check_scorers(["official_int"], docs)


def test_a_folder_with_jsonl_and_image_files_gives_the_same_items(tmp_path: Path) -> None:
    lines = []
    for number, row in enumerate(raw()):
        image = tmp_path / f"{number}.png"
        image.write_bytes(row["image"]["bytes"])
        lines.append(json.dumps({**row, "image": str(image)}) + "\n")
    (tmp_path / "dev.jsonl").write_text("".join(lines))
    for mine, shipped in zip(items(path=tmp_path, limit=None), items(), strict=True):
        assert (mine.id, mine.text, mine.gold) == (shipped.id, shipped.text, shipped.gold)
        assert mine.images[0].tobytes() == shipped.images[0].tobytes()


def test_image_paths_may_be_relative_to_the_folder_of_the_data(tmp_path: Path) -> None:
    """A downloaded folder stays whole when it is moved."""
    row = raw(count=1)[0]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "one.png").write_bytes(row["image"]["bytes"])
    (tmp_path / "dev.jsonl").write_text(json.dumps({**row, "image": "images/one.png"}) + "\n")
    (item,) = items(path=tmp_path, limit=None)
    assert item.images[0].tobytes() == items(limit=1)[0].images[0].tobytes()


def test_a_folder_with_parquet_and_a_single_file_are_taken_too(tmp_path: Path) -> None:
    shutil.copy(DATA / "dev.parquet", tmp_path / "mine.parquet")
    assert [i.id for i in items(split="mine", path=tmp_path)] == [i.id for i in items()]
    assert [i.id for i in items(split="whatever", path=tmp_path / "mine.parquet")] == [i.id for i in items()]


def test_a_split_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    shutil.copy(DATA / "dev.parquet", tmp_path / "mine.parquet")
    with pytest.raises(UserError, match=r"'dev' is not in .*\(there: mine\)"):
        load_rows("l2v/mini", "dev", path=str(tmp_path))


def test_a_copy_of_a_hub_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    """`hf download` keeps the hub's names; a split of several parts is never read in part."""
    (tmp_path / "data").mkdir()
    whole = shutil.copy(DATA / "dev.parquet", tmp_path / "data" / "dev-00000-of-00001-725687bf7a18d64b.parquet")
    shutil.copy(DATA / "dev.parquet", tmp_path / "data" / "dev2-00000-of-00001.parquet")
    assert [i.id for i in items(path=tmp_path)] == [i.id for i in items()]
    Path(whole).rename(tmp_path / "data" / "dev-00000-of-00002.parquet")
    with pytest.raises(UserError, match="'dev' .* lies in parts, of which 1 are there; give it as one file"):
        items(path=tmp_path)


@pytest.mark.parametrize("content", ["task: [", "task: another_name\n", ""], ids=["broken", "renamed", "empty"])
def test_a_broken_task_file_is_an_error_and_no_silence(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(PACKAGE / "benchmarks" / "mini", tmp_path / "benchmarks" / "mini")
    (tmp_path / "benchmarks" / "mini" / "l2v_mini.yaml").write_text(content)
    monkeypatch.setattr(harness, "PACKAGE", tmp_path)
    with pytest.raises(UserError, match="'mini' did not load.*l2v_mini"):
        items()


def test_an_unbroken_copy_of_the_task_folder_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above fails for its content and not because the folder was moved."""
    shutil.copytree(PACKAGE / "benchmarks" / "mini", tmp_path / "benchmarks" / "mini")
    monkeypatch.setattr(harness, "PACKAGE", tmp_path)
    assert len(items()) == 5
