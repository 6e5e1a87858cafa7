"""The sentinel's limits, and why it stops a walker, in words.

A limit is a keyword of `fix phasewalk/sentinel`, which is the reason of its stop too. What is
compared with it is in the plugin: `kLimitTable` in `breakdown.h`. A deck gets the numbers from
`partitions.limits`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

ENDED = "plumed stop"
"""Reason of a stop requested by the PLUMED input (COMMITTOR), which is not a breakdown."""
ANOTHER, WALLTIME, PLUMED = "another walker", "walltime", "plumed"
BONDS = ("bond broken", "bond formed", "pair too close")
"""Reasons of stops because bonds changed; value and limit are distances, Å."""
HARMLESS = (WALLTIME, ANOTHER, ENDED)
"""Reasons of stops that are not breakdowns."""


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        keyword: of the fix.
        unit: of the value and of the limit.
        stop: what a walker that exceeds it has; with `value`, `limit` and `unit` in braces.
    """

    keyword: str
    unit: str
    stop: str


LIMITS = (
    Limit("force", "eV/Å", "a force of {value:.3g} {unit} (limit {limit:g})"),
    Limit("temperature", "K", "a temperature of {value:.0f} {unit} (limit {limit:g})"),
    Limit("move", "Å", "a displacement of {value:.2g} {unit} in one step (limit {limit:g})"),
    Limit("close", "× the sum of covalent radii", "a pair at {value:.2f} {unit} (limit {limit:g})"),
    Limit("volume", "Å³", "a volume of {value:.0f} {unit} (limit {limit:.0f})"),
    Limit("tilt", "box lengths", "a tilt factor of {value:.2f} {unit} (limit {limit:g})"),
    Limit(WALLTIME, "s", "the time limit of {limit:g} {unit}"),
)
_BY_KEYWORD = {one.keyword: one for one in LIMITS}
OTHERS: Mapping[str, str] = {
    "nan": "values that are not finite",
    PLUMED: "PLUMED: {says}",
    "model": "the model: {says}",
    ENDED: "a stop by PLUMED: {says}",
    ANOTHER: "the stop of another walker that shares its hills",
    BONDS[0]: "a broken bond, {says} of {value:.2f} Å (limit {limit:.2f} Å)",
    BONDS[1]: "a new bond, {says} of {value:.2f} Å (limit {limit:.2f} Å)",
    BONDS[2]: "{says} too close, {value:.2f} Å apart (limit {limit:.2f} Å)",
}
"""What else ends a walker: reason → what is said of it."""


def in_words(reason: str, *, value: float, limit: float, says: str) -> str:
    """Why a walker was stopped; the reason itself if it is none of the known ones."""
    found = _BY_KEYWORD.get(reason)
    if found is None:
        return OTHERS.get(reason, reason).format(says=says, value=value, limit=limit)
    return found.stop.format(value=value, limit=limit, unit=found.unit)
