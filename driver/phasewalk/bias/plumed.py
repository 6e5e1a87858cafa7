"""The user's PLUMED text: what it says, and the few words of it that phasewalk sets.

PLUMED reads actions, one a line (`label: NAME KEY=value FLAG`), or over several lines from `...`
to `...`; `#` starts a comment, braces hold a value together, upper and lower case are the same in
names and keys (PLUMED manual, "Getting started"). The text stays the user's: `rewrite` replaces
METAD's file, restart and walker words and PRINT's FILE, gives METAD its temperature where it needs
one, and makes the edits that it is given; every other byte stays as it is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import groupby

from ..errors import InputError

_SHARED = ("N", "ID", "DIR", "RSTRIDE", "MPI")
_OURS = {
    "METAD": {"FILE", "RESTART", *(f"WALKERS_{end}" for end in _SHARED)},
    "PRINT": {"FILE"},
}
_MAY_CHANGE = {"HEIGHT", "PACE"}
_SETUP = ("MOLINFO", "UNITS", "WHOLEMOLECULES")
_BIAS = re.compile("METAD|RESTRAINT|(UPPER|LOWER)_WALLS|EXTERNAL|MOVINGRESTRAINT|BIASVALUE")
_CELL = {"VOLUME", "CELL"}
_FORGETFUL = re.compile(
    r"PBMETAD|OPES_.*|ABMD|MAXENT|EDS|VES_.*|OPT_.*|DRR|LOGMFD|FISST|FUNNEL|BF_.*|FLYING_GAUSSIAN"
    r"|ADAPTIVE_PATH|RESCALE|EMMI|BAIES|MAZE_.*"
)
_TIME_PS = {"FS": 1e-3, "PS": 1.0, "NS": 1e3, "US": 1e6, "MS": 1e9, "S": 1e12}
_SAFE_LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_LIBRARY = re.compile(r"[\w./+-]+\.(so|dylib)")
_NEEDS_KT = {"BIASFACTOR", "DAMPFACTOR", "TTBIASFACTOR", "TARGET", "ACCELERATION", "CALC_RCT"}

Edit = tuple[int, int, str]
"""From offset, to offset, what stands there instead."""


@dataclass(frozen=True)
class Word:
    """One word of the text: what it says, and where (offsets, and the line counted from 1)."""

    text: str
    start: int
    end: int
    line: int

    @property
    def key(self) -> str:
        """Upper-case text before `=`; the whole word where it has none (a flag)."""
        return self.text.partition("=")[0].upper()

    @property
    def value(self) -> str | None:
        """Text after `=` without the braces around it, white space made single; None: a flag."""
        _, equals, value = self.text.partition("=")
        if value.startswith("{") and value.endswith("}"):
            value = value[1:-1]
        return " ".join(value.split()) if equals else None


@dataclass(frozen=True)
class Action:
    """One action: upper-case name, label (None: PLUMED makes one up), words after the name."""

    name: str
    label: str | None
    words: tuple[Word, ...]
    name_word: Word

    @property
    def line(self) -> int:
        """Line of the action's name, counted from 1."""
        return self.name_word.line

    def get(self, key: str) -> str | None:
        """The value of a key (the last one counts, as for PLUMED); '' for a flag, None: absent."""
        found = [word.value or "" for word in self.words if word.key == key]
        return found[-1] if found else None


@dataclass(frozen=True)
class MetadFiles:
    """What phasewalk sets in one METAD action of one walker.

    Attributes:
        file: name of the hills file; with `walkers` > 1 PLUMED appends `.0`, `.1`, …
        restart: read the hills that its file, and those of the others, already hold.
        walkers: how many walkers share hills through files; one of them may be a file of earlier
            hills alone.
        walker_id: which of them this one is.
        stride: steps between looks at the others' files; None: as often as hills are laid.
        mpi: share hills through MPI instead.
        temperature_K: the walker's; METAD gets it where it needs one and has no TEMP.
    """

    file: str
    restart: bool
    walkers: int = 1
    walker_id: int = 0
    stride: int | None = None
    mpi: bool = False
    temperature_K: float | None = None


def parse(text: str) -> tuple[Action, ...]:
    """Read PLUMED text into its actions, up to ENDPLUMED.

    Raises:
        InputError: unbalanced braces, an open `...` block, INCLUDE, or LOAD of a source file.
    """
    actions = []
    for words in _statements(text):
        action = _action(words)
        if action.name == "ENDPLUMED":
            break
        _check_self_contained(action)
        actions.append(action)
    return tuple(actions)


def metad_actions(text: str) -> dict[str, Action]:
    """The METAD actions by key: the label, or `metad1`, `metad2`, … (by position) without one.

    Raises:
        InputError: a bias whose history cannot be carried from round to round.
    """
    found: dict[str, Action] = {}
    for action in parse(text):
        _check_history(action)
        if action.name != "METAD":
            continue
        key = action.label or f"metad{len(found) + 1}"
        if not _SAFE_LABEL.fullmatch(key):
            raise _error(action, f"label {key!r}: use letters, digits, '-' and '_' only")
        if key in found:
            raise _error(action, f"the label {key} is used twice")
        pace(action)
        found[key] = action
    return found


