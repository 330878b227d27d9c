"""Files of a study that are still text, and say something else: a number as a word, a null, NaN, a key twice, another encoding.

As `test_damage`: each verb gives the table of the undisturbed study, or one sentence that names the file and what to do. Where
the digest went with the damage, as in a file of a version without digests, nobody can tell; but no verb may trip over it.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from study.test_damage import ADVICE, FINISHED, GRID, OPEN, VERBS, World, _open, computed, kept, sentence

import l2v
import l2v.verbs.run as run_verb
from l2v.errors import UserError

__all__ = ["kept"]
EVERY = bool(os.environ.get("L2V_EVERY_DAMAGE"))
# `analyze` takes many times as long as the others.
ASKED = (*VERBS, "doctor", "compare", "results", "power", *(["analyze"] if EVERY else []))
ANALYZED = ("source=mini_kin", "target=mini", "analyze.permutations=2", "contrast.per_domain=20", "runtime.device=cpu")

# What a whole file becomes.
TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "a BOM": lambda data: b"\xef\xbb\xbf" + data,
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "garbage behind": lambda data: data + b"\x00trailing",
    "text behind": lambda data: data.rstrip() + b" {}\n",
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "Latin-1": lambda data: data + "\u00e9\n".encode("latin-1"),
    "null": lambda _: b"null\n",
    "a list": lambda _: b"[]\n",
    "a list of nulls": lambda _: b"[null]\n",
    "an empty object": lambda _: b"{}\n",
    "a word": lambda _: b'"word"\n',
    "a number": lambda _: b"17\n",
    "a long number": lambda _: b"1" * 10_000 + b"\n",
    "deep": lambda _: b"[" * 100_000,
    "white space": lambda _: b" \n\n",
}
# What a value in it becomes.
VALUES: dict[str, Callable[[Any], Any]] = {
    "null": lambda _: None,
    "text": lambda value: f"{value}x",
    "empty text": lambda _: "",
    "a number": lambda _: 0.5,
    "negative": lambda _: -3,
    "beyond one": lambda _: 1.7,
    "true": lambda value: value is not True,
    "NaN": lambda _: math.nan,
    "infinity": lambda _: math.inf,
    "large": lambda _: 10**30,
    "a list": lambda value: [value],
    "an object": lambda value: {"a": value},
    "gone": lambda _: ...,
    "half a character": lambda _: "\ud800",
    "control": lambda _: "\x1b[31mred\n",
}
HOWS = [*TEXTS, *(f"value {how}" for how in VALUES), *(f"unsealed {how}" for how in VALUES), "a key twice", "unsealed"]
HOWS += ["a pipe"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of an object are, those within others too."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        if key not in ("digest", "check"):
            yield (*path, key)
            yield from places(one, (*path, key))


def put(value: Any, path: tuple[Any, ...], how: Callable[[Any], Any]) -> None:
    """Change the value at a place."""
    *above, last = path
    for key in above:
        value = value[key]
    changed = how(value[last])
    if changed is ...:
        del value[last]
    else:
        value[last] = changed


def unsealed(value: Any) -> Any:
    """Without any digest."""
    if isinstance(value, list):
        return [unsealed(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: unsealed(one) for key, one in value.items() if key not in ("digest", "check", "rows_digested")}


def bent(path: Path, how: str, turn: int) -> bool:
    """Do it to a file; whether something of that kind can be done. `turn`: to which of its values."""
    data = path.read_bytes()
    if how == "a pipe":
        path.unlink()
        os.mkfifo(path)
        return True
    if how in TEXTS:
        path.write_bytes(TEXTS[how](data))
        return path.read_bytes() != data
    if path.suffix not in (".json", ".jsonl", ".yaml", ""):
        return False
    try:
        if path.suffix == ".yaml":
            parts = [yaml.safe_load(data)]
        else:
            parts = [json.loads(line) for line in data.splitlines()] if path.suffix == ".jsonl" else [json.loads(data)]
    except ValueError:
        return False
    if how == "a key twice":
        at = data.find(b"{") + 1
        first = next(iter(re.findall(rb'"[a-z_]+"', data[at:])), b'"x"')
        path.write_bytes(data[:at] + first + b": 7, " + data[at:])
        return path.suffix != ".yaml"
    if how.startswith("unsealed"):
        parts = unsealed(parts)
    kind = how.partition(" ")[2]
    if kind:
        found = list(places(parts))
        found = [one for one in found if len(one) > 1] if path.suffix != "" or len(found) > 1 else found
        put(parts, found[turn % len(found)], VALUES[kind])
    if path.suffix == ".yaml":
        path.write_text(yaml.dump(parts[0], sort_keys=False, allow_unicode=True))
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(one) + "\n" for one in parts))
    else:
        path.write_text(json.dumps(parts[0]))
    return path.read_bytes() != data


@dataclass(frozen=True)
class Said:
    """An answer without a command line."""

    code: int
    err: str = ""
    out: str = ""


class Wider(World):
    """With more verbs, and what Python gives."""

    def _run(self, outputs: Path) -> int:
        run_verb.FAILED.clear()
        super()._run(outputs)
        return int(bool(run_verb.FAILED))

    def said(self, verb: str, outputs: Path) -> tuple[Any, Any]:
        """See `World.said`."""
        if verb == "doctor":
            answer = self.call("doctor", "study=s", f"outputs={outputs}")
            return answer, answer.out
        if verb == "power":
            answer = self.call("power", "study=s", f"outputs={outputs}")
            return answer, answer.out
        if verb == "analyze":
            answer = self.call("analyze", "study=s", *ANALYZED, f"runtime.outputs={outputs}", "runtime.progress=false")
            return answer, "".join(path.read_text() for path in sorted(outputs.glob("s/lat/*/*.csv")))
        if verb in ("compare", "results"):
            if verb == "compare" and not (outputs / "t").exists():
                shutil.copytree(self.folder / "other" / "s", outputs / "t", copy_function=shutil.copy2)
            try:
                found = l2v.results("s", str(outputs)) if verb == "results" else l2v.compare("s", "t", str(outputs))
                return Said(0), found.drop(columns="seconds", errors="ignore").to_csv()
            except UserError as error:
                return Said(2, f"l2v {verb}: {error}"), ""
        return super().said(verb, outputs)


@pytest.fixture(scope="module")
def world(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Wider:
    found = computed(request.getfixturevalue("l2v"), tmp_path_factory.mktemp("bent"), GRID)
    _open(found.folder)
    return Wider(found.folder, found.call, found.configs)


def cases() -> Iterator[Any]:
    """(state, kind, damage, verb): all of them, or for each file and damage the verb whose turn it is."""
    for state, kinds in (("finished", FINISHED), ("open", OPEN)):
        for i, (name, kind) in enumerate(kinds.items()):
            for j, how in enumerate(HOWS):
                for k, verb in enumerate(ASKED):
                    if state == "open" and verb in ("compare", "power", "analyze"):
                        continue
                    if EVERY or ((i + j) % len(ASKED) == k and (i + j // 2) % 8 == 0):
                        yield pytest.param(state, kind, how, verb, 3 * i + 7 * j + k, id=f"{state}, {name} {how}, {verb}")


@pytest.mark.parametrize(("state", "kind", "how", "verb", "turn"), cases())
def test_the_same_table_or_one_sentence(world: Wider, state: str, kind: str, how: str, verb: str, turn: int) -> None:
    code, table = world.wanted(state, verb)
    outputs = world.copied(state)
    path = world.path(outputs, kind)
    if not bent(path, how, turn):
        shutil.rmtree(outputs)
        return
    answer, after = world.said(verb, outputs)
    assert "Traceback" not in answer.err + answer.out
    if how.startswith("unsealed"):
        assert answer.code in (0, 1, 2)
    elif answer.code == code:
        assert after == table
    elif verb == "doctor" and answer.code == 1:
        assert path.name in answer.out or path.parent.name in answer.out, answer.out
    else:
        # A tracker gets all runs but the one that cannot be made, and a run computes all cells but one.
        partly = verb in ("track", "run") and answer.code == 1
        assert answer.code == 2 or partly, answer.err
        told = answer.err if partly else sentence(verb, answer.err)
        assert path.name in told or path.parent.name in told, told
        assert ADVICE.search(told), told
    shutil.rmtree(outputs)
