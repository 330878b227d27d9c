"""l2v serve: an index, live pages and every response, for this machine alone; it reads, and what leads out is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from page_helpers import block, write_lat
from starlette.testclient import TestClient
from tabs import Opened

from l2v import api
from l2v.report.page.page import write_page
from l2v.report.serve import shelf
from l2v.report.serve.app import application
from l2v.report.serve.leaderboard import leaderboard
from l2v.report.serve.shelf import Shelf
from l2v.report.study import read_study
from l2v.study.cell_folder import CellFolder
from l2v.study.results import write_results
from l2v.study.store import Store
from l2v.study.workers.heartbeat import Heartbeat
from l2v.verbs.serve import _listening


@pytest.fixture
def client(copied_pair: Path) -> TestClient:
    """What answers for the folder of a study, without a socket."""
    return TestClient(application(Shelf(str(copied_pair.parent), "official", 100)), base_url="http://127.0.0.1")


def of(study: Path, method: str) -> str:
    """The cell of a method."""
    rows = pd.read_csv(study / "results.csv")
    return str(rows[rows["method"] == method]["cell"].iloc[0])


def test_every_response_and_picture_of_a_cell_is_handed_out(client: TestClient, copied_pair: Path) -> None:
    for method in ("direct", "l2v"):
        cell = of(copied_pair, method)
        book = client.get(f"/studies/pair/cells/{cell}").json()
        told = {book["items"][e["item"]]["id"]: book["texts"][e["answer"]["text"]] for e in book["examples"]}
        assert told == {r["id"]: r["response"] for r in CellFolder(copied_pair / "cells" / cell).responses()}
        assert all((e["baseline"] is None) == (method == "direct") for e in book["examples"])
    picture = client.get(f"/studies/pair/cells/{cell}/picture", params={"item": next(iter(told))})
    assert picture.headers["content-type"] == "image/webp" and picture.content.startswith(b"RIFF")


def test_it_reads_and_nothing_leads_out(client: TestClient, copied_pair: Path) -> None:
    (copied_pair.parent / "secret.txt").write_text("secret")
    before = {path: path.stat().st_mtime_ns for path in copied_pair.rglob("*")}
    cell = of(copied_pair, "l2v")
    for path in (
        "/studies/../secret.txt", "/studies/..%2fsecret.txt/", "/studies/%2e%2e/", "/studies/cache/", "/studies/none/state",
        "/studies/pair/cells/..%2f..%2fsecret.txt", "/studies/pair/cells/none", f"/studies/pair/cells/{cell}?scorer=none",
        f"/studies/pair/cells/{cell}/picture?item=..%2f..%2fsecret.txt", "/secret.txt",
    ):  # fmt: skip
        answer = client.get(path)
        assert answer.status_code == 404 and "secret" not in answer.text.replace("secret.txt", ""), path
    assert client.post("/").status_code == 405
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    client.get("/studies/pair/")
    assert {path: path.stat().st_mtime_ns for path in copied_pair.rglob("*")} == before


def test_the_index_is_a_leaderboard(client: TestClient, copied_pair: Path) -> None:
    (copied_pair.parent / "torn").mkdir()
    (copied_pair.parent / "torn" / "study.json").write_text("{")
    page = client.get("/").text
    rows = pd.read_csv(copied_pair / "results.csv")
    for value in rows[rows["metric"] == "accuracy"]["value"]:
        assert f"<b>{100 * value:.1f}" in page
    assert page.index('scope="row">direct') < page.index('scope="row">l2v')
    assert 'href="/studies/pair/"' in page and "torn/study.json is damaged" in page


def test_what_tells_two_studies_apart_keeps_their_entries_apart(
    copied_pair: Path, tiny: Callable[..., Any], outputs: Path
) -> None:
    """Another way to decode makes another column; in the names of either study it does not stand."""
    ran = tiny("--multirun", "study=warm", "method=direct,l2v", "decoding.temperature=0.7")
    assert ran.code == 0, ran.err
    shutil.copytree(outputs / "warm", copied_pair.parent / "warm")
    board = leaderboard(Shelf(str(copied_pair.parent), "official", 100))
    assert [("temperature 0.7" in items) for _, _, items in board.columns].count(True) == 1 and len(board.columns) == 2
    assert all(len({entry.study for entry in entries}) <= 1 for _, of_arm in board.rows for entries in of_arm)


def test_equal_names_mean_equal_arms_and_items_in_all_studies(copied_pair: Path, tiny: Callable[..., Any]) -> None:
    """In a study of its own an arm needs no source in its name, and items need no limit; beside others they do."""
    outputs = copied_pair.parent
    for words in (
        ("study=sources", "method=direct,l2v", "source=mini_kin,mini_stranger_a"),
        ("study=short", "method=direct", "benchmark.limit=4"),
    ):
        assert tiny("--multirun", f"runtime.outputs={outputs}", *words).code == 0
    board = leaderboard(Shelf(str(outputs), "official", 100))
    assert [items for *_, items in board.columns] == ["dev · first 4", "dev · first 8"]
    found = {arm: [[entry.study for entry in entries] for entries in of] for arm, of in board.rows}
    assert found == {
        "direct": [["short"], ["pair", "sources"]],
        "l2v from mini_kin": [[], ["pair", "sources"]],
        "l2v from mini_stranger_a": [[], ["sources"]],
    }
    tables = block(write_page(read_study(str(outputs), "pair"), compare="sources").read_text(encoding="utf-8"), "data")[
        "tables"
    ]
    arms = [set(column.get("words") or column.get("values")) for column in (table["extra"]["arm"] for table in tables)]
    assert arms == [{"direct", "l2v from mini_kin"}, {"direct", "l2v from mini_kin", "l2v from mini_stranger_a"}]
    assert set(api.compare("pair", "sources", str(outputs))["arm"]) == {"direct", "l2v from mini_kin"}


def test_a_damaged_table_is_not_believed(client: TestClient, copied_pair: Path) -> None:
    """The leaderboard is then made from the cells, as every other table is."""
    whole, path = client.get("/").text, copied_pair / "results.csv"
    rows = pd.read_csv(path)
    rows.assign(value=0.123).to_csv(path, index=False)
    assert "<b>12.3" not in (page := client.get("/").text)
    assert page.count("<b>") == whole.count("<b>") > 0


def test_a_table_that_was_written_anew_is_read_by_whatever_clock(client: TestClient, copied_pair: Path) -> None:
    """A shared disk's clock may be hours behind: of a study whose page was opened the index shows what is there now."""
    cell, path = of(copied_pair, "l2v"), copied_pair / "results.csv"
    shutil.rmtree(copied_pair / "runs")  # which says that both are done
    os.utime(path, (2e9, 2e9))
    client.get("/studies/pair/")
    assert client.get("/").text.count("<b>") == 2
    shutil.move(copied_pair / "cells" / cell, copied_pair.parent / cell)
    write_results(Store(copied_pair.parent, "pair"))
    os.utime(path, (1e9, 1e9))
    assert client.get("/").text.count("<b>") == 1