def pace(action: Action) -> int:
    """Steps between two hills of a METAD action."""
    value = action.get("PACE") or "(missing)"
    if not re.fullmatch(r"0*[1-9][0-9]{0,11}", value):
        raise _error(action, f"PACE={value}: needs a whole number of steps, 1 or more")
    return int(value)


def time_unit_ps(text: str) -> float:
    """Picoseconds in one time unit of the text (UNITS TIME=…; PLUMED's own is ps)."""
    for action in parse(text):
        if action.name != "UNITS":
            continue
        if action.get("NATURAL") is not None:
            raise _error(action, "NATURAL units: name real ones, such as TIME=fs ENERGY=kj/mol")
        value = (action.get("TIME") or "ps").upper()
        if value in _TIME_PS:
            return _TIME_PS[value]
        if not re.fullmatch(r"[0-9]*\.?[0-9]+(E[-+]?[0-9]{1,2})?", value) or float(value) <= 0.0:
            raise _error(action, f"TIME={value}: use one of {', '.join(_TIME_PS)}, or ps in a unit")
        return float(value)
    return 1.0


def print_count(text: str) -> int:
    """How many PRINT actions the text has."""
    return sum(action.name == "PRINT" for action in parse(text))


def bias_on_cell(text: str) -> str | None:
    """The first bias that depends on VOLUME or CELL, also through functions; None where none."""
    actions = parse(text)
    labelled = {action.label: action for action in actions if action.label}
    for action in actions:
        below = _ancestors(action, labelled) if _BIAS.fullmatch(action.name) else set()
        if _CELL & {labelled[label].name for label in below}:
            return f"{action.name} on line {action.line}"
    return None


def check_same_physics(old: str, new: str) -> None:
    """Raise InputError where recorded hills of `old` would mean something else in `new`.

    Compared are METAD's own words but HEIGHT and PACE, the variables that it depends on, and UNITS.
    Walls, restraints, PRINT, HEIGHT and PACE may change between rounds; METAD may be added.
    """
    before, after = _meaning(old), _meaning(new)
    for key, line in before.items():
        now = after.get(key, "(nothing)")
        if now != line:
            raise InputError(
                f"PLUMED text: '{line}' became '{now}', but hills recorded with the former exist "
                "(only HEIGHT and PACE may change); undo it, or start a new campaign"
            )


def is_file_name(text: str) -> bool:
    """Whether `plumed:` names a file: PLUMED text has more than one word."""
    return len(text.split()) == 1


