"""The command line: quick help, complete help, exit codes."""

from __future__ import annotations

import ast
import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from l2v import __version__
from l2v.cli import VERBS
from l2v.config import Config
from l2v.paths import PACKAGE, conf_dir
from l2v.verbs.help import folded, table_of_contents, verb_help, verb_module

HEAVY = (
    "torch",
    "transformers",
    "hydra",
    "omegaconf",
    "numpy",
    "PIL",
    "unittest.mock",
    "pandas",
    "lm_eval",
    "datasets",
    "scipy",
    "wandb",
)
PROBE = """
import sys
from l2v.cli import main
code = main(sys.argv[1:])
print("LOADED", *[name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


# Each command in turn, in one process: what the first loads, the later ones find loaded.
READ = """
import sys
from l2v.cli import main
for words in {commands!r}:
    code = main(words)
    print("LOADED", words[0], code, *[name for name in ("torch", "transformers") if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words",
    [["--help"], [], ["--version"], ["nothing"], *([verb, "--help"] for verb in VERBS)],
    ids=lambda words: " ".join(words),
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE.format(heavy=HEAVY), *words], capture_output=True, text=True)
    assert done.returncode == (2 if words == ["nothing"] else 0), done.stderr
    assert done.stderr.splitlines()[-1] == "LOADED"


def test_the_probe_sees_heavy_imports() -> None:
    probe = "import torch\n" + PROBE.format(heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", probe, "--help"], capture_output=True, text=True)
    assert "torch" in done.stderr.splitlines()[-1].split()


def test_what_reads_a_study_loads_no_torch(tiny: Callable[..., Any], tmp_path: Path) -> None:
    """Tables, the page with its pictures, uploads and scores: beside a run, torch would be most of what they take.

    In a folder of its own: directions that other tests kept with their states are looked at with torch.
    """
    own = ("study=read_only", f"runtime.outputs={tmp_path}")
    assert tiny("--multirun", *own, "method=direct,l2v", "scorer=[official,robust]").code == 0
    asked = [f"outputs={tmp_path}", "study=read_only"]
    commands = [[verb, *asked] for verb in ("status", "agreement", "report")]
    commands += [
        ["track", *asked, "tracker.mode=offline", "progress=false"],
        ["score", *asked, "scorer=lenient", "progress=false"],
    ]
    done = subprocess.run([sys.executable, "-c", READ.format(commands=commands)], capture_output=True, text=True)
    told = [line for line in done.stderr.splitlines() if line.startswith("LOADED")]
    assert told == [f"LOADED {words[0]} 0" for words in commands], done.stderr
    assert (tmp_path / "read_only" / "report" / "index.html").exists()
    assert list((tmp_path / "read_only" / "track").rglob("*.wandb")), "directions and cells were uploaded"


def test_the_first_help_names_every_verb(l2v: Callable[..., Any]) -> None:
    answer = l2v("--help")
    assert answer.code == 0
    for verb in VERBS:
        assert f"l2v {verb}" in answer.out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, l2v: Callable[..., Any]) -> None:
    answer = l2v(verb, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"l2v {verb}: ")
    assert l2v("help", verb).out == answer.out


def test_the_version(l2v: Callable[..., Any]) -> None:
    assert l2v("--version").out.strip() == f"l2v {__version__}"


def test_help_lists_every_choice_of_every_group(l2v: Callable[..., Any]) -> None:
    lines = (l2v("run", "--help").out + l2v("finetune", "--help").out).splitlines()
    listed = {line.split()[0].lstrip("+"): line for line in lines if line.startswith("  ")}
    groups = [folder for folder in conf_dir().iterdir() if folder.is_dir()]
    assert {"source", "target", "contrast", "method", "benchmark"} <= {folder.name for folder in groups}
    for folder in groups:
        choices = [word.strip(",") for word in listed[folder.name].split()[1:]]
        assert choices == sorted(path.stem for path in folder.glob("*.yaml"))


def test_the_verbs_and_what_they_do_fit_a_terminal() -> None:
    text = table_of_contents(VERBS)
    fitted = folded(text, 80)
    assert fitted.split() == text.split() and max(map(len, fitted.splitlines())) <= 80 < max(map(len, text.splitlines()))
    assert all(line.startswith(("  l2v ", " " * 18)) for line in fitted.splitlines()), "a line goes on below what it tells"


