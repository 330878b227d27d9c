"""The page in a browser: no request, no error, every control works, data are never code, a phone and a keyboard suffice."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_helpers import HOSTILE, poison, write_lat
from tabs import Opened

from l2v.report.page.page import write_page
from l2v.report.study import read_study
from l2v.study.cell_folder import CellFolder


@pytest.fixture(scope="module")
def study(tiny: Callable[..., Any], outputs: Path) -> Path:
    """A sweep of l2v and a null beside the baseline, a second study with some of its cells, and pictures of states."""
    common = ("benchmark.limit=30", "intervention.scale=relative", "method=direct,l2v,random")
    for name, *settings in (
        ("seen", "intervention.layer=2,3", "intervention.alpha=0.3,0.7"),
        ("seen_too", "intervention.layer=3", "intervention.alpha=0.7", "decoding.max_new_tokens=6"),
    ):
        answer = tiny("--multirun", f"study={name}", *common, *settings)
        assert answer.code == 0, answer.err
    write_lat(outputs / "seen", [{"id": "a", "title": "Dispersion", "note": "n = 8", "png": "a.png", "csv": "numbers.csv"}])
    return outputs / "seen"


@pytest.fixture(scope="module")
def path(study: Path) -> Path:
    """The page of both studies."""
    return write_page(read_study(str(study.parent), study.name), compare="seen_too")


def rows(study: Path) -> list[dict[str, str]]:
    """results.csv."""
    with (study / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def percent(text: str) -> str:
    return f"{100 * float(text):.1f}"


def test_figures_answer_the_pointer_and_the_controls(tab: Any, path: Path, study: Path) -> None:
    opened = Opened(tab, path)
    page = opened.page
    best = max((r for r in rows(study) if r["method"] == "l2v"), key=lambda r: float(r["value"]))
    direct = next(r for r in rows(study) if r["method"] == "direct")

    arms = opened.hover("#plot-arms .scatterlayer .trace path.point", "arms")
    assert "l2v†" in arms and f"accuracy {percent(best['value'])} %" in arms and "n = 30" in arms
    # No cell is named where several are as good.
    as_good = sum(r["method"] == "l2v" and r["value"] == best["value"] for r in rows(study))
    said = str(page.text_content("#sees-grid"))
    assert said.startswith("Highest: l2v" if as_good == 1 else f"{as_good} of 4 cells share the highest")
    assert percent(best["value"]) in said
    grid = opened.hover("#plot-grid .heatmaplayer .hm", "grid")
    assert "layer" in grid and "alpha" in grid and "n = 30, scorer official" in grid

    page.select_option("#arms-value", "value")
    assert "direct" in str(page.text_content("#plot-arms"))
    page.select_option("#grid-value", "tokens")
    assert "mean output tokens" in str(page.text_content("#caption-grid"))
    page.select_option("#grid-arm", "random seed 0")
    assert page.locator("#plot-grid .annotation-text").all_text_contents() == ["random seed 0 · k 32"]
    tokens = [float(r["tokens"]) for r in rows(study) if r["method"] == "random"]
    longest = tokens.count(max(tokens))
    said = str(page.text_content("#sees-grid"))
    assert said.startswith("Highest: random seed 0" if longest == 1 else f"{longest} of {len(tokens)} cells share the highest")

    page.select_option("#curves-along", "alpha")
    assert "alpha" in str(page.text_content("#plot-curves .xtitle"))
    page.select_option("#curves-layer", "2")
    assert "at layer 2" in str(page.text_content("#caption-curves"))
    assert f"direct {percent(direct['value'])}" in str(page.text_content("#plot-curves .legend"))
    assert page.locator("#plot-length .scatterlayer .trace").count() >= 3
    assert page.locator("#fig-lat-0-0 img").evaluate("image => image.naturalWidth") == 40

    assert "worse" in str(page.text_content("#sees-compare"))
    page.select_option("#scope-study", "seen_too")
    assert "No grid" in str(page.text_content("#sees-grid")) and "No curve" in str(page.text_content("#sees-curves"))
    assert page.locator("#plot-grid svg").count() == 0
    assert opened.close() == []


def test_tables_are_sorted_and_handed_out(tab: Any, path: Path, study: Path) -> None:
    opened = Opened(tab, path)
    page = opened.page
    assert opened.saved("#save-all") == (study / "results.csv").read_text(encoding="utf-8")
    assert opened.saved("#save-all-second") == (study.parent / "seen_too" / "results.csv").read_text(encoding="utf-8")
    assert opened.saved("button[data-lat]") == "k,kept\n16,0.3\n"

    page.select_option("#table-which", "all")
    page.get_by_role("button", name="tokens", exact=True).last.click()
    assert page.get_attribute("#cells th[aria-sort]", "aria-sort") == "descending"
    head, *shown = list(csv.reader(opened.saved("#cells .save").splitlines()))
    by_cell = {row["cell"]: row for row in rows(study)}
    assert {line[head.index("cell")] for line in shown} == set(by_cell)
    tokens = [float(line[head.index("tokens")]) for line in shown]
    assert tokens == sorted(tokens, reverse=True)
    for line in shown:
        row = by_cell[line[head.index("cell")]]
        assert line[head.index("n")] == row["n"] and line[head.index("accuracy % [95 %]")].startswith(percent(row["value"]))
    page.click("#numbers-arms summary")
    page.locator("#numbers-arms tbody tr").first.wait_for()
    assert page.locator("#numbers-arms tbody tr").count() == 2
    arrow = "getComputedStyle(document.querySelector('#cells th[aria-sort] button'), '::after').content"
    assert "▼" in page.evaluate(arrow)
    # What rounds to zero has no minus.
    told = page.evaluate("[-0.0004, 0, 0.0004, -0.0006, 0.1234].map(points)")
    assert told == ["+0.0", "+0.0", "+0.0", "−0.1", "+12.3"]
    assert page.evaluate("[signed(-0.04), signed(-0.3, 0), signed(-1.26)]") == ["0.0", "0", "−1.3"]
    # Shares that are nothing throughout have no column, nor has the source's layer where it is the target's.
    assert not {"unresolved %", "guessed %", "source layer"} & set(head) and "no answer %" in head
    # An arm's colour is no other's while one is free, and two names that begin alike stay two.
    colours = page.evaluate("[...looksOf(['forced_prefix', 'rotated', 'l2v', 'own_direction']).values()].map((l) => l.colour)")
    assert len(set(colours)) == 4
    assert page.evaluate("shortened('l2v from a_name_of_signs_a', 20) !== shortened('l2v from a_name_of_signs_b', 20)")
    assert opened.close() == []


def test_the_responses_beside_the_same_cells_of_another_study(tab: Any, study: Path, tmp_path: Path) -> None:
    """A study that was computed again holds the same cells: each keeps its own rows, the responses are the first's."""
    for name in ("seen", "again"):
        shutil.copytree(study, tmp_path / name, ignore=shutil.ignore_patterns("report", "lat"))
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


