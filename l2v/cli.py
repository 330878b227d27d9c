"""l2v: carry a chain-of-thought direction from a text LLM into a vision-language model, and find out whether it helps."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from l2v import __version__
from l2v.errors import UserError, unknown
from l2v.verbs.help import table_of_contents, verb_help, verb_module

# The table of contents, in the order of `l2v --help`; each verb is a module of l2v/verbs.
VERBS = (
    "run",
    "status",
    "preflight",
    "extract",
    "analyze",
    "convert",
    "finetune",
    "score",
    "agreement",
    "report",
    "track",
    "lm-eval",
    "doctor",
)
HELP = """
`l2v VERB --help` explains a verb and lists its settings. A first grid, on the trained miniature:
    l2v run --multirun +experiment=demo"""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Exit code 0: all done; 1: some cells failed; 2: bad input; 130: interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(f"{__doc__}\n\n{table_of_contents(VERBS)}\n{HELP}")
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"l2v {__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    try:
        if verb not in VERBS:
            raise unknown("verb", verb, VERBS)
        if {"-h", "--help"} & set(rest):
            print(verb_help(verb))
            return 0
        return int(verb_module(verb).main(rest))
    except UserError as error:
        print(f"l2v {verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nInterrupted. Every finished row is stored; repeat the same command to go on.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 0


if __name__ == "__main__":
    sys.exit(main())
