"""Compute the variables that METAD biases for given frames, with PLUMED.

PLUMED reads the user's input without biases and output. Each METAD is replaced by a PRINT of its
ARG, so that a pattern in ARG (`d.*`) keeps its meaning. Actions after the last METAD are omitted.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
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
"""File to which PLUMED prints the variables of the n-th METAD action."""
_BIAS = re.compile(
    "METAD|RESTRAINT|(UPPER|LOWER)_WALLS|EXTERNAL|MOVINGRESTRAINT|BIASVALUE|EXTENDED_LAGRANGIAN"
)
_OUTPUT = {"PRINT", "FLUSH", "RESTART", "COMMITTOR", "EFFECTIVE_ENERGY_DRIFT"}
_NOT_OF_A_FRAME = {"ENERGY", "EXTRACV"}
"""Actions whose values come from the MD program and are not known for a single frame."""
STILL = 0.005
"""A warning is given if displaced atoms change a variable by less than this × SIGMA."""
_NO_LABELS = {"LABEL", "FUNC", "VAR", "FILE"}
"""Keys whose values do not refer to other actions."""


@dataclass(frozen=True)
class Values:
    """Values of the biased variables for a series of frames.

    Attributes:
        names: names of the d variables, as in METAD's ARG, with patterns expanded.
        values: (n, d), in the units of the PLUMED input, in the order of the frames.
    """

    names: tuple[str, ...]
    values: Annotated[NDArray[np.float64], numbers(None, None)]


def variables(text: str) -> tuple[tuple[str, ...], str]:
    """The variables that METAD biases, and a PLUMED input that only prints them.

    Args:
        text: the user's PLUMED input.

    Returns:
        The arguments of all METAD actions as written, in their order, without duplicates; and the
        input without biases and output, with one PRINT to `PRINTED` per METAD. No names and '' if
        the input has no METAD.

    Raises:
        InputError: a METAD has no ARG, or its variables depend on a bias or cannot be computed
            from a single frame.
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
    """A job that computes the biased variables of frames with PLUMED, in LAMMPS.

    Args:
        name: name of the job.
        text: PLUMED input of the system.
        frames: frames of this system, with the same elements in the same order.
        directory: working directory.
        env: environment of LAMMPS, with the plugin's directory.
        files: files that PLUMED reads in addition to its input: name → content.

    Raises:
        InputError: the input has no METAD, or the frames are missing or of different systems.
    """
    names, reduced = variables(text)
    if not names:
        raise InputError(
            f"{name}: the PLUMED text has no METAD, so there is no variable to compute"
        )
    if not frames:
        raise InputError(f"{name}: no frames given; give at least one")
    first = frames[0]
    for number, atoms in enumerate(frames, start=1):
        if not np.array_equal(atoms.numbers, first.numbers):
            raise InputError(
                f"{name}: the elements of frame {number} or their order differ from frame 1; give "
                "frames of one system only"
            )
    given = files or {}
    beside = {one: given[one] for one in plumed_files.read(reduced) if one in given}
    return Job(
        name=name,
        argv=(sys.executable, "-m", "phasewalk.bias.colvars_child", REQUEST, RESULT),
        directory=directory,
        kind="colvars",
        inputs={**beside, REQUEST: _request(text, frames), PLUMED: reduced.encode()},
        env=env,
    )


def _request(text: str, frames: Sequence[Atoms]) -> bytes:
    """What `colvars_child` reads: JSON of the arguments of each METAD, masses (amu) and frames."""
    masses = {one: carried.mass(frames[0], one) for one in sorted(set(frames[0].symbols))}
    names = [arguments(action) for action in metad_actions(text).values()]
    request = {"arguments": names, "masses": masses}
    content = BytesIO()  # frame by frame: all of them as lists take much more memory than as text
    content.write(json.dumps(request)[:-1].encode() + b', "frames": ')
    for number, atoms in enumerate(frames):
        content.write((b", " if number else b"[") + json.dumps(frame_to_json(atoms)).encode())
    content.write(b"]}")
    return content.getvalue()


