"""Checks of a PLUMED input for actions that do not work here or silently give wrong values.

`check` needs only the input, `check_structure` also the structure. `notices` returns warnings about
input that is possible, but probably a mistake.
"""

import difflib
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce

from ..errors import InputError
from .plumed import Action, parse

_REPLICAS = re.compile(
    r"\w*REPLICAS|RANDOM_EXCHANGES|BIASEXCHANGE|ENSEMBLE|LOCALENSEMBLE|METAINFERENCE|SHADOW"
)
_REPLICA_KEYS = {("METAD", "RECT"), ("EFFECTIVE_ENERGY_DRIFT", "ENSEMBLE")}
_UPDATE = ("UPDATE_FROM", "UPDATE_UNTIL")
_ATOMS = re.compile(
    r"ATOMS?[0-9]*|GROUP[ABC]?[0-9]*|SPECIES[ABC]?|DONORS|ACCEPTORS|HYDROGENS|BRIDGING_ATOMS"
    r"|ORIGIN|ENTITY[0-9]+|VESSEL"
)
_RANGE = re.compile(r"([0-9]{1,12})(?:-([0-9]{1,12})(?::[0-9]+)?)?")
_LENGTH_A = {"NM": 10.0, "A": 1.0, "UM": 1e4, "BOHR": 0.529177210903}
_NEAREST = {"CONTACTMAP"}
"""Actions that are defined by nearest images."""
REACH = 0.05
"""Maximum of a switching function at half of the cell; above it, further images contribute."""

_SHAPES: Mapping[str, Callable[[float], float]] = {
    "EXP": lambda x: math.exp(-x),
    "GAUSSIAN": lambda x: math.exp(-0.5 * x * x),
    "FASTGAUSSIAN": lambda x: math.exp(-0.5 * x * x),
    "TANH": lambda x: 1.0 - math.tanh(x),
    "COSINUS": lambda x: 0.5 * (math.cos(math.pi * x) + 1.0) if x <= 1.0 else 0.0,
    "CUBIC": lambda x: 0.0,
}


def check(text: str) -> None:
    """Raise InputError for actions that do not work in walkers, and for unknown labels in ARG."""
    conditional: Action | None = None
    actions = parse(text)
    for action in actions:
        _check_replicas(action)
        if action.name == "UPDATE_IF":
            conditional = None if action.get("END") is not None else action
        if action.name == "METAD":
            _check_regular(action, conditional)
        _check_labels(action, {one.label: one.line for one in actions if one.label})


def _check_replicas(action: Action) -> None:
    """Raise InputError for replicas: walkers are independent instances of PLUMED."""
    word = next((w.text for w in action.words if "@replicas:" in w.text.lower()), None)
    if word is not None:
        raise _error(
            action,
            f"{word}: all walkers read the same text and would use the first value; give one "
            "value, or define one system per value",
        )
    keys = [word.key for word in action.words if (action.name, word.key) in _REPLICA_KEYS]
    if _REPLICAS.fullmatch(action.name) or keys or action.get("DOSCORE") is not None:
        raise _error(
            action,
            f"{keys[0] if keys else action.name} needs communicating replicas, and walkers do not "
            "communicate; remove it (bias_sharing shares the hills of METAD)",
        )


def _check_regular(metad: Action, conditional: Action | None) -> None:
    """Raise InputError if METAD does not deposit a hill every PACE steps, or one without width."""
    for sigma in (metad.get("SIGMA") or "").split(","):
        width = _number(sigma)
        if width is not None and width <= 0.0:  # PLUMED accepts it
            raise _error(metad, f"SIGMA={metad.get('SIGMA')}: must be greater than 0")
    key = next((key for key in _UPDATE if metad.get(key) is not None), None)
    if key is not None:
        raise _error(
            metad,
            f"{key} is not supported: phasewalk expects a hill every PACE steps, and time "
            "continues from round to round; remove it (METAD may be added in a later round)",
        )
    if conditional is not None:
        raise _error(
            metad,
            f"it is inside the UPDATE_IF of line {conditional.line}, but phasewalk expects a hill "
            "every PACE steps; put it before UPDATE_IF",
        )