def test_a_study_that_has_begun_tells_its_rows_and_no_more(client: TestClient, copied_pair: Path) -> None:
    """No protocol, no command that would write the page again; every cell that was asked for counts from the start."""
    (run,) = (json.loads(path.read_text()) for path in copied_pair.glob("runs/*/run.json"))
    for path in copied_pair.glob("runs/*/over*"):
        path.unlink()
    shutil.rmtree(copied_pair / "cells")
    (copied_pair / "results.csv").unlink()
    page, index = client.get("/studies/pair/").text, client.get("/").text
    assert "appear here by\n  themselves" in page and "No selection" not in page and "l2v report study=pair" not in page
    assert f"0 of {len(run['cells'])}</td>" in index
    said = client.get("/studies/pair/state").json()["open"]
    assert said.startswith("2 of 2 cells not finished; 0 of ") and f'id="open">{said}' in page


def test_an_analysis_is_shown_where_no_cell_is_finished(client: TestClient, copied_pair: Path) -> None:
    look = copied_pair.parent / "look"
    look.mkdir()
    shutil.copy(copied_pair / "study.json", look)
    write_lat(look, [{"id": "a", "title": "Dispersion", "note": "n = 8", "png": "a.png", "csv": "numbers.csv"}])
    page = client.get("/studies/look/").text
    assert "has no finished cell yet" in page and 'href="#lat"' in page and page.count("<img ") == 1
    assert 'id="cells"' not in page


def test_what_workers_do_is_told_of_a_study_that_runs_and_kept_in_no_page(client: TestClient, copied_pair: Path) -> None:
    """All rows may be there before any cell is done: those that were answered together are scored together."""
    for path in (*copied_pair.glob("cells/*/DONE"), *copied_pair.glob("runs/*/over")):
        path.unlink()
    worker = Heartbeat(copied_pair.parent)
    worker.tell(study="pair", doing="answering 2 cells: direct on mini")
    with worker:
        page, said = client.get("/studies/pair/").text, client.get("/studies/pair/state").json()["open"]
    assert said.endswith("(l2v status study=pair); now: answering 2 cells.") and "answering 2 cells" not in page
    assert client.get("/studies/pair/state").json()["open"] == said.partition(";")[0] + ";" + said.split(";")[1] + "."


def test_a_page_that_was_opened_before_the_command_knew_its_cells_is_made_again(
    client: TestClient, copied_pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "LEAST_REST", 0.0)
    monkeypatch.setattr(shelf, "REST", 0.0)
    shutil.move(copied_pair / "runs", copied_pair.parent / "later")
    shutil.rmtree(copied_pair / "cells")
    page, before = client.get("/studies/pair/").text, client.get("/studies/pair/state").json()
    assert 'id="open"' not in page and before["open"] == ""
    shutil.move(copied_pair.parent / "later", copied_pair / "runs")
    (over,) = copied_pair.glob("runs/*/over")
    over.unlink()
    after = client.get("/studies/pair/state").json()
    assert after["mark"] != before["mark"] and after["open"].startswith("2 of 2 cells not finished")
    assert f'id="open">{after["open"]}' in client.get("/studies/pair/").text


