"""What PLUMED says of a system's text, in words of that text; and its numbers of atoms."""

import re
from collections.abc import Mapping

from ase import Atoms

from ..bias import plumed

_EACH = "give one value for each variable in ARG"
_VALUE = r"(?:Error converting|interpreting ranges|load library)\s+([^\s,]+)"
_WORDS: Mapping[str, str] = {
    r"cannot understand the following words from the input line *: *(.*)": (
        r"\1: not known to PLUMED (check spelling; keywords are written KEY=value, without blanks)"
    ),
    r"keyword (\S+) is compulsory for this action": r"\1 is missing; add \1=…",
    r"keyword (\S+) could not be read correctly": r"<\1> cannot be read; check its value",
    r"vector read in for keyword (\S+) has the wrong size": rf"<\1>: {_EACH}",
    r"number of arguments does not match number of (\S+) parameters": rf"<\1>: {_EACH}",
    r"At least one between HEIGHT and TAU should be specified": "HEIGHT is missing; add HEIGHT=…",
    r"label (\S+) has been already used": r"the label \1 is used twice; rename one",
    r"well tempered bias factor is nonsensical": "<BIASFACTOR>: must be greater than 1",
}
"""PLUMED's message, as a regular expression, and ours; `<KEY>` is the word of the text."""


def complaint(output: str, text: str) -> str:
    """PLUMED's error message, without places in its source code, with the line of the input.

    Args:
        output: error output of PLUMED.
        text: the user's PLUMED input.
    """
    message = _message(output)
    if unknown := re.fullmatch(r'Action "(\S+)" is not known\.?', message):
        line = next((a.line for a in plumed.parse(text) if a.name == unknown[1]), None)
        what = f"the action {unknown[1]} is not known to this PLUMED; check spelling and modules"
        return what if line is None else f"line {line}: {what}"
    found = re.fullmatch(r"ERROR in input to action (\S+) with label (\S+) *: *(.*)", message)
    name, label, said = found.groups() if found else ("", "", message)
    action = _action(text, name.partition("_SCALAR")[0], label, said)
    if action is None:
        return message
    for pattern, words in _WORDS.items():
        if match := re.fullmatch(pattern, said):
            said = re.sub("<(.*?)>", lambda key: _word(action, key[1]), match.expand(words))
            break
    return f"line {action.line}, {action.name}: {said}"


def _message(output: str) -> str:
    """The message among what PLUMED has printed."""
    found = re.split(r"terminate called[^\n]*\n", output)[-1].replace("what():", "")
    found = re.sub(r"The above exception .*", "", found, flags=re.DOTALL)
    lines = [line.lstrip("+ \t").rstrip() for line in found.splitlines()]
    kept = [
        line
        for line in lines
        if line
        and not re.match(
            r"\([\w/]+/[\w.]+:\d+\)|#####|PLUMED: ?$|PLUMED error$|at |message follows|assertion",
            line,
        )
    ]
    return " ".join(kept[-4:])


def _action(text: str, name: str, label: str, said: str) -> plumed.Action | None:
    """The action that a message is about; None if that is not certain.

    An action without label has a number in messages (`@3`), but not always that of its line.
    """
    actions = plumed.parse(text)
    found = [one for one in actions if label and one.label == label]
    if len(found) > 1 and "already used" in said:
        return found[1]
    found = found or [one for one in actions if one.name == name]
    if not found and (unit := re.match(r"(?:problem with setting the )?(\w+) unit", said)):
        found = [one for one in actions if one.name == "UNITS" and one.get(unit[1].upper())]
    if not found and (quoted := re.search('"(.+?)"', said)):
        found = [one for one in actions if any(quoted[1] in word.text for word in one.words)]
    if not found and (value := re.search(_VALUE, said)):
        found = [one for one in actions if value[1] in _values(one)]
    if not found and "in grid must" in said:
        found = [one for one in actions if one.get("GRID_MIN")]
    return found[0] if len(found) == 1 else None


def _values(action: plumed.Action) -> set[str]:
    """All parts of an action's words."""
    return {part for word in action.words for part in re.split(r"[,=\s{}]+", word.text)}


def _word(action: plumed.Action, key: str) -> str:
    """The word of an action with this key, as it is written."""
    return next((word.text for word in action.words if word.key == key), key)


def numbering(atoms: Atoms) -> str:
    """PLUMED's atom numbers by runs of elements, as in `1-2 Al, 3-6 O`."""
    symbols = atoms.get_chemical_symbols()
    starts = [i for i, name in enumerate(symbols) if i == 0 or symbols[i - 1] != name]
    runs = [
        (start + 1, end, symbols[start])
        for start, end in zip(starts, [*starts[1:], len(symbols)], strict=True)
    ]
    shown = [
        f"{first}-{last} {name}" if last > first else f"{first} {name}"
        for first, last, name in runs
    ]
    more = [f"… ({len(runs) - 12} more runs)"] if len(runs) > 12 else []
    return ", ".join(shown[:12] + more)