def _check_labels(action: Action, labels: Mapping[str, int]) -> None:
    """Raise InputError unless ARG names labels above it, their components or shortcuts' parts."""
    for word in action.words:
        if not re.fullmatch("ARG[0-9]*", word.key) or re.search(r"[*()@{}]", word.value or ""):
            continue
        for name in re.split(r"[,\s]+", word.value or ""):
            label = name.partition(".")[0]
            made = any(re.match(rf"{re.escape(known)}[_-]", label) for known in labels)
            if not label or made or _number(label) is not None:
                continue
            if labels.get(label, action.line) > action.line:
                raise _error(
                    action,
                    f"{word.text}: {label} is defined later, on line {labels[label]}; "
                    "move that line above this one",
                )
            if label not in labels:
                close = difflib.get_close_matches(label, labels, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]}?" if close else f"labels: {', '.join(labels)}"
                raise _error(action, f"{word.text}: no label {label} in the text; {hint}")


def check_structure(text: str, atoms: Atoms) -> None:
    """Raise InputError if the input does not match the structure: atom numbers and cell size."""
    for action in parse(text):
        _check_atoms(action, atoms)
    _check_reach(text, atoms)


def _check_atoms(action: Action, atoms: Atoms) -> None:
    for word in action.words:
        if not _ATOMS.fullmatch(word.key):
            continue
        for name in re.split(r"[,\s]+", word.value or ""):
            match = _RANGE.fullmatch(name)
            for number in map(int, filter(None, match.groups())) if match else ():
                if not 1 <= number <= len(atoms):
                    raise _error(
                        action,
                        f"{word.key}: atom {number} does not exist; the structure has {len(atoms)} "
                        "atoms (numbered from 1, in the order of its file)",
                    )


def length_A(text: str) -> float:
    """Å in one length unit of the input (UNITS LENGTH=…; PLUMED's default is nm)."""
    value = next((a.get("LENGTH") for a in parse(text) if a.name == "UNITS"), None) or "nm"
    number = _number(value)
    return _LENGTH_A.get(value.upper(), 10.0 * number if number else 10.0)


def half_cell_A(atoms: Atoms) -> float:
    """Half of the shortest lattice vector (Å); a pair has at most one image within it."""
    reduced, _ = minkowski_reduce(atoms.cell.array)
    return 0.5 * float(np.linalg.norm(reduced, axis=1).min())


def _check_reach(text: str, atoms: Atoms) -> None:
    """Check sums over pairs, for which PLUMED uses only nearest images."""
    unit, half = length_A(text), half_cell_A(atoms)
    for action in parse(text):
        for key, switch in _switches(action):
            left = _left(switch, half / unit)
            if left is not None and left > REACH:
                raise _error(
                    action,
                    f"{key} extends beyond half of the cell: at {half:.2f} Å, half of the shortest "
                    f"lattice vector, its value is {left:.2f} (limit {REACH:g}), and PLUMED counts "
                    "only the nearest image of a pair; use a larger cell, or a cutoff: "
                    f"SWITCH={{RATIONAL R_0=… D_MAX={0.95 * half / unit:.3g}}}" + _unit_hint(text),
                )
        radius = _number(action.get("MAXR") or "")
        if radius and radius * unit > half:
            raise _error(
                action,
                f"MAXR={radius:g} is {radius * unit:.2f} Å, more than half of the shortest lattice "
                f"vector ({half:.2f} Å), and PLUMED counts only the nearest image of a pair; use a "
                f"larger cell or a smaller MAXR{_unit_hint(text)}",
            )


def _switches(action: Action) -> Iterator[tuple[str, dict[str, str]]]:
    """Key and parameters of each switching function of an action with many pairs."""
    if action.name in _NEAREST or action.get("ARG") is not None or action.get("NOPBC") is not None:
        return
    for word in action.words:
        if re.fullmatch("SWITCH[0-9]*", word.key) and word.value:
            name, *pairs = word.value.split()
            found = {k.upper(): v for k, _, v in (pair.partition("=") for pair in pairs)}
            yield f"{word.key}={{{word.value}}}", {"": name.upper(), **found}
    if action.get("R_0") and action.get("SWITCH") is None:
        keys = ("R_0", "D_0", "NN", "MM", "D_MAX")
        found = {key: value for key in keys if (value := action.get(key))}
        yield f"R_0={found['R_0']}", {"": "RATIONAL", **found}


def _left(switch: Mapping[str, str], distance: float) -> float | None:
    """Value of the function at a distance, in the input's unit; None if it is not known.

    PLUMED shifts and stretches a function with D_MAX so that it is zero there.
    """
    end = _number(switch.get("D_MAX", ""))
    if end is not None and end <= distance:
        return 0.0
    here = _unstretched(switch, distance)
    there = _unstretched(switch, end) if end is not None and here is not None else 0.0
    if here is None or there is None or there >= 1.0:
        return here
    return (here - there) / (1.0 - there)