def test_examples_are_filtered_and_searched(tab: Any, path: Path) -> None:
    opened = Opened(tab, path)
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


def test_a_cell_of_a_figure_and_a_row_of_the_table_lead_to_its_answers(tab: Any, path: Path, study: Path) -> None:
    from playwright.sync_api import expect

    opened = Opened(tab, path)
    page = opened.page
    page.select_option("#grid-arm", "l2v")
    opened.hover("#plot-grid .heatmaplayer .hm", "grid")
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#examples-cell")).not_to_have_value("")
    cell = page.input_value("#examples-cell")
    assert cell in {r["cell"] for r in rows(study) if r["method"] == "l2v"}
    assert page.text_content("#found") == "30 of 30 responses, to 30 items"
    stored = {v["id"]: v["response"] for v in CellFolder(study / "cells" / cell).responses()}
    card = page.locator("#cards .card").first
    text = card.locator(".side").last.locator(".text").text_content()
    assert text == stored[str(card.locator("bdi").first.text_content())]

    page.select_option("#table-which", "all")
    other = next(r["cell"] for r in rows(study) if r["method"] == "random" and r["selected"] != "test")
    page.locator("#cells tr", has_text=other).locator("td").first.click()
    assert page.input_value("#examples-cell") == other
    assert opened.close() == []