def test_the_rows_of_a_page_in_a_tab_are_counted_on(tab: Any, served: str, copied_pair: Path) -> None:
    from playwright.sync_api import expect

    for path in (copied_pair / "cells" / of(copied_pair, "l2v") / "DONE", *copied_pair.glob("runs/*/over")):
        path.unlink()
    opened = Opened(tab, served)
    opened.address = served.split("studies/")[0]
    before = str(opened.page.text_content("#open"))
    path = copied_pair / "cells" / of(copied_pair, "l2v") / "responses.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    expect(opened.page.locator("#open")).not_to_have_text(before)
    assert "rows are there" in str(opened.page.text_content("#open")) and opened.close() == []


def test_when_a_cell_was_finished_is_what_it_says_whatever_a_copy_does_to_its_files(
    client: TestClient, copied_pair: Path
) -> None:
    """Of a version that did not note it, the time of the file is all there is."""
    copied = datetime(2031, 5, 6, 7, 8, tzinfo=UTC).timestamp()
    said = Store(copied_pair.parent, "pair").last_finished()
    for path in copied_pair.rglob("*"):
        os.utime(path, (copied, copied))
    page, index = client.get("/studies/pair/").text, client.get("/").text
    assert said.startswith("20") and f"last cell finished {said}" in page and f"<td>{said}</td>" in index
    assert "2031-05-06" not in page + index
    for path in copied_pair.glob("cells/*/DONE"):
        path.write_text('{"stored_twice": 0}')
        os.utime(path, (copied, copied))
    assert "<td>2031-05-06 07:08 UTC</td>" in client.get("/").text


def test_an_address_that_was_told_refuses_nobody() -> None:
    """While the server is still being loaded a browser waits."""
    with _listening(0) as listening:
        socket.create_connection(listening.getsockname(), timeout=5).close()


@pytest.fixture
def served(copied_pair: Path, l2v_process: Callable[..., subprocess.Popen[str]]) -> Iterator[str]:
    """The address of the command itself, on a free port."""
    process = l2v_process("serve", "study=pair", f"outputs={copied_pair.parent}", "port=0")
    assert process.stdout is not None
    yield process.stdout.readline().split()[0]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


def test_a_page_follows_its_study_and_opens_what_it_does_not_hold(
    tab: Any,
    served: str,
    copied_pair: Path,
    tmp_path: Path,
) -> None:
    cell = of(copied_pair, "l2v")
    shutil.rmtree(copied_pair / "runs")  # which says that both are done
    shutil.move(copied_pair / "cells" / cell, tmp_path / "later")
    opened = Opened(tab, served)
    opened.address = served.split("studies/")[0]
    page = opened.page
    assert "1 finished cell" in str(page.text_content(".lede"))
    shutil.move(tmp_path / "later", copied_pair / "cells" / cell)
    page.locator(".lede", has_text="2 finished cells").wait_for(timeout=60_000)
    page.wait_for_selector("html[data-state=ready]")
    page.locator("#cells tr", has_text=cell).locator("td").first.click()
    page.locator("#cards img.fetched").first.wait_for()
    count = len(CellFolder(copied_pair / "cells" / cell).responses())
    # The line is written once all of them have come; the first picture may be there before.
    page.locator("#found", has_text=f"{count} of {count} responses").wait_for()
    assert page.text_content("#found") == f"{count} of {count} responses, to {count} items"
    assert opened.close() == []


def test_a_study_that_changes_meanwhile_takes_nobody_away_from_the_cell_that_he_opened(
    tab: Any, served: str, copied_pair: Path
) -> None:
    """Its responses may take seconds; loaded again in between, the page would stand where it stood before."""
    opened = Opened(tab, served)
    opened.address = served.split("studies/")[0]
    page = opened.page
    page.evaluate("window.here = true")
    cell, changed = of(copied_pair, "l2v"), json.dumps({"mark": "another", "open": ""})
    held: list[Any] = []
    page.route("**/cells/*?scorer=*", lambda route: held.append(route))
    page.route("**/state", lambda route: route.fulfill(body=changed, content_type="application/json"))
    try:
        page.locator("#cells tr", has_text=cell).locator("td").first.click()
        with page.expect_response("**/state"):
            pass
        page.wait_for_timeout(500)
        held[0].continue_()
        page.locator("#cards img.fetched").first.wait_for()
        assert page.evaluate("window.here") is True
    finally:
        page.unroute_all()
    assert opened.close() == []


def test_what_cannot_be_served_is_a_sentence(l2v: Callable[..., Any], tmp_path: Path) -> None:
    for words, said in (
        (f"outputs={tmp_path}/none", "no folder"),
        ("port=99999", "at least 0 and at most 65535"),
        ("scorer=offical", "did you mean official"),
        ("study=none", "no study 'none'"),
    ):
        answer = l2v("serve", f"outputs={tmp_path}", words)
        assert answer.code == 2 and said in answer.err, answer.err
