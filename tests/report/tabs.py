"""A page in a tab, with what goes wrong on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Opened:
    """A page with what went wrong on it."""

    def __init__(self, tab: Any, path: Path | str, width: int = 1280, scheme: str = "light", whole: bool = True) -> None:
        self.page, self.address = tab, path if isinstance(path, str) else path.as_uri()
        self.wrong: list[str] = []
        tab.goto("about:blank")
        tab.set_viewport_size({"width": width, "height": 900})
        tab.emulate_media(media="screen", color_scheme=scheme)
        tab.mouse.move(0, 0)
        self._heard = {
            "console": lambda message: message.type == "error" and self.wrong.append(message.text),
            "pageerror": lambda error: self.wrong.append(str(error)),
            "request": self._asked,
        }
        for event, hear in self._heard.items():
            tab.on(event, hear)
        self.page.goto(self.address)
        self.page.wait_for_selector("html[data-state=ready]", timeout=30_000)
        if whole:
            # Figures and cards wait until they are looked at, which these tests do without scrolling.
            self.page.evaluate(
                "[...drawn.keys()].forEach(paint); if ($('cards')) { $('cards').dataset.near = 'yes'; search(); }"
            )

    def _asked(self, request: Any) -> None:
        own = (self.address,) if self.address.startswith("http") else ("file:",)
        if not request.url.startswith((*own, "data:", "blob:")):
            self.wrong.append(f"request to {request.url}")

    def hover(self, selector: str, name: str) -> str:
        """The text of the box that appears over the middle of a plotted element."""
        element = self.page.locator(selector).first
        element.scroll_into_view_if_needed()
        box = element.bounding_box()
        assert box is not None, name
        self.page.mouse.move(box["x"] + box["width"] / 2 - 8, box["y"] + box["height"] / 2)
        self.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
        shown = self.page.locator(f"#plot-{name} .hoverlayer .hovertext")
        shown.first.wait_for(timeout=5_000)
        return str(shown.first.text_content())

    def saved(self, button: str) -> str:
        """The file that a button hands out."""
        with self.page.expect_download() as waiting:
            self.page.locator(button).click()
        return Path(waiting.value.path()).read_text(encoding="utf-8")

    def close(self) -> list[str]:
        """What went wrong."""
        for event, hear in self._heard.items():
            self.page.remove_listener(event, hear)
        return self.wrong