def test_choices_and_settings_fit_a_terminal() -> None:
    text = verb_help("run")
    fitted = folded(text, 80)
    settled = fitted.partition("\nChoices")[2]
    assert fitted.replace(" \\\n", " ").split() == text.split(), "nothing is lost"
    assert max(map(len, settled.splitlines())) <= 80
    assert "\n               demo" not in text and "\n               " in settled, "a list goes on below its first choice"


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_fits_a_terminal(verb: str) -> None:
    text = verb_help(verb)
    fitted = folded(text, 80)
    assert fitted.replace(" \\\n", " ").split() == text.split(), "nothing is lost, and a shell puts commands together again"
    assert [line for line in fitted.splitlines() if len(line) > 80] == []


def leaves(schema: Any, prefix: str = "") -> list[str]:
    """Every setting of a default configuration, with its full key."""
    found = []
    for field in dataclasses.fields(schema):
        value = getattr(schema, field.name)
        nested = dataclasses.is_dataclass(value)
        found += leaves(value, f"{prefix}{field.name}.") if nested else [prefix + field.name]
    return found


COMPOSING = [verb for verb in VERBS if hasattr(verb_module(verb), "PARTS")]
READING = [verb for verb in VERBS if hasattr(verb_module(verb), "SETTINGS")]


def described(verb: str, l2v: Callable[..., Any]) -> dict[str, str]:
    """Setting -> what the help of a verb says of it, its default first."""
    lines = l2v(verb, "--help").out.partition("\nSettings")[2].splitlines()[1:]
    assert len({line.split()[0] for line in lines}) == len(lines), "a setting is listed twice"
    return {line.split()[0]: line.strip().partition(" ")[2].strip() for line in lines}


def value_of(settings: Any, key: str) -> str:
    for part in key.split("."):
        settings = getattr(settings, part)
    return str(settings)


@pytest.mark.parametrize("verb", COMPOSING)
def test_help_describes_every_setting_of_a_composing_verb(verb: str, l2v: Callable[..., Any]) -> None:
    told = described(verb, l2v)
    assert list(told) == [key for key in leaves(Config()) if key.partition(".")[0] in verb_module(verb).PARTS]
    for key, text in told.items():
        assert len(text.removeprefix(value_of(Config(), key)).strip()) >= 8, f"{key} has no description"


def test_every_setting_belongs_to_a_verb() -> None:
    """The paper's table that an experiment names is read from its file by `l2v report`, whose help says so."""
    looked_at = {part for verb in COMPOSING for part in verb_module(verb).PARTS}
    assert {field.name for field in dataclasses.fields(Config)} - looked_at == {"table"}
    assert "table.printed" in str(verb_module("report").__doc__)


@pytest.mark.parametrize("verb", READING)
def test_help_describes_every_setting_of_a_reading_verb(verb: str, l2v: Callable[..., Any]) -> None:
    usual = verb_module(verb).SETTINGS()
    told = described(verb, l2v)
    assert list(told) == leaves(usual)
    for key, text in told.items():
        assert text.startswith(value_of(usual, key))
        assert len(text.removeprefix(value_of(usual, key)).strip()) >= 8, f"{key} has no description"


@pytest.mark.parametrize("verb", READING)
def test_a_reading_verb_looks_at_all_of_its_settings(verb: str) -> None:
    """No setting is declared that nothing reads; that nothing else is read, the types say."""
    source = "".join(
        (PACKAGE / "verbs" / f"{name}.py").read_text(encoding="utf-8")
        for name in {verb, verb_module(verb).SETTINGS.__module__.rpartition(".")[2]}
    )
    attributes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Attribute)]
    read = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "settings"}
    assert {field.name for field in dataclasses.fields(verb_module(verb).SETTINGS)} - read <= {
        "benchmark",
        "items",
        "responses",
    }