def _unstretched(switch: Mapping[str, str], distance: float) -> float | None:
    numbers = {key: _number(value) for key, value in switch.items() if key}
    if any(value is None for key, value in numbers.items() if key in ("R_0", "D_0", "NN", "MM")):
        return None
    end = numbers.get("D_MAX")
    start, scale = numbers.get("D_0") or 0.0, numbers.get("R_0") or 0.0
    if switch[""] == "CUBIC":
        scale = (end or 0.0) - start
        x = (distance - start) / scale if scale > 0.0 else 1.0
        return 1.0 if x <= 0.0 else (x - 1.0) ** 2 * (1.0 + 2.0 * x)
    if scale <= 0.0:
        return None
    x = (distance - start) / scale
    try:
        return 1.0 if x <= 0.0 else _shape(switch[""], x, numbers)
    except (OverflowError, ZeroDivisionError):  # powers out of range
        return 0.0 if x > 1.0 else None


def _shape(name: str, x: float, numbers: Mapping[str, float | None]) -> float | None:
    """A switching function of the reduced distance x > 0; None for an unknown function."""
    if name == "RATIONAL":
        n = numbers.get("NN") or 6.0
        m = numbers.get("MM") or 2.0 * n
        return n / m if abs(x - 1.0) < 1e-6 or n == m else (1.0 - x**n) / (1.0 - x**m)
    if name == "SMAP":
        a, b = numbers.get("A") or 1.0, numbers.get("B") or 1.0
        return float((1.0 + (2.0 ** (a / b) - 1.0) * x**a) ** (-b / a)) if a * b > 0.0 else None
    shape = _SHAPES.get(name)
    return shape(x) if shape else None


def notices(text: str, atoms: Atoms, temperatures_K: Collection[float]) -> list[str]:
    """Warnings about possible, but probably unintended input.

    Args:
        text: PLUMED input.
        atoms: the start structure.
        temperatures_K: temperatures of the walkers in all rounds.
    """
    actions = parse(text)
    found = []
    if actions and "UNITS" not in {action.name for action in actions}:
        found.append("no UNITS line: units are nm, kJ/mol, ps and radians")
    for action in actions:
        given = _number(action.get("TEMP") or "")
        if given is not None and not any(math.isclose(given, t) for t in temperatures_K):
            shown = " to ".join(
                f"{t:g}" for t in sorted({min(temperatures_K), max(temperatures_K)})
            )
            found.append(
                f"line {action.line}, {action.name}: TEMP={given:g}, but the temperature of the "
                f"walkers is {shown} K; remove TEMP to use that"
            )
    return found + list(_too_large(text, atoms))


def _too_large(text: str, atoms: Atoms) -> Iterator[str]:
    """Warnings about widths of hills and positions of walls outside the variable's range."""
    unit, half = length_A(text), half_cell_A(atoms)
    largest = {
        "VOLUME": (atoms.get_volume(), unit**3, "Å³", "the cell's volume"),
        "DISTANCE": (
            half,
            unit,
            "Å",
            "half of the shortest lattice vector, beyond which another image may be nearer",
        ),
    }
    kinds = {action.label: action.name for action in parse(text) if action.label}
    for action in parse(text):
        names = re.split(r"[,\s]+", action.get("ARG") or "")
        for key in ("SIGMA", "AT"):
            values = (action.get(key) or "").split(",")
            for name, value in zip(names, values, strict=False):
                if kinds.get(name) not in largest or (number := _number(value)) is None:
                    continue
                limit, scale, what, why = largest[kinds[name]]
                if number * scale > limit * (1.0 if (key, what) != ("AT", "Å³") else 8.0):
                    yield (
                        f"line {action.line}, {action.name}: {key}={number:g} for {name} is "
                        f"{number * scale:g} {what}, more than {why} ({limit:.4g} {what})"
                        f"{_unit_hint(text)}"
                    )


def _unit_hint(text: str) -> str:
    units = "UNITS" in {action.name for action in parse(text)}
    return "" if units else " (without a UNITS line PLUMED's length unit is nm)"


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _error(action: Action, message: str) -> InputError:
    return InputError(f"PLUMED text, line {action.line}, {action.name}: {message}")
