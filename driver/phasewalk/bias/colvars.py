"""The variables that a system's METAD actions bias, of given frames, computed by PLUMED itself.

What PLUMED gets is the user's text without biases and output. Where a METAD stood, a PRINT of its
ARG stands, so that a pattern in it (`d.*`) means what it meant there; what comes after the last
METAD is left out.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ..errors import InputError, ParseError, brief
from ..files import numbers
from ..files import read as read_file
from ..jobs import Finished, Job
from ..labels import frame_to_json
from ..structures import carried
from . import plumed_files
from .plumed import Action, metad_actions, parse

REQUEST, RESULT, PLUMED = "request.json", "result.json", "plumed.dat"
PRINTED = "printed.{}"
"""Where PLUMED prints the variables of the n-th METAD action."""
_BIAS = re.compile(
    "METAD|RESTRAINT|(UPPER|LOWER)_WALLS|EXTERNAL|MOVINGRESTRAINT|BIASVALUE|EXTENDED_LAGRANGIAN"
)
_OUTPUT = {"PRINT", "FLUSH", "RESTART", "COMMITTOR", "EFFECTIVE_ENERGY_DRIFT"}
_NOT_OF_A_FRAME = {"ENERGY", "EXTRACV"}
"""What PLUMED gets from the program that moves the atoms."""
STILL = 0.005
"""A variable that displaced atoms change by less than this × SIGMA would take hills for nothing."""
_NO_LABELS = {"LABEL", "FUNC", "VAR", "FILE"}
"""Keys whose values name no other action."""


@dataclass(frozen=True)
class Values:
    """The biased variables of some frames.

    Attributes:
        names: of the d variables, as in METAD's ARG; a pattern is replaced by what it stands for.
        values: (n, d), in the units of the PLUMED text, in the order of the frames.
    """

    names: tuple[str, ...]
    values: Annotated[NDArray[np.float64], numbers(None, None)]


def variables(text: str) -> tuple[tuple[str, ...], str]:
    """What the METAD actions of a PLUMED text bias, and the text that prints only that.

    Args:
        text: the user's.

    Returns:
        The arguments of all METAD actions in their order, each once, as they are written there;
        and the text without biases and output, with one PRINT for each METAD, into `PRINTED`.
        No names and '' where the text has no METAD.

    Raises:
        InputError: a METAD without ARG, of what needs a bias, or of what no frame alone tells.
    """
    metads = {action.name_word.start for action in metad_actions(text).values()}
    kept: list[Action] = []
    left_out: set[str] = set()
    lines: list[str] = []
    printed = written = 0
    names: dict[str, None] = {}
    for action in parse(text):
        if action.name_word.start in metads:
            _check(action, kept, left_out)
            names |= dict.fromkeys(arguments(action))
            lines.append(_print(action, PRINTED.format(printed)))
            printed, written = printed + 1, len(lines)
        output = action.name in _OUTPUT or plumed_files.writes(action)
        if _BIAS.fullmatch(action.name) or output or _labels(action) & left_out:
            left_out |= {action.label} if action.label else set()
            continue
        kept.append(action)
        lines.append(_line(action))
    return tuple(names), "".join(f"{line}\n" for line in lines[:written])


def job(
    name: str,
    text: str,
    *,
    frames: Sequence[Atoms],
    directory: Path,
    env: Mapping[str, str],
    files: Mapping[str, bytes] | None = None,
) -> Job:
    """A child process that lets PLUMED compute the biased variables of frames, in LAMMPS.

    Args:
        name: of the job.
        text: the system's PLUMED text.
        frames: of this system: the same elements in the same order, as PLUMED counts atoms.
        directory: where it runs.
        env: environment of LAMMPS, with the plugin's folder.
        files: what PLUMED reads beside its texts: name → content.

    Raises:
        InputError: no METAD in the text, no frames, or frames of different systems.
    """
    names, reduced = variables(text)
    if not names:
        raise InputError(f"{name}: the PLUMED text has no METAD, and so no variable to compute")
    if not frames:
        raise InputError(f"{name}: no frames whose variables could be computed")
    first = frames[0]
    for number, atoms in enumerate(frames, start=1):
        if not np.array_equal(atoms.numbers, first.numbers):
            raise InputError(
                f"{name}: frame {number} has not the elements of frame 1 in their order; give "
                "frames of one system, each with its own PLUMED text"
            )
    request = {
        "arguments": [arguments(action) for action in metad_actions(text).values()],
        "masses": {symbol: carried.mass(first, symbol) for symbol in sorted(set(first.symbols))},
        "frames": [frame_to_json(atoms) for atoms in frames],
    }
    return Job(
        name=name,
        argv=(sys.executable, "-m", "phasewalk.bias.colvars_child", REQUEST, RESULT),
        directory=directory,
        kind="colvars",
        inputs={
            **{
                one: (files or {})[one]
                for one in plumed_files.read(reduced)
                if one in (files or {})
            },
            **{REQUEST: json.dumps(request).encode(), PLUMED: reduced.encode()},
        },
        env=env,
    )


def read(finished: Finished) -> Values:
    """The variables, in the order of the frames; EngineFailed where LAMMPS or PLUMED failed."""
    finished.require_success()
    path = finished.directory / RESULT
    unlike = "not a result of PLUMED's variables"
    found = read_file(path, Values, unlike=unlike)
    if not found.names or found.values.shape[1] != len(found.names):
        count, shape = len(found.names), found.values.shape
        raise ParseError(path, f"{unlike} ({count} names do not fit values of the shape {shape})")
    if not np.isfinite(found.values).all():
        raise ParseError(path, f"{unlike} (a value is not finite)")
    return found


def moved(values: Values, text: str) -> str:
    """What METAD biases at the first frame, and how it changes over the others, in words.

    Args:
        values: of the start structure, and of frames in which all atoms are displaced.
        text: the system's PLUMED text.

    Raises:
        InputError: a variable is the same in all frames, so that no bias could drive it.
    """
    sigmas: dict[str, str] = {}
    for action in metad_actions(text).values():
        widths = (action.get("SIGMA") or "").split(",")
        sigmas |= dict(zip(arguments(action), widths, strict=False))
    told = []
    for name, column in zip(values.names, values.values.T, strict=True):
        least, most = float(column.min()), float(column.max())
        if most - least <= 1e-9 * max(abs(least), abs(most)):
            raise InputError(
                f"{name} is {column[0]:.6g} in the start structure and in {len(column) - 1} frames "
                "with all atoms displaced: no bias can drive what does not change; look at its "
                "atoms, and at its lengths (PLUMED counts in nm unless UNITS says otherwise)"
            )
        told.append(f"{name} = {column[0]:.6g} ({least:.6g} to {most:.6g} with atoms displaced)")
        with suppress(ValueError):
            if most - least < STILL * float(sigmas.get(name, "")):
                told.append(
                    f"{name} hardly changes beside SIGMA={sigmas[name]}: are its units and its "
                    "range right?"
                )
    return f"at the start {', '.join(told)}"


def is_pattern(name: str) -> bool:
    """Whether a name in ARG may stand for several values (`d.*`, `*`, a regular expression)."""
    return "*" in name or "(" in name


def arguments(action: Action) -> list[str]:
    """The arguments of its ARG, apart; commas and blanks inside parentheses belong to a pattern."""
    found, depth = [""], 0
    for char in action.get("ARG") or "":
        depth += (char == "(") - (char == ")")
        if depth <= 0 and (char == "," or char.isspace()):
            found.append("")
        else:
            found[-1] += char
    return [argument for argument in found if argument]


def _print(action: Action, file: str) -> str:
    value = action.get("ARG") or ""
    argument = f"{{{value}}}" if any(map(str.isspace, value)) else value
    return f"PRINT ARG={argument} STRIDE=1 FILE={file} FMT=%.15g"


def _line(action: Action) -> str:
    """The action on one line; white space inside braces is made single."""
    words = [" ".join(word.text.split()) for word in (action.name_word, *action.words)]
    alone = action.label and all(word.key != "LABEL" for word in action.words)
    return " ".join([f"{action.label}:", *words] if alone else words)


def _labels(action: Action) -> set[str]:
    """Labels that the action's values name one by one, not by a pattern."""
    values = [word.value for word in action.words if word.value and word.key not in _NO_LABELS]
    words = (name for value in values for name in re.split(r"[,\s{}()]+", value))
    return {word.partition(".")[0] for word in words}


