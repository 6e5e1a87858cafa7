"""What was wrong with the decks of earlier versions: who sampled with them is told so."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ..store import Record, Segment, each
from ..walkers import DECK, SystemSettings

KEY = "deck"
"""In what the journal says of a segment, and in a free energy's identity; absent: version 1."""
WHERE = "see “Ensembles” in docs/conventions.md"


def of_rounds(records: Sequence[Record], systems: Mapping[str, SystemSettings]) -> list[str]:
    """Sentences on the rounds that were sampled with an older deck; empty where none matters.

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
                f"{rounds} sampled with deck version {version}, {_listed(wrong)}: {WHERE}; their "
                "labels are right, the temperatures and volumes that walkers visited are not"
            )
    return lines


def of(identity: Mapping[str, Any]) -> int:
    """The deck with which a free energy was walked; where nothing is known of it, the present."""
    return int(identity.get(KEY, 1)) if identity else DECK


def of_free_energy(version: int, system: SystemSettings | None) -> str:
    """What is wrong with a free energy that was walked with a deck; empty where nothing is."""
    wrong = [] if system is None else _faults(version, system)
    return f"walked with deck version {version}, {_listed(wrong)} ({WHERE})" if wrong else ""


def _faults(version: int, system: SystemSettings) -> list[str]:
    """What a deck did wrong in a system's ensemble, in words."""
    if version >= DECK:
        return []
    npt, chains = system.ensemble == "npt", system.thermostat == "nose-hoover"
    return [
        *["whose barostat took its temperature from the first instant"] * (npt and not chains),
        *["whose cell began each segment at rest"] * npt,
        *["whose Langevin thermostat ran hot"] * (system.thermostat == "langevin"),
        *["whose Nosé–Hoover chains began each segment empty"] * chains,
    ]


def _listed(clauses: Sequence[str]) -> str:
    """Clauses as one: a, b and c."""
    first, last = clauses[:-1], clauses[-1]
    return f"{', '.join(first)} and {last}" if first else last


def _ranges(rounds: Sequence[int]) -> str:
    """Rounds 1–3, 5 were."""
    parts = []
    for _, group in groupby(enumerate(rounds), key=lambda pair: pair[1] - pair[0]):
        numbers = [number for _, number in group]
        first, last = numbers[0], numbers[-1]
        parts.append(f"{first}–{last}" if last > first else f"{first}")
    return f"rounds {', '.join(parts)} were" if len(rounds) > 1 else f"round {parts[0]} was"
