"""Errors of the decks of earlier versions, and warnings about results sampled with them."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from ..store import Record, Segment, each
from ..walkers import DECK, SystemSettings

KEY = "deck"
"""Key in the journal's record of a segment and in a free energy's identity; absent: version 1."""
WHERE = "see “Ensembles” in docs/conventions.md"


def of_rounds(records: Sequence[Record], systems: Mapping[str, SystemSettings]) -> list[str]:
    """Warnings about rounds sampled with an earlier deck; empty if there is no relevant error.

    Args:
        records: the journal of a campaign.
        systems: its settings, by name.
    """
    walked = {record.round: segment.deck for record, segment in each(records, Segment)}
    lines = []
    for version in sorted(set(walked.values())):
        wrong = sorted({w for system in systems.values() for w in _faults(version, system)})
        if wrong:
            rounds = _ranges(sorted(n for n, one in walked.items() if one == version))
            lines.append(
                f"{rounds} sampled with deck version {version}: {_listed(wrong)} ({WHERE}); labels "
                "are correct, but the distributions of temperature and volume are not"
            )
    return lines


def of_free_energy(version: int, system: SystemSettings | None) -> str:
    """Errors of a free energy sampled with a deck; empty if there are none."""
    wrong = [] if system is None else _faults(version, system)
    return f"sampled with deck version {version}: {_listed(wrong)} ({WHERE})" if wrong else ""


def _faults(version: int, system: SystemSettings) -> list[str]:
    """Errors of a deck in the ensemble of a system, as text."""
    if version >= DECK:
        return []
    npt, chains = system.ensemble == "npt", system.thermostat == "nose-hoover"
    return [
        *["the barostat used the instantaneous temperature at the start"] * (npt and not chains),
        *["the cell was at rest at the start of each segment"] * npt,
        *["the Langevin thermostat was too hot"] * (system.thermostat == "langevin"),
        *["the Nosé–Hoover chains started at zero in each segment"] * chains,
    ]


def _listed(clauses: Sequence[str]) -> str:
    """Join clauses: a, b and c."""
    first, last = clauses[:-1], clauses[-1]
    return f"{', '.join(first)} and {last}" if first else last


def _ranges(rounds: Sequence[int]) -> str:
    """Rounds as text: "rounds 1–3, 5 were"."""
    parts = []
    for _, group in groupby(enumerate(rounds), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in group]
        first, last = numbers[0], numbers[-1]
        parts.append(f"{first}–{last}" if last > first else f"{first}")
    return f"rounds {', '.join(parts)} were" if len(rounds) > 1 else f"round {parts[0]} was"