def rewrite(
    text: str,
    *,
    metad: Mapping[str, MetadFiles],
    colvars: Sequence[str],
    edits: Sequence[Edit] = (),
) -> str:
    """The text with METAD's files and PRINT's FILE set; every other byte stays.

    Args:
        text: the user's.
        metad: for each key of `metad_actions`, its file and walkers.
        colvars: file names for the PRINT actions, in their order.
        edits: others to make, of other words than these.
    """
    files = iter(colvars)
    keys = {action.name_word.start: key for key, action in metad_actions(text).items()}
    made = list(edits)
    for action in parse(text):
        if action.name == "METAD":
            ours = _metad_words(metad[keys[action.name_word.start]], action)
        elif action.name == "PRINT":
            ours = f"FILE={next(files)}"
        else:
            continue
        made.append((action.name_word.end, action.name_word.end, f" {ours}"))
        made += [
            (len(text[: word.start].rstrip(" \t")), word.end, "")
            for word in action.words
            if word.key in _OURS[action.name]
        ]
    for start, end, replacement in sorted(made, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


def _metad_words(files: MetadFiles, action: Action) -> str:
    stride = files.stride or pace(action)
    words = f"FILE={files.file} RESTART={'YES' if files.restart else 'NO'}"
    if files.walkers > 1:
        words += f" WALKERS_N={files.walkers} WALKERS_ID={files.walker_id} WALKERS_RSTRIDE={stride}"
    keys = {word.key for word in action.words}
    if files.temperature_K is not None and keys & _NEEDS_KT and "TEMP" not in keys:
        words += f" TEMP={files.temperature_K:.12g}"
    return f"{words} WALKERS_MPI" if files.mpi else words


def _words(text: str) -> Iterator[Word]:
    """Words in order; braces hold a word together, also over line ends; comments are skipped."""
    blank = re.sub(r"#[^\n]*", lambda match: " " * len(match[0]), text)
    depth, start = 0, None
    for index, char in enumerate([*blank, "\n"]):
        if char.isspace() and depth == 0:
            if start is not None:
                line = text.count("\n", 0, start) + 1
                yield Word(blank[start:index], start, index, line)
            start = None
            continue
        if start is None and not char.isspace():
            start = index
        depth += (char == "{") - (char == "}")
        if depth < 0:
            raise InputError(f"PLUMED text, line {text.count(chr(10), 0, index) + 1}: stray '}}'")
    if depth > 0 and start is not None:
        raise InputError(
            f"PLUMED text, line {text.count(chr(10), 0, start) + 1}: '{{' is not closed"
        )


def _statements(text: str) -> Iterator[list[Word]]:
    """The words of each action: those of one line, or from `...` to `...`."""
    block: list[Word] | None = None
    for _, line_words in groupby(_words(text), key=lambda word: word.line):
        words = list(line_words)
        if block is not None and words[0].text == "...":
            yield block
            block = None
        elif words[-1].text == "...":
            block = [*(block or []), *words[:-1]]
        elif block is not None:
            block.extend(words)
        else:
            yield words
    if block is not None:
        line = block[0].line if block else 1
        raise InputError(f"PLUMED text, line {line}: the block opened by '...' is never closed")


def _action(words: Sequence[Word]) -> Action:
    if not words or words[0].text == "...":
        raise InputError("PLUMED text: '...' without an action")
    for word in words:
        if set("{}") & set(word.text.partition("=")[0]):  # PLUMED reads F{IL}E=x as FILE=x
            raise InputError(f"PLUMED text, line {word.line}: braces go around values, after '='")
    label = None
    if words[0].text.endswith(":"):
        label, words = words[0].text[:-1], words[1:]
        if not words:
            raise InputError(f"PLUMED text: nothing follows the label '{label}:'")
    action = Action(words[0].text.upper(), label, tuple(words[1:]), words[0])
    return Action(action.name, label or action.get("LABEL"), action.words, words[0])


def _check_self_contained(action: Action) -> None:
    if action.name in ("INCLUDE", "PLUMED"):
        raise _error(action, "paste the file's text here: a campaign keeps its whole PLUMED text")
    if action.name == "_SET_SUFFIX":
        raise _error(action, "remove it: it renames the files that phasewalk reads")
    if action.name == "LOAD" and not _LIBRARY.fullmatch(action.get("FILE") or ""):
        raise _error(action, "only a compiled library (FILE=name.so) can be loaded")


def _check_history(action: Action) -> None:
    """InputError for a history that HILLS does not hold."""
    if _FORGETFUL.fullmatch(action.name):
        raise _error(action, "its history cannot be carried from round to round; use METAD")
    for key in ("GRID_RFILE", "GRID_WFILE", "FREQUENCY_ADAPTIVE", "FLYING_GAUSSIAN"):
        if action.name == "METAD" and action.get(key) is not None:
            raise _error(action, f"{key}: remove it; phasewalk itself keeps the hills")


def _ancestors(action: Action, labelled: Mapping[str, Action]) -> set[str]:
    """Labels of all actions that this one depends on, also through others."""
    found: set[str] = set()
    todo = [action]
    while todo:
        new = _references(todo.pop(), labelled) - found
        found |= new
        todo += [labelled[label] for label in new]
    return found


def _references(action: Action, labelled: Mapping[str, Action]) -> set[str]:
    """Labels that an action's values name; a pattern (`*`, a regular expression) means all."""
    values = [word.value for word in action.words if word.value and word.key != "LABEL"]
    argument = action.get("ARG") or ""
    if "*" in argument or "(" in argument:
        return {label for label, other in labelled.items() if other is not action}
    names = {name.partition(".")[0] for value in values for name in re.split(r"[,\s{}()]+", value)}
    return {name for name in names if name in labelled and labelled[name] is not action}


def _canonical(action: Action, without: Set[str] = frozenset()) -> str:
    skip = _OURS.get(action.name, set()) | without | {"LABEL"}
    words = {
        word.key: word.key if word.value is None else f"{word.key}={word.value}"
        for word in action.words
        if word.key not in skip
    }
    head = f"{action.label}: {action.name}" if action.label else action.name
    return " ".join([head, *(words[key] for key in sorted(words))])


def _meaning(text: str) -> dict[str, str]:
    """What gives recorded hills their meaning: METAD, the variables below it, and set-up."""
    actions = parse(text)
    labelled = {action.label: action for action in actions if action.label}
    metads = metad_actions(text)
    below = {label for action in metads.values() for label in _ancestors(action, labelled)}
    meaning = {label: _canonical(labelled[label]) for label in sorted(below)}
    meaning |= {key: _canonical(action, _MAY_CHANGE) for key, action in metads.items()}
    if metads:
        for name in _SETUP:
            lines = [_canonical(action) for action in actions if action.name == name]
            meaning[f"setup {name}"] = "; ".join(lines) or f"(no {name})"
    return meaning


def _error(action: Action, message: str) -> InputError:
    return InputError(f"PLUMED text, line {action.line}, {action.name}: {message}")
