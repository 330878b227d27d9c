"""Bad input: one sentence on stderr, exit code 2, nothing stored is lost, no model loaded for what can be told before."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from l2v.errors import UserError
from l2v.paths import PACKAGE

Process = Callable[..., "subprocess.Popen[str]"]
CHECKPOINTS = PACKAGE / "mini" / "checkpoints"


@pytest.fixture(scope="module")
def kept(tiny: Callable[..., Any], outputs: Path) -> Path:
    """A study with one finished cell, which no bad command may touch."""
    assert tiny("study=untouched", "method=direct", "benchmark.limit=3").code == 0
    return outputs / "untouched"


def contents(study: Path) -> dict[str, bytes]:
    return {str(p.relative_to(study)): p.read_bytes() for p in study.rglob("*") if p.is_file()}


@pytest.fixture
def refused(kept: Path, tiny: Callable[..., Any], outputs: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Runs a bad command in the kept study and returns its sentence, after the checks that hold for every one of them."""
    shutil.copytree(kept, tmp_path / "as-it-was")

    def check(*words: str, verb: str = "run", command: Callable[..., Any] | None = None) -> str:
        before, around = contents(kept), sorted(p.name for p in outputs.parent.iterdir())
        if command is None:
            study = () if any(word.startswith("study=") for word in words) else ("study=untouched",)
            answer = tiny(*study, *words)
        else:
            answer = command(*words)
        assert before.items() <= contents(kept).items(), "stored files changed"
        assert sorted(p.name for p in outputs.parent.iterdir()) == around, "something was written outside of outputs"
        assert answer.code == 2, answer
        return sentence(answer.err, verb)

    yield check
    # A command that did more than it should must not fail the tests after it.
    shutil.rmtree(kept)
    shutil.copytree(tmp_path / "as-it-was", kept)
    shutil.rmtree(outputs.parent / "x", ignore_errors=True)


