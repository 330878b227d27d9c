"""The responses on the page: filtered, searched, side by side, and text whatever stands in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from page_helpers import HOSTILE, poison
from tabs import Opened

from l2v.report.page.page import write_page
from l2v.report.study import read_study


def test_the_responses_beside_the_same_cells_of_another_study(tab: Any, seen: Path, tmp_path: Path) -> None:
    """A study that was computed again holds the same cells: each keeps its own rows, the responses are the first's."""
    for name in ("seen", "again"):
        shutil.copytree(seen, tmp_path / name, ignore=shutil.ignore_patterns("report", "lat"))
    opened = Opened(tab, write_page(read_study(str(tmp_path), "seen"), compare="again"))
    page = opened.page
    data = json.loads(str(page.text_content("#examples-data")))
    assert str(page.text_content("#found")).startswith(f"{data['reported']} of {data['reported']} responses")
    assert page.locator("#cards article").count() > 0
    page.select_option("#table-which", "all")
    # A row of either study opens what that row is of.
    for name in ("again", "seen"):
        page.select_option("#scope-study", name)
        page.locator("#cells tbody button.opens").last.click()
        assert page.input_value("#scope-study") == name
        said = str(page.text_content("#found"))
        assert (said == "The responses on this page are those of seen.") == (name == "again"), said
    assert page.locator("#cards article").count() > 0 and opened.close() == []


def test_examples_are_filtered_and_searched(tab: Any, seen_page: Path) -> None:
    opened = Opened(tab, seen_page)
    page = opened.page
    data = json.loads(str(page.text_content("#examples-data")))
    told = data["examples"][: data["reported"]]
    flips = [e for e in told if e["flip"] == "flipped right"]
    assert len(told) == 60 and page.locator("#cards .card").count() == 20
    page.click("#more")
    assert page.locator("#cards .card").count() == 30
    # An item with the answers of every arm side by side.
    assert page.locator("#cards .card").first.locator(".side").count() == 3
    page.click("[data-flip='flipped right']")
    items = len({e["item"] for e in flips})
    assert page.text_content("#found") == f"{len(flips)} of 60 responses, to {items} items"
    card = page.locator("#cards .card").first
    assert card.locator(".flipped .chip").first.text_content() == "▲ flipped right" and card.locator("ins").count() > 0
    assert page.evaluate("document.querySelector('#cards img').naturalWidth") == 36
    page.click("[data-flip='flipped right']")

    item = data["items"][data["examples"][0]["item"]]["id"]
    page.fill("#examples-words", item.upper())
    assert page.text_content("#found") == "2 of 60 responses, to 1 item"
    page.fill("#examples-words", "nothing like this")
    assert page.text_content("#found") == "No example matches."
    page.fill("#examples-words", "")
    page.select_option("#examples-cell", data["cells"][1])
    assert page.text_content("#found") == "30 of 30 responses, to 30 items"
    assert page.locator("#cards .card").first.locator(".side").count() == 2
    assert opened.close() == []


def test_of_many_answers_to_one_item_the_first_are_shown_and_null_arms_come_last(tab: Any, seen_page: Path) -> None:
    opened = Opened(tab, seen_page)
    shown, told, names = opened.page.evaluate(
        """() => {
          const own = entriesOf(PAGED, PAGED.reported).filter((entry) => itemOf(entry) === PAGED.items[0]);
          const one = card(Array(5).fill(own).flat());
          const rest = one.querySelector(".rest");
          const found = [one.querySelectorAll(".side").length, rest.textContent];
          rest.click();
          return [...found, [...one.querySelectorAll(".side h4 bdi")].map((name) => name.textContent)];
        }"""
    )
    assert (shown, told) == (7, "4 more answers")
    assert names == ["direct"] + ["l2v†"] * 5 + ["random seed 0†"] * 5
    assert opened.close() == []


def test_a_cell_of_which_a_page_holds_some_responses_says_so(tab: Any, seen: Path, tmp_path: Path) -> None:
    shutil.copytree(seen, tmp_path / "some", ignore=shutil.ignore_patterns("report", "lat"))
    opened = Opened(tab, write_page(read_study(str(tmp_path), "some"), examples=20))
    data = json.loads(str(opened.page.text_content("#examples-data")))
    cell = data["cells"][data["examples"][0]["cell"]]
    here = sum(data["cells"][example["cell"]] == cell for example in data["examples"])
    opened.page.select_option("#examples-cell", cell)
    told = f"; {here} of the cell's 30 are on this page, `l2v serve study=some` shows all of them"
    assert here < 30 and str(opened.page.text_content("#found")).endswith(told)
    assert opened.close() == []


def test_the_targets_choice_holds_for_the_responses(tab: Any, seen_page: Path) -> None:
    opened = Opened(tab, seen_page)
    opened.page.select_option("#scope-study", "seen_too")
    assert opened.page.text_content("#found") == "The responses on this page are those of seen."
    assert opened.close() == []


def test_hostile_responses_are_text(tab: Any, seen: Path, tmp_path: Path) -> None:
    shutil.copytree(seen.parent / "seen_too", tmp_path / "hostile")
    poison(tmp_path / "hostile")
    opened = Opened(tab, write_page(read_study(str(tmp_path), "hostile")))
    page = opened.page
    texts = page.locator("#cards .side .text").all_text_contents()
    for hostile in HOSTILE[:3]:
        assert any(text.startswith(hostile) for text in texts)
    assert any("bell ␇ null ␀ escape ␛[31m" in text for text in texts)
    assert page.evaluate("window.attacked") is None
    assert page.evaluate("getComputedStyle(document.querySelector('.side .text')).unicodeBidi") in ("isolate", "plaintext")
    long = page.locator(".side").filter(has_text="long long").first
    assert len(str(long.locator(".text").text_content())) < 1000
    long.get_by_role("button").click()
    assert len(str(long.locator(".text").text_content())) > 90_000
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert opened.close() == []
