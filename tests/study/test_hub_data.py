"""Data of the hub are the rows of their revision, whatever became of the copies on this disk; or one sentence."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest
from forked import Template
from servers import Handler, served_by

from l2v.paths import PACKAGE

NOW, BEFORE = "a" * 40, "b" * 40
DATA, PAIRS = "data/dev-0000{}-of-00002.parquet", "pairs.jsonl"
CARD = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: dev\n    path: data/dev-*\n---\n"


def revisions(folder: Path) -> dict[str, dict[str, bytes]]:
    """Two revisions of a data set by their commits: twelve questions in two parts, and other answers before."""
    frame = pd.read_parquet(PACKAGE / "mini" / "data" / "dev.parquet").head(12)
    found = {}
    for commit in (NOW, BEFORE):
        files = {"README.md": CARD.encode()}
        for part in range(2):
            path = folder / "x.parquet"
            frame.iloc[part * 6 : part * 6 + 6].to_parquet(path)
            files[DATA.format(part)] = path.read_bytes()
        found[commit] = files
        frame = frame.assign(answer=frame["answer"].iloc[::-1].to_list())
    return found


def git_blob(data: bytes) -> str:
    return hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Any]:
    """A hub on this machine that holds org/rows at two revisions and org/pairs."""
    stored = {"org/rows": revisions(tmp_path), "org/pairs": {}}
    rows = [{"question": f"Q{n}?", "cot": f"Step. So {n}.", "direct": str(n), "domain": "d"} for n in range(30)]
    stored["org/pairs"][NOW] = {"README.md": b"# Pairs\n", PAIRS: "".join(json.dumps(r) + "\n" for r in rows).encode()}

    class Hub(Handler):
        address, main = "", NOW

        def told(self, name: str, data: bytes) -> dict[str, Any]:
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(data), "oid": git_blob(data)}
            if name.endswith(".parquet"):
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
            return entry

        def answer(self, code: int, body: bytes = b"", **headers: str) -> None:
            self.send_response(code)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            parts = path.strip("/").split("/")
            api = parts[0] == "api"
            at = parts.index("datasets") + 1 if "datasets" in parts else 0
            files = stored.get("/".join(parts[at : at + 2]))
            if files is None:
                return self.answer(404, X_Error_Code="RepoNotFound")
            kind, commit, *rest = [*parts[at + 2 :], "", ""][: len(parts)]
            commit = Hub.main if commit in ("", "main") else commit
            if commit not in files:
                return self.answer(404, X_Error_Code="RevisionNotFound")
            held, name = files[commit], "/".join(rest).strip("/")
            if api and kind in ("", "revision"):
                told = {"id": "/".join(parts[at : at + 2]), "sha": commit, "siblings": [{"rfilename": one} for one in held]}
                return self.answer(200, json.dumps(told).encode(), Content_Type="application/json")
            if api:
                if kind == "paths-info":
                    body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                    wanted = [one for one in held if one in body or one in unquote(body)]
                else:
                    wanted = [one for one in held if one.startswith(name)]
                entries = [self.told(one, held[one]) for one in wanted]
                folders = {one.partition("/")[0] for one in wanted if "/" in one}
                if kind == "tree" and not name:
                    entries += [{"type": "directory", "path": one, "size": 0, "oid": "0" * 40} for one in sorted(folders)]
                return self.answer(200, json.dumps(entries).encode(), Content_Type="application/json")
            if name not in held:
                return self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            entry = self.told(name, held[name])
            tag = entry.get("lfs", entry)["oid"]
            return self.answer(200, held[name], ETag=f'"{tag}"', X_Linked_Etag=f'"{tag}"', X_Repo_Commit=commit)

        do_HEAD = do_POST = do_GET

    with served_by(Hub) as address:
        Hub.address = address
        yield Hub


Said = Callable[..., list[str]]
ROWS = """
from l2v.benchmarks.data import load_rows
def rows(revision=NOW):
    return [(row["id"], row["answer"], len(row["image"]["bytes"])) for row in load_rows("org/rows", "dev", revision)]
