"""Units of values in a PLUMED input, for axes, from its UNITS line and the kind of each action.

PLUMED's default units are nm, kJ/mol, ps and radians (PLUMED manual, UNITS).
"""

import re
from collections.abc import Mapping

from ..errors import PhasewalkError
from . import plumed
from .plumed import Action

LENGTHS = {"NM": "nm", "A": "Å", "UM": "µm", "BOHR": "bohr"}
ENERGIES = {"KJ/MOL": "kJ/mol", "KCAL/MOL": "kcal/mol", "J/MOL": "J/mol", "EV": "eV", "HA": "Ha"}
OF_LENGTH = {
    "DISTANCE", "POSITION", "CELL", "RMSD", "DRMSD", "GYRATION",
}  # fmt: skip
"""Actions whose value is a length; GYRATION has other values, too, depending on TYPE."""
OF_ENERGY = re.compile(
    "ENERGY|METAD|RESTRAINT|(UPPER|LOWER)_WALLS|MOVINGRESTRAINT|EXTERNAL|BIASVALUE"
)
OF_ANGLE = {"ANGLE", "TORSION"}
PLAIN = {"COORDINATION", "COORDINATIONNUMBER", "CONTACTMAP", "ALPHARMSD", "ANTIBETARMSD",
         "PARABETARMSD", "Q3", "Q4", "Q6", "ALPHABETA", "DIHCOR"}  # fmt: skip
"""Actions whose value has no unit."""
FROM_ARGUMENTS = {"LOWEST", "HIGHEST", "SORT", "ENSEMBLE", "TIME_AVERAGE"}


def units(text: str | None) -> dict[str, str]:
    """The unit of each labelled value, as shown on an axis.

    Args:
        text: PLUMED input.

    Returns:
        Name → unit; '' for a number without unit. Values of unknown unit (CUSTOM, MATHEVAL, paths,
        an unreadable input) are missing. For components (`d.x`) see `of`.
    """
    try:
        actions = plumed.parse(text or "")
    except PhasewalkError:
        return {}
    length, energy = (
        _unit(actions, "LENGTH", LENGTHS, "nm"),
        _unit(actions, "ENERGY", ENERGIES, "kJ/mol"),
    )
    found: dict[str, str] = {}
    for action in actions:
        unit = _of_action(action, length, energy, found)
        if action.label and unit is not None:
            found[action.label] = unit
    return found


def energy(text: str | None) -> str:
    """The unit of energies in a PLUMED input; PLUMED's default if the input cannot be read."""
    try:
        return _unit(plumed.parse(text or ""), "ENERGY", ENERGIES, "kJ/mol")
    except PhasewalkError:
        return "kJ/mol"


def of(name: str, known: Mapping[str, str]) -> str | None:
    """The unit of a value or component; None if it is not known."""
    return known.get(name, known.get(name.partition(".")[0]))


def axis(name: str, unit: str | None) -> str:
    """The title of an axis."""
    if unit is None:
        return f"{name} (unit of the PLUMED text)"
    return f"{name}, {unit}" if unit else name


def _unit(actions: tuple[Action, ...], key: str, names: Mapping[str, str], own: str) -> str:
    """The unit of lengths or energies: a name, or a multiple of PLUMED's default."""
    for action in actions:
        if action.name == "UNITS" and action.get("NATURAL") is not None:
            return "natural units"
        if action.name == "UNITS" and (value := action.get(key)):
            return names.get(value.upper(), own if _is_one(value) else f"{value} {own}")
    return own


def _is_one(value: str) -> bool:
    try:
        return float(value) == 1.0
    except ValueError:
        return False


def _power(unit: str, power: int) -> str:
    """A unit to a power, in parentheses if it contains a number."""
    whole = f"({unit})" if " " in unit else unit
    return whole + {2: "²", 3: "³"}[power]


def _of_action(action: Action, length: str, energy: str, known: Mapping[str, str]) -> str | None:
    """The unit of an action's value; None if it is not known."""
    name = action.name
    if name == "VOLUME":
        return _power(length, 3)
    if OF_ENERGY.fullmatch(name):
        return energy
    if name in OF_ANGLE:
        return "" if action.get("COSINE") is not None else "rad"
    if name in PLAIN:
        return ""
    if name in OF_LENGTH:
        return _of_length(action, length)
    arguments = [one for one in (action.get("ARG") or "").split(",") if one]
    of_arguments = {of(one, known) for one in arguments}
    if name == "COMBINE":
        return _of_combination(action, of_arguments)
    if name in FROM_ARGUMENTS and len(of_arguments) == 1:
        return of_arguments.pop()
    return None


def _of_length(action: Action, length: str) -> str | None:
    """The unit of an action with lengths: a length, its square, none, or unknown (None)."""
    if action.get("SCALED_COMPONENTS") is not None:
        return ""
    if action.get("SQUARED") is not None:
        return _power(length, 2)
    kind = (action.get("TYPE") or "RADIUS").upper()
    if action.name == "GYRATION" and not (kind == "RADIUS" or kind.startswith("GTPC")):
        return "" if kind == "KAPPA2" else None
    return length


def _of_combination(action: Action, units_: set[str | None]) -> str | None:
    """The unit of a sum of values with the same unit; None with powers or different units."""
    powers = {one for one in (action.get("POWERS") or "1").split(",") if one}
    if len(units_) == 1 and all(map(_is_one, powers)):
        return units_.pop()
    return None