@pytest.mark.parametrize(
    ("verb", "words", "foreign", "known"),
    [
        ("status", ["compare=y", "scorer=foo"], "compare", ["study", "outputs", "format", "watch"]),
        ("report", ["watch=true"], "watch", ["study", "scorer", "metric", "compare"]),
        ("report", ["judge.model=x"], "judge.model", ["study", "scorer"]),
        ("track", ["--format", "csv"], "format", ["study", "tracker.name", "progress"]),
        ("score", ["compare=y"], "compare", ["study", "scorer", "judge.model"]),
        ("agreement", ["page=false"], "page", ["study", "scorer", "out"]),
        ("run", ["finetune.epochs=3"], "finetune.epochs", ["study", "runtime"]),
        ("run", ["--multirun", "analyze.seed=1,2"], "analyze.seed", ["study", "runtime"]),
        ("extract", ["tracker=wandb"], "tracker", ["source", "contrast"]),
        ("finetune", ["intervention.alpha=0.5"], "intervention.alpha", ["finetune", "target"]),
        ("analyze", ["method=random"], "method", ["analyze", "intervention"]),
    ],
)
def test_a_setting_of_another_verb_is_refused(
    verb: str, words: list[str], foreign: str, known: list[str], l2v: Callable[..., Any], tmp_path: Path
) -> None:
    """Never accepted and ignored: one sentence names it, and what the verb knows."""
    place = f"runtime.outputs={tmp_path}" if verb in COMPOSING else f"outputs={tmp_path}"
    answer = l2v(verb, *words, place)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert f"'{foreign}'" in answer.err
    knows = answer.err.partition(" knows ")[2]
    assert [key for key in known if key not in knows.rstrip(".\n").split(", ")] == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["score", "study=x", "out=v.jsonl"], "out="),
        (["score", "study=x", "benchmark=mini"], "missing: responses"),
        (["score", "study=x", "benchmark=mini", "items=a.json", "responses=b.json"], "study=x"),
        (["status", "--watch", "format=json"], "--watch"),
        (["report", "+experiment=table1", "study=x"], "study=x"),
        (["report", "+experiment=table1", "split=dev"], "split"),
        (["report", "page=maybe"], "page=maybe"),
        (["report", "examples=many"], "examples=many"),
        (["report", "--examples"], "--examples"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(words: list[str], told: str, l2v: Callable[..., Any]) -> None:
    answer = l2v(*words)
    assert (answer.code, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert told in answer.err


def test_cfg_shows_the_composed_settings_and_runs_nothing(tiny: Callable[..., Any], outputs: Path) -> None:
    answer = tiny("study=composed_only", "--cfg=job", "intervention.layer=3")
    assert answer.code == 0, answer.err
    assert "layer: 3" in answer.out
    assert not (outputs / "composed_only").exists()


@pytest.mark.parametrize("verb", ["run", "extract"])
def test_the_directions_of_a_cell_are_read_into_the_cache(verb: str, l2v: Callable[..., Any], tmp_path: Path) -> None:
    words = (f"runtime.outputs={tmp_path}", "benchmark.limit=1", "runtime.progress=false", "contrast.per_domain=8")
    answer = l2v(verb, *words)
    assert answer.code == 0, answer.err
    (path,) = (tmp_path / "cache" / "directions").glob("*.safetensors")
    assert path.stat().st_size > 0
    if verb == "extract":
        assert answer.out.strip().splitlines()[-1] == str(path)
        written = path.stat().st_mtime_ns
        assert l2v(verb, *words).code == 0
        assert path.stat().st_mtime_ns == written


def test_the_doctor_reports_and_never_fails(l2v: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)
    answer = l2v("doctor")
    assert answer.code == 0
    named = [line.split()[0] for line in answer.out.splitlines()]
    assert {"python", "torch", "transformers", "memory", "hub"} <= set(named)
    assert "cannot be reached" in answer.out


def test_a_reader_that_closes_early_is_no_error() -> None:
    """`l2v run --help | head -1`: no traceback of a broken pipe."""
    command = f"{sys.executable} -m l2v.cli run --help | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True)
    assert done.stdout.startswith("l2v run")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("long", ["x" * 5000, "a b " * 1250, "é/" * 2500, "1" * 5000], ids=["sign", "spaces", "path", "digits"])
def test_a_long_word_is_quoted_by_its_ends(long: str, l2v: Callable[..., Any]) -> None:
    """Wherever it stands: what is said of it and what to do shall be found."""
    lines = [
        ("report", f"study={long}"), ("report", long), ("status", f"outputs={long}"), (long, "study=x"), ("run", long),
        ("run", f"method={long}"), ("run", f"{long}=1"), ("run", f"target.path={long}"), ("run", f"study={long}"),
        ("score", "benchmark=mathvista", f"responses={long}"), ("run", f"intervention.alpha={long}"),
        ("run", f"runtime.outputs={long}", "benchmark.limit=1", "method=direct"), ("run", f"--config-dir={long}"),
    ]  # fmt: skip
    for line in lines:
        answer = l2v(*line)
        assert answer.code == 2 and len(answer.err.strip().splitlines()) == 1, (line[0], answer.err[:300])
        assert len(answer.err) < 1100, (line[0], line[1][:30], len(answer.err), answer.err)
