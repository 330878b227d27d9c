"""l2v completion: prints what a shell needs to complete verbs, settings and choices with the Tab key.

eval "$(l2v completion)"                                               bash; put it into ~/.bashrc
autoload -U bashcompinit && bashcompinit && eval "$(l2v completion)"   zsh; into ~/.zshrc
"""

from __future__ import annotations

from pathlib import Path

from l2v.errors import UserError, printable
from l2v.verbs import VERBS
from l2v.verbs.help import words_of

# The words before the cursor are handed over as one: bash takes them apart at every `=`, which its answers must then leave out.
SCRIPT = r"""_l2v_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\n'
    local word="${line##* }"
    COMPREPLY=($(l2v completion "$line" 2>/dev/null))
    if [[ $COMP_WORDBREAKS == *=* && $word == *=* ]]; then COMPREPLY=("${COMPREPLY[@]#"${word%=*}="}"); fi
}
complete -o nospace -F _l2v_complete l2v"""


def main(arguments: list[str]) -> int:
    """Print the script, or what may follow the words of a command line."""
    if not arguments:
        print(SCRIPT)
        return 0
    if len(arguments) > 1 or not arguments[0].startswith("l2v"):
        raise UserError("`l2v completion` takes no settings: it prints a script for the shell.")
    print(printable("\n".join(_following(arguments[0]))))
    return 0


def _following(line: str) -> list[str]:
    """What the last word of a command line may become; of a sweep (a=x,y) the last value."""
    *before, word = line.split(" ")[1:] or [""]
    if not before:
        return [f"{verb} " for verb in VERBS if verb.startswith(word)]
    if before[0] not in VERBS:
        return []
    key, equals, values = word.partition("=")
    done, comma, _ = values.rpartition(",")
    known = words_of(before[0])
    if f"{key}=" in known and key in ("study", "compare"):
        given = dict(one.partition("=")[::2] for one in before)
        outputs = given.get("outputs") or given.get("runtime.outputs") or "outputs"
        known += sorted(f"{key}={path.parent.name}" for path in Path(outputs).glob("*/study.json"))
    if comma:
        return [f"{key}={done},{one.partition('=')[2]}" for one in known if one.startswith(f"{key}={values[len(done) + 1 :]}")]
    found = [one for one in known if one.startswith(word) and (one != word or not equals)]
    # Keys first: the choices of a group come once its key stands.
    return found if equals else list(dict.fromkeys(f"{one.partition('=')[0]}=" for one in found))
