"""Read the user's PLUMED input, and set the few keywords that phasewalk controls.

PLUMED reads one action per line (`label: NAME KEY=value FLAG`) or an action on several lines from
`...` to `...`. `#` starts a comment, braces enclose values with blanks, names and keys are not case
sensitive (PLUMED manual, "Getting started"). `rewrite` replaces the keywords of METAD for files,
restart and walkers and FILE of PRINT, adds TEMP to METAD if required, and makes the given edits;
all other bytes are unchanged.
"""

import functools
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
_BIAS = re.compile(
    "METAD|OPES_METAD.*|RESTRAINT|(UPPER|LOWER)_WALLS|EXTERNAL|MOVINGRESTRAINT|BIASVALUE"
)
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
"""Start offset, end offset, replacement."""


@dataclass(frozen=True)
class Word:
    """One word of the input: its text, start and end offset, and line (from 1)."""

    text: str
    start: int
    end: int
    line: int

    @property
    def key(self) -> str:
        """Upper-case text before `=`; the whole word if it has no `=` (a flag)."""
        return self.text.partition("=")[0].upper()

    @property
    def value(self) -> str | None:
        """Text after `=` without enclosing braces, with single blanks; None for a flag."""
        _, equals, value = self.text.partition("=")
        if value.startswith("{") and value.endswith("}"):
            value = value[1:-1]
        return " ".join(value.split()) if equals else None


@dataclass(frozen=True)
class Action:
    """One action: upper-case name, label (None: PLUMED chooses one), words after the name."""

    name: str
    label: str | None
    words: tuple[Word, ...]
    name_word: Word

    @property
    def line(self) -> int:
        """Line of the action's name, counted from 1."""
        return self.name_word.line

    def get(self, key: str) -> str | None:
        """The value of a key (PLUMED uses the last one); '' for a flag, None if absent."""
        found = [word.value or "" for word in self.words if word.key == key]
        return found[-1] if found else None


@dataclass(frozen=True)
class MetadFiles:
    """Keywords that phasewalk sets in one METAD action of one walker.

    Attributes:
        file: name of the hills file; with `walkers` > 1 PLUMED appends `.0`, `.1`, …
        restart: read the hills that exist in its file and in those of the other walkers.
        walkers: number of walkers that share hills through files; one of them may be a file of
            earlier hills.
        walker_id: number of this walker among them.
        stride: number of steps between reading the other files; None: PACE.
        mpi: share hills through MPI instead.
        temperature_K: temperature of the walker; added to METAD if it needs TEMP and has none.
    """

    file: str
    restart: bool
    walkers: int = 1
    walker_id: int = 0
    stride: int | None = None
    mpi: bool = False
    temperature_K: float | None = None


@functools.lru_cache(maxsize=256)  # that of a walker is asked for a dozen times a round
def parse(text: str) -> tuple[Action, ...]:
    """Split a PLUMED input into actions, up to ENDPLUMED.

    Raises:
        InputError: unbalanced braces, an unclosed `...` block, INCLUDE, or LOAD of a source file.
    """
    actions = []
    for words in _statements(text):
        action = _action(words)
        if action.name == "ENDPLUMED":
            break
        _check_self_contained(action)
        actions.append(action)
    return tuple(actions)


def metad_actions(text: str, also: Set[str] = frozenset()) -> dict[str, Action]:
    """The METAD actions by key: their label, or `metad1`, `metad2`, … (by position) without one.

    `also` names other biases whose files the caller continues.

    Raises:
        InputError: a bias whose history cannot be continued in the next round.
    """
    found: dict[str, Action] = {}
    for action in parse(text):
        if action.name not in also:
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
    """Number of steps between two hills of a METAD action."""
    value = action.get("PACE") or "(missing)"
    if not re.fullmatch(r"0*[1-9][0-9]{0,11}", value):
        raise _error(action, f"PACE={value}: must be an integer, 1 or more")
    return int(value)


def time_unit_ps(text: str) -> float:
    """Picoseconds in one time unit of the input (UNITS TIME=…; PLUMED's default is ps)."""
    for action in parse(text):
        if action.name != "UNITS":
            continue
        if action.get("NATURAL") is not None:
            raise _error(
                action,
                "NATURAL units are not supported; use real units, such as TIME=fs ENERGY=kj/mol",
            )
        value = (action.get("TIME") or "ps").upper()
        if value in _TIME_PS:
            return _TIME_PS[value]
        if not re.fullmatch(r"[0-9]*\.?[0-9]+(E[-+]?[0-9]{1,2})?", value) or float(value) <= 0.0:
            raise _error(action, f"TIME={value}: use {', '.join(_TIME_PS)}, or a number of ps")
        return float(value)
    return 1.0


