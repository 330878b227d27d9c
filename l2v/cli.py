"""l2v: carry a chain-of-thought direction from a text LLM into a vision-language model, and find out whether it helps.

    l2v run key=value …              one cell: a method on a target and a benchmark
    l2v run --multirun key=a,b …     a grid of cells, with Hydra's whole sweep grammar
    l2v status study=NAME            how far a study is: cells, rows a second, time left, failures, workers
    l2v extract key=value …          read the directions a cell needs, and nothing else
    l2v analyze source=… target=…    what the states of two models share: dispersion, spectra, pictures
    l2v finetune target=… finetune.out=DIR      the paper's fine-tuned baseline, as a checkpoint
    l2v score study=NAME scorer=…    score stored responses again, without any model
    l2v score benchmark=… items=… responses=…   score a file of responses from anywhere
    l2v agreement study=NAME         where the scorers agree and where they do not
    l2v report study=NAME            the tables of a study (text, md, csv, latex), and its page
    l2v track study=NAME             upload what Weights & Biases (or trackio) lacks of a study
    l2v lm-eval --tasks … --model_args …        lm-eval's own command line, with the steered model
    l2v doctor                       versions, devices, memory, and what can be reached

`l2v VERB --help` explains a verb. A first grid, on the trained miniature:
    l2v run --multirun +experiment=demo
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from l2v import __version__
from l2v.errors import UserError, unknown

# Each verb's function takes the words after it and returns the exit code; its module is imported when it is called.
VERBS = {
    "run": "l2v.verbs.hydra_door:run_verb",
    "status": "l2v.verbs.status:status_verb",
    "extract": "l2v.verbs.hydra_door:extract_verb",
    "analyze": "l2v.verbs.analyze:analyze_verb",
    "finetune": "l2v.verbs.finetune:finetune_verb",
    "score": "l2v.verbs.store_door:score_verb",
    "agreement": "l2v.verbs.store_door:agreement_verb",
    "report": "l2v.verbs.store_door:report_verb",
    "track": "l2v.verbs.track:track_verb",
    "lm-eval": "l2v.verbs.lm_eval:lm_eval_verb",
    "doctor": "l2v.verbs.doctor:doctor_verb",
}


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Exit code 0: all done; 1: some cells failed; 2: bad input; 130: interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(__doc__)
        return 0
    if arguments[0] in ("-V", "--version"):
        print(f"l2v {__version__}")
        return 0
    verb, rest = arguments[0], arguments[1:]
    try:
        if verb not in VERBS:
            raise unknown("verb", verb, VERBS)
        if {"-h", "--help"} & set(rest):
            from l2v.verbs.help import verb_help

            print(verb_help(verb))
            return 0
        module, _, function = VERBS[verb].partition(":")
        return int(getattr(import_module(module), function)(rest))
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
