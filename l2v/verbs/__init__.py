"""The command line, one module per verb (`l2v lm-eval` is lm_eval.py).

A verb's docstring is its help and its first line its line in `l2v --help`; `main(arguments)` returns the exit code. What it
takes is declared once: SETTINGS, a dataclass of its own that `settings.parse` fills from key=value words, or PARTS, the parts
of l2v.config.Config that it looks at, which `compose` composes. Both refuse everything else, and the help lists both.
Its module is imported for help, too: heavy imports stand in its functions. A new verb: its module, and its name below.
"""

# The table of contents, in the order of `l2v --help`; each verb is a module beside this one.
VERBS = (
    "run",
    "status",
    "power",
    "preflight",
    "extract",
    "analyze",
    "convert",
    "finetune",
    "score",
    "agreement",
    "claims",
    "report",
    "serve",
    "track",
    "lm-eval",
    "doctor",
    "completion",
)