def print_count(text: str) -> int:
    """Number of PRINT actions in the input."""
    return sum(action.name == "PRINT" for action in parse(text))


def bias_on_cell(text: str) -> str | None:
    """The first bias that depends on VOLUME or CELL, also through functions; None if none does."""
    actions = parse(text)
    labelled = {action.label: action for action in actions if action.label}
    for action in actions:
        below = _ancestors(action, labelled) if _BIAS.fullmatch(action.name) else set()
        if _CELL & {labelled[label].name for label in below}:
            return f"{action.name} on line {action.line}"
    return None


def check_same_physics(old: str, new: str) -> None:
    """Raise InputError if recorded hills of `old` would have another meaning in `new`.

    METAD's keywords except HEIGHT and PACE, the variables that it depends on, and UNITS must be
    the same. Walls, restraints, PRINT, HEIGHT and PACE may change; METAD may be added.
    """
    before, after = _meaning(old), _meaning(new)
    for key, line in before.items():
        now = after.get(key, "(nothing)")
        if now != line:
            raise InputError(
                f"PLUMED text: '{line}' changed to '{now}', but recorded hills depend on it (only "
                "HEIGHT and PACE may change); undo the change, or start a new campaign"
            )


def is_file_name(text: str) -> bool:
    """Whether `plumed:` names a file: PLUMED input has more than one word."""
    return len(text.split()) == 1


def rewrite(
    text: str,
    *,
    metad: Mapping[str, MetadFiles],
    colvars: Sequence[str],
    edits: Sequence[Edit] = (),
    also: Set[str] = frozenset(),
) -> str:
    """Set the keywords of METAD and FILE of PRINT; all other bytes are unchanged.

    Args:
        text: the user's PLUMED input.
        metad: keywords for each key of `metad_actions`.
        colvars: file names for the PRINT actions, in their order.
        edits: additional edits, of other words.
        also: see `metad_actions`.
    """
    files = iter(colvars)
    keys = {action.name_word.start: key for key, action in metad_actions(text, also).items()}
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
    """Words in order, without comments; blanks and line ends inside braces belong to the word."""
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
            line = text.count("\n", 0, index) + 1
            raise InputError(f"PLUMED text, line {line}: '}}' without '{{'")
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
        raise InputError(f"PLUMED text, line {line}: the block after '...' is not closed")


def _action(words: Sequence[Word]) -> Action:
    if not words or words[0].text == "...":
        raise InputError("PLUMED text: '...' without an action")
    for word in words:
        if set("{}") & set(word.text.partition("=")[0]):  # PLUMED reads F{IL}E=x as FILE=x
            raise InputError(f"PLUMED text, line {word.line}: braces may only enclose values")
    label = None
    if words[0].text.endswith(":"):
        label, words = words[0].text[:-1], words[1:]
        if not words:
            raise InputError(f"PLUMED text: nothing follows the label '{label}:'")
    action = Action(words[0].text.upper(), label, tuple(words[1:]), words[0])
    return Action(action.name, label or action.get("LABEL"), action.words, words[0])


def _check_self_contained(action: Action) -> None:
    if action.name in ("INCLUDE", "PLUMED"):
        raise _error(action, "not supported; copy the content of the file here")
    if action.name == "_SET_SUFFIX":
        raise _error(action, "not supported, because it renames output files; remove it")
    if action.name == "LOAD" and not _LIBRARY.fullmatch(action.get("FILE") or ""):
        raise _error(action, "only compiled libraries (FILE=name.so) can be loaded")


def _check_history(action: Action) -> None:
    """Raise InputError for a bias whose history is not in a HILLS file."""
    if _FORGETFUL.fullmatch(action.name):
        raise _error(action, "its history cannot be continued in the next round; use METAD")
    for key in ("GRID_RFILE", "GRID_WFILE", "FREQUENCY_ADAPTIVE", "FLYING_GAUSSIAN"):
        if action.name == "METAD" and action.get(key) is not None:
            raise _error(
                action, f"{key} is not supported, because phasewalk stores the hills; remove it"
            )


def _ancestors(action: Action, labelled: Mapping[str, Action]) -> set[str]:
    """Labels of all actions that this one depends on, also indirectly."""
    found: set[str] = set()
    todo = [action]
    while todo:
        new = _references(todo.pop(), labelled) - found
        found |= new
        todo += [labelled[label] for label in new]
    return found


def _references(action: Action, labelled: Mapping[str, Action]) -> set[str]:
    """Labels that an action's values refer to; a pattern (`*`, a regular expression) means all."""
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
    """The lines that define recorded hills: METAD, the variables it depends on, and setup."""
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