def test_brushing_filters_and_the_address_keeps_it(tab: Any, path: Path, study: Path) -> None:
    opened = Opened(tab, path)
    page = opened.page
    page.locator("#plot-parallel").scroll_into_view_if_needed()
    zone = page.locator("[data-axis='layer']").bounding_box()
    page.mouse.move(zone["x"] + 11, zone["y"] + 1)
    page.mouse.down()
    page.mouse.move(zone["x"] + 11, zone["y"] + 60, steps=3)
    page.mouse.up()
    kept = {r["cell"] for r in rows(study) if r["layer"] == "3"}
    shown = "[...document.querySelectorAll('#cells tbody tr')].map((tr) => tr.lastElementChild.textContent)"
    assert page.input_value("#table-filter") == "layer=3"
    assert set(page.evaluate(shown)) == kept and page.locator("#plot-parallel polyline.on").count() == len(kept)
    page.fill("#table-filter", "layer=3, alpha>0.4, arm=l2v")
    (one,) = (r["cell"] for r in rows(study) if (r["layer"], r["method"]) == ("3", "l2v") and float(r["alpha"]) > 0.4)
    assert page.evaluate(shown) == [one]
    page.select_option("#grid-value", "diff")
    page.get_by_role("button", name="tokens", exact=True).last.click()
    address = page.url
    # Whoever is sent the address sees the same, and a word that is none is told, not passed over.
    other = Opened(tab, address)
    assert page.input_value("#table-filter") == "layer=3, alpha>0.4, arm=l2v" and page.evaluate(shown) == [one]
    assert page.input_value("#grid-value") == "diff"
    assert page.get_attribute("#cells th[aria-sort]", "aria-sort") == "descending"
    page.fill("#table-filter", "layr=3")
    assert str(page.text_content("#filter-said")).startswith("Not understood: layr=3")
    assert page.evaluate("scaleWords(ROWS)") == "in median activation norms of the layer", "direct has no scale to tell"
    # What stands in the table can be typed: 3.3 is one of 30.
    scores = {r["cell"]: percent(r["value"]) for r in rows(study) if r["metric"] == "accuracy"}
    shared = next(text for text in scores.values() if not text.endswith(".0"))
    page.fill("#table-filter", f"accuracy={shared}")
    assert set(page.evaluate(shown)) == {cell for cell, text in scores.items() if text == shared}
    page.fill("#table-filter", "method=high_pass")
    assert page.text_content("#filter-said") == "No cell has method=high_pass."
    page.fill("#table-filter", "")
    assert page.get_attribute("#cells th[aria-sort]", "aria-sort") == "descending", "the order holds under another filter"
    zone = page.locator("[data-axis='accuracy']").bounding_box()
    page.mouse.click(zone["x"] + 11, zone["y"] + 60)
    assert page.input_value("#table-filter") == ""
    assert page.evaluate("shortened('mini_stranger_a', 13) !== shortened('mini_stranger_b', 13)")
    assert [*opened.close(), *other.close()] == []


def test_the_targets_choice_holds_for_the_responses(tab: Any, path: Path) -> None:
    opened = Opened(tab, path)
    opened.page.select_option("#scope-study", "seen_too")
    assert opened.page.text_content("#found") == "The responses on this page are those of seen."
    assert opened.close() == []