def read(finished: Finished) -> Values:
    """The variables in the order of the frames; EngineFailed if LAMMPS or PLUMED failed."""
    finished.require_success()
    path = finished.directory / RESULT
    unlike = "not a valid result of PLUMED"
    found = read_file(path, Values, unlike=unlike)
    if not found.names or found.values.shape[1] != len(found.names):
        count, shape = len(found.names), found.values.shape
        raise ParseError(path, f"{unlike} ({count} names, but values of shape {shape})")
    if not np.isfinite(found.values).all():
        raise ParseError(path, f"{unlike} (a value is not finite)")
    return found


def moved(values: Values, text: str) -> str:
    """Describe the biased variables at the start and their range in displaced frames.

    Args:
        values: values in the start structure, followed by frames with all atoms displaced.
        text: PLUMED input of the system.

    Raises:
        InputError: a variable is the same in all frames, so that a bias on it has no effect.
    """
    sigmas: dict[str, str] = {}
    for action in metad_actions(text).values():
        widths = (action.get("SIGMA") or "").split(",")
        sigmas |= dict(zip(arguments(action), widths, strict=False))
    found = []
    for name, column in zip(values.names, values.values.T, strict=True):
        least, most = float(column.min()), float(column.max())
        if most - least <= 1e-9 * max(abs(least), abs(most)):
            raise InputError(
                f"{name} is {column[0]:.6g} in the start structure and in {len(column) - 1} frames "
                "with all atoms displaced, so a bias on it has no effect; check its atoms and its "
                "lengths (PLUMED's unit is nm unless UNITS sets another)"
            )
        found.append(f"{name} = {column[0]:.6g} ({least:.6g} to {most:.6g} with atoms displaced)")
        with suppress(ValueError):
            if most - least < STILL * float(sigmas.get(name, "")):
                found.append(
                    f"{name} changes by less than {STILL:g} × SIGMA={sigmas[name]}; check its "
                    "units and range"
                )
    return f"at the start {', '.join(found)}"


def is_pattern(name: str) -> bool:
    """Whether a name in ARG may match several values (`d.*`, `*`, a regular expression)."""
    return "*" in name or "(" in name


def arguments(action: Action) -> list[str]:
    """The arguments in ARG; commas and blanks inside parentheses are part of a pattern."""
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
    """The action on one line, with single blanks inside braces."""
    words = [" ".join(word.text.split()) for word in (action.name_word, *action.words)]
    alone = action.label and all(word.key != "LABEL" for word in action.words)
    return " ".join([f"{action.label}:", *words] if alone else words)


def _labels(action: Action) -> set[str]:
    """Labels that the action's values name explicitly, not by a pattern."""
    values = [word.value for word in action.words if word.value and word.key not in _NO_LABELS]
    words = (name for value in values for name in re.split(r"[,\s{}()]+", value))
    return {word.partition(".")[0] for word in words}


def _check(metad: Action, kept: Sequence[Action], left_out: Set[str]) -> None:
    """Raise InputError if a METAD's variables cannot be computed from a single frame."""
    if not arguments(metad):
        raise _error(metad, "no ARG; add ARG with the variables to bias")
    lost = sorted(_labels(metad) & left_out)
    if lost:
        raise _error(
            metad,
            f"{lost[0]} depends on a bias or on output, which cannot be computed from a single "
            "frame; bias another variable",
        )
    for action in _needed(metad, kept):
        if action.name in _NOT_OF_A_FRAME:
            raise _error(
                metad,
                f"it needs {action.name} (line {action.line}), which cannot be computed from a "
                "single frame; its variables are known only if walkers printed them",
            )


def _needed(metad: Action, kept: Sequence[Action]) -> Iterator[Action]:
    """The actions before a METAD on which its variables depend, also indirectly."""
    wanted, everything = _labels(metad), _is_wild(metad)
    for action in reversed(kept):
        if action.label and (everything or action.label in wanted):
            wanted |= _labels(action)
            everything |= _is_wild(action)
            yield action


def _is_wild(action: Action) -> bool:
    """Whether ARG has a pattern for labels (`*`, a regular expression), not only `d.*`."""
    return any(is_pattern(name.partition(".")[0]) for name in arguments(action))


def _error(action: Action, message: str) -> InputError:
    return InputError(brief(f"PLUMED text, line {action.line}, {action.name}: {message}"))
