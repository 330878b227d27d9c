"""The view of a page: what is held on its axes and in its filter, the address that keeps it, and the place that one reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from page_helpers import percent, rows
from playwright.sync_api import expect
from tabs import Opened


def test_brushing_filters_and_the_address_keeps_it(tab: Any, seen_page: Path, seen: Path) -> None:
    opened = Opened(tab, seen_page)
    page = opened.page
    page.locator("#plot-parallel").scroll_into_view_if_needed()
    zone = page.locator("[data-axis='layer']").bounding_box()
    page.mouse.move(zone["x"] + 11, zone["y"] + 1)
    page.mouse.down()
    page.mouse.move(zone["x"] + 11, zone["y"] + 60, steps=3)
    page.mouse.up()
    kept = {r["cell"] for r in rows(seen) if r["layer"] == "3"}
    shown = "[...document.querySelectorAll('#cells tbody tr')].map((tr) => tr.lastElementChild.textContent)"
    assert page.input_value("#table-filter") == "layer=3"
    assert set(page.evaluate(shown)) == kept and page.locator("#plot-parallel polyline.on").count() == len(kept)
    page.fill("#table-filter", "layer=3, alpha>0.4, arm=l2v")
    (one,) = (r["cell"] for r in rows(seen) if (r["layer"], r["method"]) == ("3", "l2v") and float(r["alpha"]) > 0.4)
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
    scores = {r["cell"]: percent(r["value"]) for r in rows(seen) if r["metric"] == "accuracy"}
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


def test_what_is_held_is_marked_on_its_axis_and_let_go_there(tab: Any, seen_page: Path) -> None:

    opened = Opened(tab, seen_page)
    page = opened.page
    plot = page.locator("#plot-parallel")
    plot.scroll_into_view_if_needed()
    axis = plot.locator(".axis").filter(has=page.locator("[data-axis='layer']"))
    held, zone = axis.locator(".held"), axis.locator(".zone").bounding_box()
    expect(plot.locator(".held")).to_have_count(0)
    page.mouse.move(zone["x"] + 11, zone["y"] + 1)
    page.mouse.down()
    page.mouse.move(zone["x"] + 11, zone["y"] + 60, steps=3)
    page.mouse.up()
    expect(plot.locator(".held")).to_have_count(1)
    label = axis.get_by_text("3", exact=True).bounding_box()
    mark = held.bounding_box()
    assert mark["y"] <= label["y"] + label["height"] / 2 <= mark["y"] + mark["height"] and mark["height"] < zone["height"] / 4
    axis.get_by_role("button", name="Let go of layer").click()
    expect(page.locator("#table-filter")).to_have_value("")
    expect(plot.locator(".held, .release")).to_have_count(0)
    # What is typed is marked too, whatever a column is called, and let go by the keyboard; the rest stays.
    page.fill("#table-filter", "Layer>2, accuracy>=20, accuracy<=60, alpha>0")
    expect(held).to_have_count(1)
    score = plot.locator(".axis").last
    stretch, whole = score.locator(".held").bounding_box(), score.locator(".zone").bounding_box()
    ticks = {one: score.get_by_text(one, exact=True).bounding_box()["y"] for one in ("20", "60")}
    assert stretch["height"] == pytest.approx(ticks["20"] - ticks["60"], abs=6) and stretch["height"] < whole["height"]
    axis.get_by_role("button", name="Let go of layer").press("Enter")
    expect(page.locator("#table-filter")).to_have_value("accuracy>=20, accuracy<=60, alpha>0")
    expect(held).to_have_count(0)
    assert opened.close() == []


def test_a_condition_may_hold_what_has_signs_of_its_own_and_what_heads_the_table(tab: Any, seen_page: Path, seen: Path) -> None:
    opened = Opened(tab, seen_page)
    page = opened.page
    # A change of weights is searched over lists of layers; a source may be called anything.
    for value in ("[1,2]", "salt and pepper|a;b"):
        held, kept = page.evaluate(
            """(value) => {
              TABLES[0].raw.source = {one: value};
              const [held] = heldBy({word: "source", ticks: [[0, value], [1, "other"]]}, 0, 0.5);
              view.filter = `alpha>0.4 and ${held}`;
              return [conditions(view.filter), kept(ROWS).map((row) => text(row, "alpha"))];
            }""",
            value,
        )
        assert held["wrong"] == [] and len(held["tests"]) == 2 and set(kept) == {"0.7"}
    opened = Opened(tab, seen_page)
    results = rows(seen)
    for words, wanted in (
        ("p (Holm)>0.999", {r["cell"] for r in results if r["p_holm"] and float(r["p_holm"]) > 0.999}),
        ("Layer=3", {r["cell"] for r in results if r["layer"] == "3"}),
        (
            f"Tokens={float(results[0]['tokens']):.1f}",
            {r["cell"] for r in results if f"{float(r['tokens']):.1f}" == f"{float(results[0]['tokens']):.1f}"},
        ),
        ("steps %>=50", {r["cell"] for r in results if round(100 * float(r["steps_share"])) >= 50}),
    ):
        page.fill("#table-filter", words)
        shown = page.evaluate("[...document.querySelectorAll('#cells button.opens')].map((b) => b.textContent)")
        assert set(shown) == wanted and page.text_content("#filter-said") in ("", f"No cell has {words}."), words
    # Nothing but the table and the axes shows what is held: the rest is not drawn anew with every letter.
    page.evaluate("() => { drawn.get('length').build = () => { throw new Error('drawn anew'); }; }")
    page.evaluate("() => { $('cards').firstElementChild.dataset.before = 'yes'; }")
    page.fill("#table-filter", "layr=3")
    assert page.evaluate("$('cards').firstElementChild.dataset.before") == "yes"
    assert "layr" not in str(page.text_content("#sees-parallel")), "what was not understood holds nothing"
    # The row's own choice stays: of what a condition holds, the reported ones.
    page.fill("#table-filter", "layer=3")
    assert page.input_value("#table-which") == "all"
    assert opened.close() == []


def test_the_address_keeps_items_and_verdicts_and_a_release_alone_holds_nothing(tab: Any, seen_page: Path) -> None:
    opened = Opened(tab, seen_page)
    page = opened.page
    zone = page.locator("[data-axis='layer']")
    zone.scroll_into_view_if_needed()
    box = zone.bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + 11, box["y"] + 80, steps=3)
    page.mouse.up()
    assert page.input_value("#table-filter") == "", "pressed beside the axis"
    page.mouse.move(box["x"] + 11, box["y"] + 2)
    page.mouse.down(button="right")
    page.mouse.move(box["x"] + 11, box["y"] + 60, steps=3)
    page.mouse.up(button="right")
    assert page.input_value("#table-filter") == "", "another button"
    page.click("[data-flip='both wrong']")
    found = page.text_content("#found")
    page.reload()
    page.wait_for_selector("html[data-state=ready]")
    assert page.get_attribute("[data-flip='both wrong']", "aria-pressed") == "true" and page.text_content("#found") == found
    page.click("[data-flip='both wrong']")
    assert "verdicts" not in page.url
    assert opened.close() == []


def test_an_address_leads_to_its_section_and_back_to_where_a_cell_was_chosen(tab: Any, seen_page: Path, seen: Path) -> None:
    """Whatever of the page above it is drawn only then."""

    top = "(id) => Math.round($(id).getBoundingClientRect().top)"
    page = tab.context.browser.new_page()  # unlike the other tab one with motion
    opened = Opened(page, f"{seen_page.as_uri()}#table?filter=layer%3D3", whole=False)
    page.locator("#cards .card").first.wait_for()
    expect(page.locator(".plot.awaited")).to_have_count(0)
    assert 0 <= page.evaluate(top, "table") < 160
    # A click on a line leads to the answers, and so does the address that it leaves; from there the way leads back.
    page.mouse.wheel(0, -200)
    page.locator("#cells tbody tr td").first.click()
    cell, address = page.input_value("#examples-cell"), page.url
    expect(page.locator("#examples-cell")).to_be_in_viewport()
    assert "#examples?" in address and cell in address
    page.go_back()
    page.wait_for_selector("html[data-state=ready]")
    expect(page.locator("#cells thead th").first).to_be_in_viewport()
    assert page.input_value("#table-filter") == "layer=3" and page.input_value("#examples-cell") == ""
    # Loaded again it stays where one was.
    page.keyboard.press("Shift")  # somebody is at work: nothing is held in its place any more
    page.evaluate(
        """() => new Promise((done) => {
          addEventListener("scrollend", () => setTimeout(done), { once: true });
          scrollTo({ top: scrollY + $("length").getBoundingClientRect().top - 150, behavior: "instant" });
        })"""
    )
    there = page.evaluate(top, "length")
    page.reload()
    page.wait_for_selector("html[data-state=ready]")
    expect(page.locator(".plot.awaited")).to_have_count(0)
    assert abs(page.evaluate(top, "length") - there) < 3
    other = Opened(tab, address, whole=False)
    tab.locator("#cards .card").first.wait_for()
    expect(other.page.locator("#examples-cell")).to_be_in_viewport()
    assert other.page.input_value("#examples-cell") == cell
    assert [*opened.close(), *other.close()] == []
    page.close()


def test_the_way_back_leads_out_of_a_cell_where_nothing_else_was_chosen(tab: Any, seen_page: Path) -> None:
    """The address that one comes back to holds no view, and so does one that a link within the page leaves."""
    opened = Opened(tab, seen_page)
    page = opened.page
    row = page.locator("#cells tbody tr td").first
    row.click()
    expect(page.locator("#examples-cell")).not_to_have_value("")
    page.go_back()
    expect(page.locator("#examples-cell")).to_have_value("")
    expect(page.locator("#cells thead th").first).to_be_in_viewport()
    page.go_forward()
    expect(page.locator("#examples-cell")).not_to_have_value("")
    page.go_back()
    expect(page.locator("#examples-cell")).to_have_value("")
    page.select_option("#grid-value", "diff")
    page.click(".bar a[href='#table']")
    expect(page.locator("#grid-value")).to_have_value("diff")
    assert page.url.endswith("#table?grid-value=diff")
    assert opened.close() == []
