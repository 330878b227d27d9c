"""The page in a browser: no request, no error, every control works, data are never code, a phone and a keyboard suffice."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from page_helpers import percent, rows
from tabs import Opened

from l2v.study.cell_folder import CellFolder


def test_figures_answer_the_pointer_and_the_controls(tab: Any, seen_page: Path, seen: Path) -> None:
    opened = Opened(tab, seen_page)
    page = opened.page
    best = max((r for r in rows(seen) if r["method"] == "l2v"), key=lambda r: float(r["value"]))
    direct = next(r for r in rows(seen) if r["method"] == "direct")

    arms = opened.hover("#plot-arms .scatterlayer .trace path.point", "arms")
    assert "l2v†" in arms and f"accuracy {percent(best['value'])} %" in arms and "n = 30" in arms
    # No cell is named where several are as good.
    as_good = sum(r["method"] == "l2v" and r["value"] == best["value"] for r in rows(seen))
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
    tokens = [float(r["tokens"]) for r in rows(seen) if r["method"] == "random"]
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


def test_tables_are_sorted_and_handed_out(tab: Any, seen_page: Path, seen: Path) -> None:
    opened = Opened(tab, seen_page)
    page = opened.page
    assert opened.saved("#save-all") == (seen / "results.csv").read_text(encoding="utf-8")
    assert opened.saved("#save-all-second") == (seen.parent / "seen_too" / "results.csv").read_text(encoding="utf-8")
    assert opened.saved("button[data-lat]") == "k,kept\n16,0.3\n"

    page.select_option("#table-which", "all")
    page.get_by_role("button", name="tokens", exact=True).last.click()
    assert page.get_attribute("#cells th[aria-sort]", "aria-sort") == "descending"
    head, *shown = list(csv.reader(opened.saved("#cells .save").splitlines()))
    by_cell = {row["cell"]: row for row in rows(seen)}
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


def test_a_cell_of_a_figure_and_a_row_of_the_table_lead_to_its_answers(tab: Any, seen_page: Path, seen: Path) -> None:
    from playwright.sync_api import expect

    opened = Opened(tab, seen_page)
    page = opened.page
    page.select_option("#grid-arm", "l2v")
    opened.hover("#plot-grid .heatmaplayer .hm", "grid")
    page.mouse.down()
    page.mouse.up()
    expect(page.locator("#examples-cell")).not_to_have_value("")
    cell = page.input_value("#examples-cell")
    assert cell in {r["cell"] for r in rows(seen) if r["method"] == "l2v"}
    assert page.text_content("#found") == "30 of 30 responses, to 30 items"
    stored = {v["id"]: v["response"] for v in CellFolder(seen / "cells" / cell).responses()}
    card = page.locator("#cards .card").first
    text = card.locator(".side").last.locator(".text").text_content()
    assert text == stored[str(card.locator("bdi").first.text_content())]

    page.select_option("#table-which", "all")
    other = next(r["cell"] for r in rows(seen) if r["method"] == "random" and r["selected"] != "test")
    page.locator("#cells tr", has_text=other).locator("td").first.click()
    assert page.input_value("#examples-cell") == other
    assert opened.close() == []


def test_what_nobody_looks_at_is_drawn_when_one_comes_near_or_prints(tab: Any, seen_page: Path) -> None:
    page = tab.context.new_page()
    page.add_init_script("window.requestIdleCallback = () => 0")  # a browser that always has something else to do
    opened = Opened(page, seen_page, whole=False)
    page.locator("#plot-arms .main-svg").first.wait_for()
    far = "[document.querySelectorAll('#plot-length svg').length, document.querySelectorAll('#cards .card').length]"
    assert page.evaluate(far) == [0, 0]
    page.locator("#fig-length").scroll_into_view_if_needed()
    page.locator("#plot-length .main-svg").first.wait_for()
    page.locator("#examples").scroll_into_view_if_needed()
    page.locator("#cards .card").first.wait_for()
    assert opened.close() == []
    opened = Opened(page, seen_page, whole=False)
    assert page.evaluate(far) == [0, 0]
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...drawn.keys()].filter((id) => !isDrawn(id))") == []
    assert page.evaluate(far)[1] > 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert opened.close() == []
    page.close()


def test_on_paper_the_verdicts_of_two_studies_stand_one_under_another(tab: Any, seen_page: Path) -> None:
    """Beside each other the shorter list would leave half of every sheet empty."""
    opened = Opened(tab, seen_page)
    opened.page.emulate_media(media="print")
    try:
        boxes = [block.bounding_box() for block in opened.page.locator("#verdicts .block").all()]
        assert len(boxes) == 2
        assert boxes[0]["x"] == boxes[1]["x"]
        assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"]
        assert boxes[0]["width"] > 0.9 * opened.page.locator("#verdicts").bounding_box()["width"]
    finally:
        opened.page.emulate_media(media="screen")
    assert opened.close() == []


def test_the_rest_is_drawn_when_there_is_nothing_else_to_do(tab: Any, seen_page: Path) -> None:
    """A picture of the whole page, which nobody scrolled, holds it."""
    opened = Opened(tab, seen_page, whole=False)
    opened.page.locator("#cards .card").first.wait_for()
    assert opened.page.evaluate("[scrollY, ...[...drawn.keys()].filter((id) => !isDrawn(id))]") == [0]
    assert opened.close() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_is_wide_enough(tab: Any, seen_page: Path, scheme: str) -> None:
    opened = Opened(tab, seen_page, width=390, scheme=scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390
    figures = opened.page.locator(".plot svg.main-svg:visible")
    assert figures.count() >= 5
    assert all(figures.nth(i).bounding_box()["width"] <= 390 for i in range(figures.count()))
    head = opened.page.locator("#cells thead th").all_text_contents()
    assert head.index("accuracy % [95 %]") < head.index("layer")
    brightness = opened.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (brightness > 200) == (scheme == "light")
    assert opened.close() == []


def test_the_keyboard_reaches_every_control(tab: Any, seen_page: Path) -> None:
    opened = Opened(tab, seen_page)
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


def test_on_paper_figures_fit_and_controls_are_gone(tab: Any, seen_page: Path) -> None:
    opened = Opened(tab, seen_page, scheme="dark")
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
