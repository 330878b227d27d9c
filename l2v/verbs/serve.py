"""l2v serve: all studies in a browser, from a small server on this machine alone; it reads what is on disk and writes nothing.

l2v serve                              an index of the studies in outputs, with a leaderboard of arms by target and benchmark
l2v serve study=demo                   the same; the address of that study's page is printed
l2v serve outputs=elsewhere port=9000  another folder, another port (port=0: any that is free)

A study's page there follows it while it runs, and opens every response of every cell. Ctrl-C ends it. From another machine:
ssh -L 8642:127.0.0.1:8642 HOST
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from l2v.errors import UserError
from l2v.verbs.settings import StudySettings, parse

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServeSettings:
    study: str | None = None  # a study whose page's address is printed
    outputs: str = StudySettings.outputs  # folder of all studies
    port: int = 8642  # 0: any that is free
    scorer: str = "official"  # where a study has verdicts by it
    examples: int = 1000  # most responses within a page; the others are fetched when they are opened


SETTINGS = ServeSettings


def main(arguments: list[str]) -> int:
    """Serve until interrupted.

    Raises UserError for a folder or study that is not there, an unknown scorer, and a port that is taken.
    """
    from l2v.benchmarks.scoring import check_scorers

    settings = parse(arguments, ServeSettings)
    check_scorers([settings.scorer])
    if not Path(settings.outputs).is_dir():
        raise UserError(f"There is no folder '{settings.outputs}'; outputs=… names the folder of all studies.")
    import uvicorn

    from l2v.report.serve.app import application
    from l2v.report.serve.shelf import Shelf, address

    shelf = Shelf(settings.outputs, settings.scorer, settings.examples)
    if settings.study is not None and settings.study not in shelf.names():
        there = ", ".join(shelf.names()) or "none"
        raise UserError(f"There is no study '{settings.study}' in {settings.outputs} (there: {there}).")
    with _listening(settings.port) as listening:
        path = "/" if settings.study is None else address(settings.study)
        print(f"http://{LOOPBACK}:{listening.getsockname()[1]}{path}  (Ctrl-C ends it)", flush=True)
        uvicorn.Server(uvicorn.Config(application(shelf), log_level="warning")).run(sockets=[listening])
    return 0


def _listening(port: int) -> socket.socket:
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((LOOPBACK, port))
        found.listen()  # who opens the address as soon as it is printed waits, and is not refused
    except OSError as error:
        found.close()
        raise UserError(f"Port {port} of {LOOPBACK} cannot be had ({error.strerror}); name another one with port=….") from error
    return found
