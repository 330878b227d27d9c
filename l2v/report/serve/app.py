"""What the server answers: the index, each study's page, the responses of any cell, and their pictures. It only reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from l2v.errors import UserError
from l2v.report.page.examples import of_cell
from l2v.report.page.facts import still_open
from l2v.report.page.page import environment, finite, styles
from l2v.report.page.pictures import MOST_IMAGES, Read, image_readers, thumbnail
from l2v.report.serve.leaderboard import leaderboard
from l2v.report.serve.shelf import ServedStudy, Shelf
from l2v.report.study import Study
from l2v.study.score import items_key

SIDE = 480  # longest side of a picture in pixels
# Other names lead a browser here only by a trick with DNS.
HOSTS = ["127.0.0.1", "localhost", "[::1]"]


def application(shelf: Shelf) -> Starlette:
    """The server's answers; every one is made from what is on disk, and nothing is written."""
    views = _Views(shelf)
    routes = [
        Route("/", views.index),
        Route("/studies/{study}", lambda request: RedirectResponse(f"{request.url.path}/")),
        Route("/studies/{study}/", views.page),
        Route("/studies/{study}/state", views.state),
        Route("/studies/{study}/cells/{cell}", views.cell),
        Route("/studies/{study}/cells/{cell}/picture", views.picture),
    ]
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(GZipMiddleware, compresslevel=3)]
    return Starlette(routes=routes, middleware=guards, exception_handlers={UserError: _told})


def _told(_: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", status_code=404)


class _Views:
    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        # By study and benchmark; opening its data takes seconds.
        self._readers: dict[tuple[str, str], dict[str, Read]] = {}

    def _study(self, request: Request) -> ServedStudy:
        return self.shelf.shown(request.path_params["study"])

    def index(self, _: Request) -> Response:
        content = {"board": leaderboard(self.shelf), "outputs": self.shelf.outputs, "css": styles()}
        return HTMLResponse(environment(Path(__file__).parent).get_template("index.html.j2").render(content))

    def page(self, request: Request) -> Response:
        return HTMLResponse(self._study(request).page, headers={"Cache-Control": "no-store"})

    def state(self, request: Request) -> Response:
        """Whether the page is still of today, and what is there of a study that was not over when it was read."""
        shown = self._study(request)
        rest = next(iter(still_open(shown.study, now=True)), "") if shown.was_open else ""
        return JSONResponse({"mark": shown.mark, "open": rest}, headers={"Cache-Control": "no-store"})

    def cell(self, request: Request) -> Response:
        shown, cell = self._cell(request)
        study = shown.study.seen_by(request.query_params.get("scorer", shown.study.scorer))
        return JSONResponse(finite(of_cell(study, cell)), headers={"Cache-Control": "no-store"})

    def picture(self, request: Request) -> Response:
        shown, cell = self._cell(request)
        item = request.query_params.get("item", "")
        try:
            images = [image.convert("RGB") for image in list(self._pictures(shown.study, cell)[item]())[:MOST_IMAGES]]
        except Exception as error:  # the data are another's: whatever a loader raises costs a picture
            raise HTTPException(404, "There is no picture.") from error
        return Response(thumbnail(stacked(images), SIDE)[0], media_type="image/webp")

    def _cell(self, request: Request) -> tuple[ServedStudy, str]:
        shown, cell = self._study(request), request.path_params["cell"]
        if cell not in set(shown.study.rows["cell"]):
            raise HTTPException(404, f"There is no cell {cell!r} in this study.")
        return shown, cell

    def _pictures(self, study: Study, cell: str) -> dict[str, Read]:
        key = study.name, items_key(study.marks.cell(cell).benchmark)
        if key not in self._readers:
            folder = study.store.folder(cell)
            self._readers[key] = image_readers(folder, [row["id"] for row in folder.responses()])
        return self._readers[key]


def stacked(images: list[Any]) -> Any:
    """Several pictures as one. Raises IndexError for none."""
    from PIL import Image

    if len(images) == 1:
        return images[0]
    whole = Image.new("RGB", (max(i.width for i in images), sum(i.height for i in images)), "white")
    top = 0
    for image in images:
        whole.paste(image, (0, top))
        top += image.height
    return whole