def _check(metad: Action, kept: Sequence[Action], left_out: Set[str]) -> None:
    """InputError where a METAD's variables cannot be computed from a frame alone."""
    if not arguments(metad):
        raise _error(metad, "it has no ARG: name the variables that it biases")
    lost = sorted(_labels(metad) & left_out)
    if lost:
        raise _error(metad, f"{lost[0]} depends on a bias or is output, which no frame tells")
    for action in _needed(metad, kept):
        if action.name in _NOT_OF_A_FRAME:
            raise _error(
                metad,
                f"it needs {action.name} (line {action.line}), which no frame alone tells; its "
                "variables are known only where walkers printed them",
            )


def _needed(metad: Action, kept: Sequence[Action]) -> Iterator[Action]:
    """The actions before a METAD on which its variables depend, also through others."""
    wanted, everything = _labels(metad), _is_wild(metad)
    for action in reversed(kept):
        if action.label and (everything or action.label in wanted):
            wanted |= _labels(action)
            everything |= _is_wild(action)
            yield action


def _is_wild(action: Action) -> bool:
    """Whether its ARG has a pattern for labels (`*`, a regular expression), not just `d.*`."""
    return any(is_pattern(name.partition(".")[0]) for name in arguments(action))


def _error(action: Action, message: str) -> InputError:
    return InputError(brief(f"PLUMED text, line {action.line}, {action.name}: {message}"))