"""
TEXTS = """
from l2v.transfer.contrast import load_questions
def rows(revision=NOW):
    return [(one.text, one.cot, one.direct) for one in load_questions("org/pairs", revision)]
"""
TASK = """
from l2v.benchmarks.catalogue import DataRef
from l2v.benchmarks.lm_tasks import open_task
home.mkdir(exist_ok=True)
(home / "pairs.yaml").write_text("{task: pairs, dataset_path: org/pairs, output_type: generate_until, test_split: train, "
    "doc_to_text: '{{question}}', doc_to_target: '{{direct}}'}")
def rows():
    task = open_task.__wrapped__(DataRef("lm_eval", "test", "", task="pairs", include_path=str(home)))
    return [(one.text, one.gold) for one in task.items(None)]
"""
# Every file that the hub's client or `datasets` keeps, harmed one by one.
HARMED = """
whole = rows()
print(len(whole))
for offline in (False, True):
    _offline(offline)
    for path in sorted(path for path in home.rglob("*") if path.is_file() and not path.is_symlink()):
        if path.suffix == ".arrow" or path.parent.name == "blobs":
            data = path.read_bytes()
            half = len(data) // 2
            for harm in (data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :], data[:half], data[:-9] + b"123456789"):
                path.write_bytes(harm)
                found = tried()
                print(path.name, path.name in found if isinstance(found, str) else found == whole)
                path.write_bytes(data)
    print("whole", tried() == whole)
"""


@pytest.fixture
def said(template: Template) -> Callable[..., list[str]]:
    """What a process with a cache of its own prints."""
    return partial(_said, template)


def _said(template: Template, code: str, hub: Any, home: Path) -> list[str]:
    env = {name: value for name, value in os.environ.items() if name != "HF_DATASETS_CACHE"}
    # `l2v track` in this process forbids a network for as long as it lives.
    env |= {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0", "HF_ENDPOINT": hub.address, "HF_HOME": str(home)}
    head = f"""
from pathlib import Path
from l2v.errors import UserError
from l2v.hub import _offline
NOW, BEFORE, home = {NOW!r}, {BEFORE!r}, Path({str(home)!r})
def tried(*words):
    try:
        return rows(*words)
    except UserError as error:
        return f"told: {{error}}"
"""
    done = template.run("-c", head + code, env=env, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(("code", "count"), [(ROWS, 12), (TEXTS, 30), (TASK, 30)], ids=["questions", "pairs", "task"])
def test_no_copy_counts_that_is_not_the_hubs(code: str, count: int, hub: Any, tmp_path: Path, said: Said) -> None:
    """A byte flipped, cut off, and another end: the rows as they are, or the file's name."""
    number, *found = said(code + HARMED, hub, tmp_path / "home")
    assert int(number) == count and found.count("whole True") == 2
    assert len(found) >= 14 and not [line for line in found if not line.endswith(" True")], found


def test_a_revision_is_that_revision(hub: Any, tmp_path: Path, said: Said) -> None:
    """With a network and without; another one that lies in the cache is none of it."""
    code = "before = rows(BEFORE)\n_offline(True)\nprint(tried())\n_offline(False)\nnow = rows()\n_offline(True)\n"
    told, *found = said(f"{ROWS}{code}print(len(now), now == before, rows(BEFORE) == before, rows() == now)", hub, tmp_path)
    assert told.startswith("told: ") and "'org/rows'" in told and "benchmark.path" in told
    assert found == ["12 False True True"]


def test_a_part_that_is_not_there_is_missed(hub: Any, tmp_path: Path, said: Said) -> None:
    """Without a network, where a download was broken off; with one it is fetched."""
    gone = f"next(home.rglob('{Path(DATA.format(1)).name}')).unlink()"
    code = f"whole = rows()\n{gone}\n_offline(True)\nprint(tried())\n_offline(False)\nprint(rows() == whole)"
    told, same = said(ROWS + code, hub, tmp_path)
    assert told.startswith("told: ") and "'org/rows'" in told and "1 files with 6 rows" in told
    assert same == "True"


