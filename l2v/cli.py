"""l2v: carry a chain-of-thought direction from a text LLM into a vision-language model, and find out whether it helps."""

from __future__ import annotations

import errno
import os
import re
import sys

from l2v.signals import ending, exit_code, interrupted, one_sentence_when_interrupted

# Before anything else is loaded, which takes time.
one_sentence_when_interrupted()
if not sys.stderr.isatty():
    # A bar that goes into a file or a pipe says there how far it is now and then, not ten times a second.
    os.environ.setdefault("TQDM_MININTERVAL", "30")
    os.environ.setdefault("TQDM_MAXINTERVAL", "60")

from collections.abc import Sequence  # noqa: E402
from difflib import get_close_matches  # noqa: E402
from shutil import get_terminal_size  # noqa: E402

from l2v import __version__  # noqa: E402
from l2v.collector import rest_while_loading  # noqa: E402
from l2v.errors import UserError, printable  # noqa: E402
from l2v.verbs import VERBS  # noqa: E402
from l2v.verbs.help import folded, table_of_contents, verb_help, verb_module  # noqa: E402

# Characters of a sentence that a terminal gets, and of a word in it: what is said of a longer one shall be found.
LONGEST, LONGEST_WORD = 2000, 300
# What is wrong with a path that somebody named.
CLOSED = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)
HELP = """
`l2v VERB --help` explains a verb and lists its settings. A first grid, on the trained miniature:
    l2v run --multirun +experiment=demo"""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Exit code 0: all done; 1: some cells failed; 2: bad input; 130: interrupted (143 by SIGTERM)."""
    if argv is None:
        rest_while_loading()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"] and len(arguments) > 1:
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        _print_help(f"{__doc__}\n\n{table_of_contents(VERBS)}\n{HELP}")
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"l2v {__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    try:
        if verb not in VERBS:
            close = get_close_matches(verb, VERBS, 1)
            hint = f"did you mean {close[0]}? There are" if close else "there are"
            raise UserError(f"Unknown verb '{verb}'; {hint} {', '.join(VERBS)}.")
        if {"-h", "--help"} & set(rest):
            _print_help(verb_help(verb))
            return 0
        with ending():
            return int(verb_module(verb).main(rest))
    except UserError as error:
        return _refused(verb, rest, str(error))
    except KeyboardInterrupt as error:
        print(interrupted(error, verb), file=sys.stderr)
        return exit_code(error)
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno not in CLOSED or not error.filename:
            raise
        told = f"{error.filename} cannot be used ({error.strerror}); give another path, or get the right to it."
        return _refused(verb, rest, told)


def _refused(verb: str, words: Sequence[str], told: str) -> int:
    """Print why, in which long words stand with their beginning and end alone; returns the exit code."""
    parts = (part.strip() for word in (verb, *words) for part in (word, word.partition("=")[2]))
    long = {part for part in parts if len(part) > LONGEST_WORD}
    for text in sorted((*long, *re.findall(rf"\S{{{LONGEST_WORD + 1},}}", told)), key=len, reverse=True):
        told = told.replace(text, f"{text[:160]}…{text[-100:]}")
    shown = verb if verb in VERBS else verb[:40]
    print(printable(f"l2v {shown}: {told if len(told) <= LONGEST else f'{told[:LONGEST]}…'}"), file=sys.stderr)
    return 2


def _print_help(text: str) -> None:
    print(folded(text, get_terminal_size().columns) if sys.stdout.isatty() else text)


if __name__ == "__main__":
    sys.exit(main())