def test_hostile_responses_are_text(tab: Any, study: Path, tmp_path: Path) -> None:
    shutil.copytree(study.parent / "seen_too", tmp_path / "hostile")
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_is_wide_enough(tab: Any, path: Path, scheme: str) -> None:
    opened = Opened(tab, path, width=390, scheme=scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    figures = opened.page.locator(".plot svg.main-svg:visible")
    assert figures.count() >= 5
    assert all(figures.nth(i).bounding_box()["width"] <= 390 for i in range(figures.count()))
    head = opened.page.locator("#cells thead th").all_text_contents()
    assert head.index("accuracy % [95 %]") < head.index("layer")
    brightness = opened.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (brightness > 200) == (scheme == "light")
    assert opened.close() == []


def test_the_keyboard_reaches_every_control(tab: Any, path: Path) -> None:
    opened = Opened(tab, path)
    page = opened.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"

    reached: list[str] = []
    for _ in range(120):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "(() => { const e = document.activeElement; return [e.id || e.dataset.flip || e.tagName,"
            " getComputedStyle(e).outlineStyle, e.matches(':focus-visible')]; })()"
        )
        reached.append(found[0])
        assert found[0] == "BODY" or not found[2] or found[1] != "none", found
        if found[0] == "examples-cell":
            break
    for control in ("scope-study", "arms-value", "grid-arm", "grid-value", "curves-along", "flipped right", "examples-cell"):
        assert control in reached, (control, reached)

    page.focus("#grid-value")
    page.keyboard.press("ArrowDown")
    assert "difference to direct" in str(page.text_content("#caption-grid"))
    page.focus("[data-flip='both wrong']")
    page.keyboard.press("Enter")
    assert page.get_attribute("[data-flip='both wrong']", "aria-pressed") == "true"
    page.focus("#numbers-grid summary")
    page.keyboard.press("Enter")
    page.locator("#numbers-grid tbody tr").first.wait_for()
    assert page.locator("#numbers-grid tbody tr").count() == 4
    page.focus("#scheme")
    page.keyboard.press("Enter")
    assert page.evaluate("document.documentElement.dataset.scheme") == "light"
    assert opened.close() == []


def test_on_paper_figures_fit_and_controls_are_gone(tab: Any, path: Path) -> None:
    opened = Opened(tab, path, scheme="dark")
    page = opened.page
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".controls:visible, .bar:visible").count() == 0
    assert page.evaluate("Math.max(...[...document.querySelectorAll('.plot svg.main-svg')].map((s) => s.clientWidth))") <= 690
    ink = page.evaluate("getComputedStyle(document.querySelector('#plot-arms .xtitle')).fill.match(/\\d+/g).map(Number)[0]")
    assert ink < 60
    assert page.evaluate("document.querySelector('details.rule').open")
    # The table says what its columns are, and a figure on paper of which target it is.
    assert page.locator("#cells thead th button:visible").count() > 5
    assert str(page.text_content("#caption-arms")).startswith("Target mini, benchmark mini. ")
    assert page.locator("#cells td button:visible").count() == page.locator("#cells tbody tr").count()
    # The sheet is as wide as the table; nothing says what to do with a pointer.
    display = "getComputedStyle(document.querySelector('#cells th button')).display"
    assert page.evaluate(display) == "contents", "Chromium draws no head with buttons on a second page"
    style = "(name) => getComputedStyle(document.querySelector(name)).breakInside"
    assert [page.evaluate(style, name) for name in ("#cells thead", "#cells tbody tr", ".side")] == ["avoid"] * 3
    page.set_viewport_size({"width": 1017, "height": 700})
    assert page.evaluate("document.querySelector('#cells table').scrollWidth") <= 1017
    assert not any(word in str(page.text_content("#parallel")) for word in ("drag", "click opens"))
    assert page.locator("#examples .hand:visible").count() == 0
    # No end of a sheet cuts a grid of many panels, and no line of a card's head stands alone.
    many = "Array(24).fill({ arm: 'l2v from mini_stranger_a', after: 'k 16' }), Array(24).fill(['0.3', '0.7'])"
    assert page.evaluate(f"placed({many}, Array(24).fill([...'123456789abcdefghij']), 640).height") < 930
    thirty = "Array(30).fill({ name: 'permuted seed 1', colour: '#000000', x: 0 })"
    assert page.evaluate(f"forest({thirty}, 'points', 640, true).height") <= 800
    sixty = thirty.replace("30", "60")
    assert page.evaluate(f"forest({sixty}, 'points', 640, true).height") <= 930
    after = "getComputedStyle(document.querySelector('.card > .question')).breakAfter"
    assert page.evaluate(after) == "avoid"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not page.evaluate("document.querySelector('details.rule').open")
    assert opened.close() == []