def sentence(err: str, verb: str = "run") -> str:
    """The one line that a bad command leaves on stderr."""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert "Traceback" not in err
    assert lines[0].startswith(f"l2v {verb}: ")
    assert len(lines[0]) < 600
    return lines[0].removeprefix(f"l2v {verb}: ")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        # Names, each with the nearest ones.
        ("sudy=x", ["'sudy'", "study"]),
        ("intervention.laier=1", ["'intervention.laier'", "intervention.layer"]),
        ("benchmark.limt=1", ["'benchmark.limt'", "benchmark.limit"]),
        ("runtime.batch_row=1", ["'runtime.batch_row'", "runtime.batch_rows"]),
        ("+foo=1", ["'foo'"]),
        ("++intervention.laier=1", ["intervention.laier", "intervention.layer"]),
        ("source=mini_kim", ["source 'mini_kim'", "mini_kin"]),
        ("target=mni", ["target 'mni'", "mini"]),
        ("method=l3v", ["method 'l3v'", "l2v"]),
        ("method.name=l3v", ["method 'l3v'", "l2v"]),
        ("benchmark=minni", ["benchmark 'minni'", "mini"]),
        ("benchmark.name=minni", ["benchmark 'minni'", "mini"]),
        ("contrast=mnii", ["contrast 'mnii'", "mini"]),
        ("contrast.kind=promts", ["contrast kind 'promts'", "prompts"]),
        ("+experiment=demmo", ["experiment 'demmo'", "demo"]),
        ("source=[mini_kin,mini_stranger_a]", ["'source=[mini_kin,mini_stranger_a]' is a list", "takes one name"]),
        ("processor=[]", ["'processor=[]' is a list"]),
        ("scorer=[offical]", ["scorer 'offical'", "official"]),
        ("intervention.positions=al", ["positions 'al'", "all"]),
        ("intervention.scale=relativ", ["scale 'relativ'", "relative"]),
        ("protocol.name=select_then_tst", ["protocol 'select_then_tst'", "select_then_test"]),
        ("benchmark.prompt=dirct", ["prompt style 'dirct'", "direct"]),
        ("benchmark.split=tst", ["'tst'", "test", "dev"]),
        ("source.dtype=float31", ["dtype 'float31'", "float32"]),
        ("target.dtype=float31", ["dtype 'float31'", "float32"]),
        # Ranges: the miniature has four blocks, and widths of 160 (source) and 96 (target).
        ("intervention.layer=4", ["intervention.layer=4", "0 … 3"]),
        ("intervention.layer=-1", ["intervention.layer=-1", "0 … 3"]),
        ("intervention.source_layer=4", ["intervention.source_layer=4", "mini_kin", "0 … 3"]),
        ("intervention.cutoff=97", ["intervention.cutoff=97", "96"]),
        ("intervention.cutoff=0.99", ["intervention.cutoff=0.99", "96"]),
        ("intervention.cutoff=0", ["intervention.cutoff=0", "whole number"]),
        ("intervention.cutoff=-1", ["intervention.cutoff=-1"]),
        ("intervention.cutoff=abc", ["intervention.cutoff=abc"]),
        ("intervention.cutoff=energy:2", ["intervention.cutoff=energy:2"]),
        ("intervention.alpha=-0.1", ["intervention.alpha=-0.1", "at least 0"]),
        ("intervention.alpha=nan", ["intervention.alpha=nan", "finite"]),
        ("intervention.alpha=inf", ["intervention.alpha=inf", "finite"]),
        ("benchmark.limit=0", ["benchmark.limit=0", "at least 1"]),
        ("decoding.max_new_tokens=0", ["decoding.max_new_tokens=0", "at least 1"]),
        ("runtime.batch_rows=0", ["runtime.batch_rows=0", "at least 1"]),
        ("runtime.batch_rows=-1", ["runtime.batch_rows=-1", "at least 1"]),
        ("runtime.cells_per_claim=0", ["runtime.cells_per_claim=0", "at least 1"]),
        ("scorer=[]", ["scorer"]),
        ("contrast.per_domain=0", ["contrast"]),
        # Types and forms.
        ("intervention.layer=x", ["intervention.layer", "'x'"]),
        ("intervention.layer=1.5", ["intervention.layer", "1.5"]),
        ("intervention.alpha=abc", ["intervention.alpha", "'abc'"]),
        ("seed=x", ["seed", "'x'"]),
        ("++scorer.x=1", ["could not be put together", "'x'"]),
        ("++blocks.x=1", ["could not be put together", "'x'"]),
        ("scorer=7", ["scorer=7", "[official,robust]"]),
        ("scorer=[official,[robust]]", ["scorer=", "[official,robust]"]),
        ("scorer=offical", ["scorer 'offical'", "official"]),
        ("intervention.layer=", ["intervention.layer"]),
        ("intervention.layer=0,1", ["intervention.layer", "--multirun"]),
        ("source.path=${nowhere:1}", ["nowhere"]),
        ("benchmark.limit={a", ["benchmark.limit={a"]),
        ("word", ["'word'", "key=value"]),
        ("--bogus", ["'--bogus'", "--multirun"]),
        ("--config-dir=/none/such", ["/none/such"]),
        ("--cfg=nosuch", ["--cfg nosuch", "known: job"]),
        ("--info=nosuch", ["--info nosuch", "searchpath"]),
        # Places.
        ("source.path=/none/such", ["/none/such"]),
        ("target.path=/none/such", ["target.path", "/none/such"]),
        ("contrast.path=/none/such.jsonl", ["contrast.path", "/none/such.jsonl"]),
        ("benchmark.path=/none/such", ["benchmark.path", "/none/such"]),
        (f"target.path={CHECKPOINTS / 'kin'}", ["checkpoints/kin"]),
        (f"source.path={CHECKPOINTS / 'vlm'}", ["checkpoints/vlm"]),
        ("study=../x", ["study", "'../x'", "plain folder name"]),
        ("study=a/b", ["study", "'a/b'"]),
        ("study=cache", ["study", "'cache'"]),
        ("runtime.outputs=/dev/null", ["/dev/null"]),
        ("runtime.device=gpu", ["runtime.device 'gpu'", "cpu"]),
        # What only the hub has, and the hub cannot be reached.
        ("source.path=null", ["l2v/mini-kin", "source.path"]),
        ("target.path=null", ["l2v/mini-vlm", "target.path"]),
        ("contrast.path=null", ["l2v/mini-contrast", "contrast.path"]),
    ],
)
def test_one_sentence_says_what_is_wrong(word: str, told: list[str], refused: Callable[..., str]) -> None:
    said = refused(word)
    assert [piece for piece in told if piece not in said] == [], said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("study=untouched,other",), ["study"]),
        (("protocol.name=none,select_then_test",), ["protocol"]),
        (("intervention.layer=8,9",), ["intervention.layer=8", "intervention.layer=9", "0 … 3"]),
        (("intervention.layer=0,x",), ["intervention.layer", "'x'"]),
        (("method=l2v,l3v",), ["method 'l3v'", "l2v"]),
        (("scorer=[official],[offical]",), ["'offical'", "official"]),
        (("laier=1,2",), ["'laier'"]),
        (("method=glob(zz*)",), ["method"]),
        (("method=high_pass", "intervention.cutoff=95,96"), ["k=95", "k=96", "leaves nothing", "at most 94"]),
        (("seed=range(0,10,0)",), ["seed=range(0,10,0)", "no end"]),
        (("intervention.alpha=range(0,1,0.0000001)",), ["10,000,000 cells", "runtime.most_cells"]),
        (("seed=range(0,3)", "runtime.most_cells=2"), ["3 cells", "runtime.most_cells=2"]),
        (("intervention.positions=decode", "decoding.max_new_tokens=1"), ["positions=decode", "max_new_tokens=1"]),
        (("intervention.layer=range(0)",), ["intervention.layer"]),
        (("method=choice(l2v,",), ["choice(l2v,"]),
        (
            ("protocol.name=select_then_test", "protocol.select=test", "protocol.report=test"),
            ["protocol.select", "protocol.report"],
        ),
    ],
)
def test_a_grid_is_checked_as_a_whole_before_anything_is_computed(
    words: tuple[str, ...], told: list[str], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("l2v.steering.models.load_model", load)
    monkeypatch.setattr("l2v.study.workers.making.load_model", load)
    said = refused("--multirun", *words)
    assert [piece for piece in told if piece not in said] == [], said


@pytest.mark.parametrize(
    "word",
    ["scorer=[official,offical]", "contrast.kind=promts", "benchmark.split=tst", "target.dtype=float31", "contrast.path=null"],
)
def test_names_are_checked_before_a_model_is_loaded(
    word: str, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading may take minutes, and answering hours: a typing error is told before."""

    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("l2v.steering.models.load_model", load)
    monkeypatch.setattr("l2v.study.workers.making.load_model", load)
    refused(word)


def test_the_reporting_split_is_checked_before_the_search(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("l2v.steering.models.load_model", load)
    monkeypatch.setattr("l2v.study.workers.making.load_model", load)
    assert "'tst'" in refused("protocol.name=select_then_test", "protocol.select=dev", "protocol.report=tst")


def test_a_grid_has_one_outputs_folder(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "runtime.outputs" in refused(
        "--multirun", f"runtime.outputs={tmp_path / 'here'},{tmp_path / 'there'}", "method=direct"
    )


@pytest.mark.parametrize("flag", ["--multirun", "-m"])
def test_flags_may_stand_anywhere(flag: str, l2v: Callable[..., Any], outputs: Path) -> None:
    words = ("study=anywhere", f"runtime.outputs={outputs}", "dry_run=true", "list_cells=true")
    answer = l2v("run", *words, flag, "intervention.layer=1,2")
    assert answer.code == 0, answer.err
    assert len(answer.out.partition("\n\n")[2].splitlines()) == 2


def test_a_flag_without_its_value_is_one_sentence(l2v: Callable[..., Any]) -> None:
    answer = l2v("run", "--config-dir")
    assert answer.code == 2
    assert "--config-dir" in sentence(answer.err)


def test_columns_can_be_renamed_as_the_message_says(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """The error for a missing column proposes contrast.columns.question=…, which must then be accepted."""
    data = tmp_path / "pairs.jsonl"
    data.write_text('{"problem": "sum of a 1 b 2 .", "domain": "d"}\n' * 2)
    given = [f"contrast.path={data}", "contrast.kind=prompts", "contrast.per_domain=2", "contrast.columns.question=problem"]
    answer = tiny("study=columns", *given, "benchmark.limit=1")
    assert answer.code == 0, answer.err


def test_cuda_without_a_device(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "runtime.device=cuda" in refused("runtime.device=cuda")
    assert "runtime.device=cuda:3" in refused("runtime.device=cuda:3")


def test_mps_without_a_device(refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert "runtime.device=mps" in refused("runtime.device=mps")


def test_an_unreachable_benchmark_names_its_id_and_the_way_out() -> None:
    from l2v.benchmarks.data import load_rows

    with pytest.raises(UserError, match=r"'nobody/nothing'.*benchmark\.path=<folder>"):
        load_rows("nobody/nothing", "test")


def rows() -> list[dict[str, Any]]:
    """Three rows of the miniature benchmark in its own columns."""
    return pd.read_parquet(PACKAGE / "mini" / "data" / "dev.parquet").head(3).to_dict("records")


def as_parquet(folder: Path, records: list[dict[str, Any]]) -> None:
    pd.DataFrame(records, columns=["id", "image", "question", "answer", "digits"]).to_parquet(folder / "dev.parquet")


def as_jsonl(folder: Path, records: list[dict[str, Any]]) -> None:
    """The same rows with paths to image files."""
    lines = []
    for number, record in enumerate(records):
        image = folder / f"{number}.png"
        image.write_bytes(record["image"]["bytes"])
        lines.append(json.dumps({**record, "image": str(image)}) + "\n")
    (folder / "dev.jsonl").write_text("".join(lines))


@pytest.mark.parametrize("write", [as_parquet, as_jsonl])
@pytest.mark.parametrize("harm", ["corrupt", "truncated"])
def test_a_broken_image_is_told_by_the_id_of_its_item(
    harm: str, write: Callable[..., None], refused: Callable[..., str], tmp_path: Path
) -> None:
    records = rows()
    whole = records[1]["image"]["bytes"]
    records[1]["image"] = {"bytes": b"no image at all" if harm == "corrupt" else whole[: len(whole) // 2], "path": None}
    write(tmp_path, records)
    said = refused("method=direct", f"benchmark.path={tmp_path}")
    assert records[1]["id"] in said
    assert "corrupt" in said


def test_a_missing_image_file_is_told_by_the_id_of_its_item(refused: Callable[..., str], tmp_path: Path) -> None:
    as_jsonl(tmp_path, rows())
    (tmp_path / "2.png").unlink()
    assert rows()[2]["id"] in refused("method=direct", f"benchmark.path={tmp_path}")


@pytest.mark.parametrize("write", [as_parquet, as_jsonl])
def test_an_empty_benchmark(write: Callable[..., None], refused: Callable[..., str], tmp_path: Path) -> None:
    write(tmp_path, [])
    said = refused("method=direct", f"benchmark.path={tmp_path}")
    assert str(tmp_path) in said
    assert "dev" in said


@pytest.mark.parametrize("column", ["id", "question", "answer", "image"])
def test_a_benchmark_without_a_needed_column(column: str, refused: Callable[..., str], tmp_path: Path) -> None:
    pd.DataFrame(rows()).drop(columns=column).to_parquet(tmp_path / "dev.parquet")
    assert f"'{column}'" in refused("method=direct", f"benchmark.path={tmp_path}")


def test_a_benchmark_with_an_id_twice(refused: Callable[..., str], tmp_path: Path) -> None:
    as_parquet(tmp_path, rows()[:2] + rows()[:1])
    assert "twice" in refused("method=direct", f"benchmark.path={tmp_path}")


@pytest.mark.parametrize(
    "text", ["", "{not json\n", "[1]\n", '{"q": "no question column"}\n'], ids=["empty", "no json", "no record", "no question"]
)
def test_unusable_contrast_data(text: str, refused: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(text)
    assert str(path) in refused(f"contrast.path={path}")


def test_a_study_of_another_schema(tiny: Callable[..., Any], outputs: Path) -> None:
    assert tiny("study=old", "method=direct", "benchmark.limit=2").code == 0
    stamp = outputs / "old" / "study.json"
    stamp.write_text(json.dumps({"schema": 999, "study": "old"}))
    before = contents(outputs / "old")
    answer = tiny("study=old", "benchmark.limit=2")
    assert answer.code == 2
    assert "schema 999" in sentence(answer.err)
    assert contents(outputs / "old") == before


def test_an_edited_cell(tiny: Callable[..., Any], l2v: Callable[..., Any], outputs: Path) -> None:
    assert tiny("study=edited", "method=direct", "benchmark.limit=2").code == 0
    (path,) = (outputs / "edited").glob("cells/*/config.yaml")
    text = path.read_text()
    path.write_text(text.replace("max_new_tokens: 32", "max_new_tokens: 33"))
    answer = l2v("report", "study=edited", f"outputs={outputs}")
    assert answer.code == 2
    assert "edited" in sentence(answer.err, "report")
    path.write_text(text)
    assert l2v("report", "study=edited", f"outputs={outputs}").code == 0


@pytest.mark.parametrize(
    ("verb", "words", "told"),
    [
        ("runn", (), ["verb 'runn'", "run"]),
        ("report", ("study=none",), ["'none'", "untouched"]),
        ("report", ("study=untouched", "scorer=offical"), ["'offical'"]),
        ("report", ("study=untouched", "format=mdd"), ["format 'mdd'", "md"]),
        ("report", ("study=untouched", "split=test"), ["'test'", "dev"]),
        ("report", ("sudy=kept",), ["'sudy'", "study"]),
        ("report", ("untouched",), ["'untouched'", "key=value"]),
        ("report", ("study=[1",), ["study"]),
        ("report", ("study=../untouched",), ["'../untouched'"]),
        ("score", ("study=untouched", "scorer=offical"), ["scorer 'offical'", "official"]),
        ("score", ("study=none",), ["'none'", "untouched"]),
        ("extract", ("-m",), ["--multirun", "one configuration"]),
        ("extract", ("method=direct",), ["'direct'"]),
        ("extract", ("benchmark.prompt=nosuch",), ["Unknown prompt style 'nosuch'"]),
        ("doctor", ("x",), ["x"]),
    ],
)
def test_the_other_verbs(
    verb: str, words: tuple[str, ...], told: list[str], refused: Callable[..., str], l2v: Callable[..., Any], outputs: Path
) -> None:
    def command(*given: str) -> Any:
        where = {"report": f"outputs={outputs}", "score": f"outputs={outputs}", "extract": f"runtime.outputs={outputs}"}
        return l2v(verb, *given, *([where[verb]] if verb in where else []))

    said = refused(*words, verb=verb, command=command)
    assert [piece for piece in told if piece not in said] == [], said


@pytest.mark.parametrize("word", ["target.path=null", "benchmark.path={folder}"])
def test_libraries_add_nothing_to_the_sentence(
    word: str, kept: Path, outputs: Path, l2v_process: Process, tmp_path: Path
) -> None:
    """In a process of its own everything that any library writes to stderr is seen."""
    records = rows()
    records[0]["image"] = {"bytes": b"no image at all", "path": None}
    as_parquet(tmp_path, records)
    words = ("study=untouched", f"runtime.outputs={outputs}", "method=direct", "runtime.progress=false")
    process = l2v_process("run", *words, word.format(folder=tmp_path))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    sentence(err)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("score", "missing=wrong"), "missing=… is never looked at of a study"),
        (("agreement", "missing=wrong", "judge.model=m"), "missing=…, judge=… are never looked at of a study"),
        (("convert", "model=smollm2", "revision=r"), "revision=… is never looked at for a named package"),
        (("convert", "model=own.gguf", "out=x", "wheels=w"), "wheels=… is never looked at for a GGUF file"),
        (("convert", "model=internvl2", "out=x", "noise=0.1", "seed=3"), "noise=…, seed=… are never looked at for InternVL2"),
        (("report", "+experiment=table1", "cells=all"), "cells=… is never looked at for the paper's table 'table1'"),
    ],
)
def test_what_one_form_of_a_verb_never_looks_at_is_refused(
    words: tuple[str, ...], told: str, refused: Callable[..., str], l2v: Callable[..., Any], outputs: Path
) -> None:
    """A checkpoint without the noise that was asked for looks like any other, and so does a share of fewer items."""
    verb, *settings = words
    own = () if verb in ("convert", "report") else (f"outputs={outputs}", "study=untouched")
    assert told in refused(verb, *settings, *own, verb=verb, command=l2v)