VERB = """
import lm_eval.tasks
import l2v.verbs.lm_model as lm_model
from lm_eval._cli import HarnessCLI
from l2v.verbs.lm_eval import main
kept, Manager = [], lm_eval.tasks.TaskManager
# Without lm-eval's own thousands of files.
lm_model.task_manager = lambda include, metadata: Manager(include_path=include, include_defaults=False)
def shown(self, chosen):
    task = lm_eval.tasks.TaskManager(include_path=str(home)).load(["pairs"])["tasks"]["pairs"]
    kept.append([(doc["question"], doc["direct"]) for doc in task.dataset["train"]])
HarnessCLI.execute = shown
def rows():
    main(["--tasks", "pairs", "--include_path", str(home), "--model_args", "target=mini,method=direct"])
    return kept.pop()
"""
FLIPPED = """
print(len(rows()))
(blob,) = (path for path in home.rglob("blobs/*") if path.stat().st_size > 500)
data = blob.read_bytes()
blob.write_bytes(data[:-40] + bytes([data[-40] ^ 1]) + data[-39:])
print(tried())
"""


def test_the_verb_of_lm_eval_reads_no_damaged_data_either(hub: Any, tmp_path: Path, said: Said) -> None:
    number, told = said(TASK + VERB + FLIPPED, hub, tmp_path / "home")
    assert number == "30" and told.startswith("told: ") and "is not what the hub keeps" in told, told


def test_what_no_commit_can_be_named_of_is_read_anew_or_told(hub: Any, tmp_path: Path, said: Said) -> None:
    """Without a network a copy that `datasets` prepared once would be taken, of whatever commit."""
    code = """
import datasets, shutil
print(len(datasets.load_dataset("org/pairs")["train"]))
for path in home.rglob("hub/datasets--org--pairs"):
    shutil.rmtree(path)
_offline(True)
print(len(datasets.load_dataset("org/pairs")["train"]))
print(tried())
"""
    first, copy, told = said(TASK + code, hub, tmp_path / "home")
    assert (first, copy) == ("30", "30") and told.startswith("told: ") and "'pairs' did not load" in told, told


RUN = """
from l2v.cli import main
words = ["method=direct", "target=mini", "benchmark=mini", "benchmark.id=org/rows", "benchmark.path=null", "study=s"]
words += ["runtime.page=false", "runtime.progress=false", "runtime.device=cpu", f"runtime.outputs={home}"]
words += ["decoding.max_new_tokens=4"]
main(["run", *words])
import pandas as pd
for row in pd.read_csv(home / "s" / "results.csv").query("metric == 'accuracy'").itertuples():
    print(row.benchmark_revision, row.n, round(row.value, 3))
"""


def test_a_branch_that_moved_is_another_benchmark(hub: Any, tmp_path: Path, said: Said) -> None:
    """What was asked at one commit is never taken for an answer at another one; each is scored by its own answers."""
    found = []
    for hub.main in (BEFORE, NOW):
        found.append([line for line in said(RUN, hub, tmp_path) if line[:1] in NOW + BEFORE and line[:40] in (NOW, BEFORE)])
    assert [line.split()[:2] for line in found[1]] == [[NOW, "12"], [BEFORE, "12"]] and found[0] == found[1][1:]
    assert len({line.split()[2] for line in found[1]}) == 2


def test_what_is_read_of_a_branch_is_its_commit(hub: Any, tmp_path: Path, said: Said) -> None:
    """For models too, once in a process; without a network the commit that the cache was filled from."""
    code = (
        "from l2v.hub import commit_of\nprint(commit_of('dataset', 'org/rows', None), commit_of('dataset', 'org/none', 'x'))\n"
    )
    code += "_offline(True)\nprint(commit_of('dataset', 'org/rows', 'main'), commit_of('model', 'org/rows', 'main'))"
    assert said(code, hub, tmp_path) == [f"{NOW} None", f"{NOW} None"]
