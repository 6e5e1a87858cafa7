"""Read a campaign directory: trajectories of walkers, model errors, biases and trainings.

Read-only, also while the campaign runs. A file that cannot be read adds a line to `problems`; it
does not end the report.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from .. import bias
from ..bias import hill_tables, quantities
from ..campaign import CampaignSettings, begun, deck_versions, located, parse
from ..errors import UNREADABLE, InputError, ParseError, PhasewalkError
from ..files import read as read_file
from ..files import read_text, typed
from ..free_energies import correction, free_energy
from ..models import PROGRESS
from ..production import Model, lineage
from ..store import (
    FINAL,
    IDENTITY,
    SEGMENT,
    TRAIN,
    Begun,
    Evaluated,
    Located,
    Record,
    Segment,
    Steered,
    Store,
    Trained,
    check_kept,
    each,
    read_campaign,
    read_identity,
    settings_text,
)
from ..walkers import DECK
from . import compared, library, summary, traces
from .compared import Compared
from .traces import Trace

Array = NDArray[np.float64]
FROM_LOGS = {"volume_A3": "volume, Å³", "temperature_K": "temperature, K"}
"""Titles of axes for quantities from the log."""
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Training:
    """Validation errors of a training: epoch → error, (n,) each; meV/Å, meV/atom, GPa."""

    generation: str
    epochs: Array
    force_mae_meV_per_A: Array


@dataclass(frozen=True)
class History:
    """Data of a campaign, for reports and notebooks.

    Attributes:
        root: campaign directory.
        state: the state from `status.collect`.
        records: records of the journal.
        settings: settings of the last run; None if they cannot be read.
        traces, comparisons, trainings: see `Trace`, `Compared` and `Training`.
        biases: system → current record of all its hills.
        free_energies: results of `phasewalk fes` as JSON, by generation; with `outdated`: why a
            result does not belong to the current generation (empty if it does), and `labels`:
            number of labels its model was trained on (None if not known).
        problems: messages about files that cannot be read.
        store: the campaign directory as it was read; None if the data have another source.
    """

    root: Path
    state: Mapping[str, Any]
    records: Sequence[Record]
    settings: CampaignSettings | None
    traces: Sequence[Trace] = ()
    comparisons: Sequence[Compared] = ()
    trainings: Sequence[Training] = ()
    biases: Mapping[str, bias.HillsRecord] = field(default_factory=dict)
    free_energies: Sequence[Mapping[str, Any]] = ()
    problems: Sequence[str] = ()
    store: Store | None = None

    def colvars(self, system: str) -> list[str]:
        """The variables shown for a system: the biased ones, or else all printed ones."""
        return self._colvars.get(system, [])

    @cached_property
    def _colvars(self) -> dict[str, list[str]]:
        printed: dict[str, dict[str, None]] = {}
        for trace in self.traces:
            printed.setdefault(trace.system, {}).update(dict.fromkeys(trace.values))
        return {
            system: [name for name in self._biased(system) if name in names]
            or [name for name in names if not name.endswith(".bias")]
            for system, names in printed.items()
        }

    def axis(self, system: str, name: str) -> str:
        """Axis title of a variable, with its unit from the PLUMED input (see `quantities`)."""
        if name in FROM_LOGS:
            return FROM_LOGS[name]
        own = self.settings.systems.get(system) if self.settings else None
        return quantities.axis(
            name, quantities.of(name, quantities.units(own.plumed if own else None))
        )

    def energy_unit(self, system: str) -> str:
        """The unit of energies in a system's PLUMED input."""
        own = self.settings.systems.get(system) if self.settings else None
        return quantities.energy(own.plumed if own else None)

    def _biased(self, system: str) -> list[str]:
        for record in self.records:
            if isinstance(record.made, Located) and record.made.system == system:
                return record.made.names
        return traces.arguments(self.settings.systems.get(system) if self.settings else None)

    @property
    def systems(self) -> list[str]:
        """Names of the systems with trajectories, or else of all configured systems."""
        walked = dict.fromkeys(trace.system for trace in self.traces)
        return list(walked or (self.settings.systems if self.settings else ()))


@dataclass
class _Reader:
    """Calls functions that read files, and collects messages of those that fail."""

    problems: list[str] = field(default_factory=list)

    def try_(self, function: Callable[P, T], *args: P.args, **names: P.kwargs) -> T | None:
        """The result; None and a line in `problems` if it cannot be read."""
        try:
            return function(*args, **names)
        except (PhasewalkError, *UNREADABLE) as error:
            self.problems.append(str(error))
            return None


Walked = dict[tuple[int, float], list[Trace]]
"""Traces of finished segments, by round and end time."""


def read(
    root: Path,
    beat: Callable[[], None] = lambda: None,
    *,
    walked: Walked | None = None,
    store: Store | None = None,
) -> History:
    """Read the data of a campaign directory.

    Args:
        root: campaign directory.
        beat: called repeatedly, to renew the lock.
        walked: traces already read by this process; new traces are added to it.
        store: the directory, if it is already open.

    Raises:
        StoreError: not a campaign directory, or of another schema.
        ParseError: the journal is damaged.
    """
    store, reader = store or read_campaign(root), _Reader()
    state = summary.collect(root, store)
    records = store.records()
    settings = reader.try_(_settings, root, store)
    traced: list[Trace] = []
    seen: Walked = {} if walked is None else walked
    trainings: list[Training | None] = []
    comparisons: list[Compared] = []
    hills: dict[str, list[tuple[int, str]]] = {}
    known, learned = located(records), library.learned_in(records)
    homes = _homes(records)
    measured = {record.task for record in lineage.measured_now(records)}
    for record in records:
        beat()
        if record.stage == SEGMENT:
            traced += _walked(root, record, reader, seen, store=store, settings=settings)
            for name in record.files:
                if name.startswith("bias/"):
                    hills.setdefault(name.split("/")[1], []).append((record.round, name))
        elif record.task in measured and record.of(Evaluated).frames:
            found = reader.try_(compared.read, store, record, known, learned, homes)
            comparisons += found or []
        elif record.stage == TRAIN:
            trainings.append(reader.try_(_training, root, record))
    biases = {system: reader.try_(_bias, store, names) for system, names in hills.items()}
    made = sorted(root.glob("fes/*/fes.json"))
    now, former = lineage.models(records), lineage.former(root) if made else {}
    free_energies = [reader.try_(_free_energy, path, now, former, settings) for path in made]
    return History(
        root=root,
        state=state,
        records=records,
        settings=settings,
        traces=traced,
        comparisons=comparisons,
        trainings=[one for one in trainings if one is not None],
        biases={system: found for system, found in biases.items() if found is not None},
        free_energies=[one for one in free_energies if one is not None],
        problems=reader.problems,
        store=store,
    )


def _walked(
    root: Path,
    segment: Record,
    reader: _Reader,
    seen: Walked,
    *,
    store: Store,
    settings: CampaignSettings | None,
) -> list[Trace]:
    """Traces of the walkers in a round; stored in `seen` if all files could be read."""
    key, problems = (segment.round, segment.time), len(reader.problems)
    if key in seen:
        return seen[key]
    decided = _decisions(store.records(), segment.round)
    place = f"rounds/{segment.round:03d}/segment/"
    for name in segment.files:
        if name.startswith(place) and (root / name).exists():
            reader.try_(store.checked, name)
    found, files = [], traces.colvar_files(root / place)
    for walker in segment.of(Segment).walkers:
        mine, why = files.get(walker.walker, ()), decided.get(walker.walker)
        found.append(
            reader.try_(
                traces.read, root, segment, walker, files=mine, begun=why, settings=settings
            )
        )
    whole = [one for one in found if one is not None]
    if len(reader.problems) == problems:
        seen[key] = whole
    return whole


def _settings(root: Path, store: Store) -> CampaignSettings:
    settings = parse(*settings_text(root))
    return begun.as_begun(settings, read_identity(root), store)


def _decisions(records: Sequence[Record], round_: int) -> dict[str, Begun]:
    """Where each walker started the round, and why."""
    return {
        one.walker: one
        for record, steered in each(records, Steered)
        if record.round == round_
        for one in steered.walkers
    }


def _homes(records: Sequence[Record]) -> dict[str, str]:
    """Key of a label → the system that has the same atoms."""
    return {key: located.system for _, located in each(records, Located) for key in located.values}


def _training(root: Path, record: Record) -> Training:
    """Read the validation errors of a training by epoch."""
    generation = record.of(Trained).generation
    final = "-final" if generation == FINAL else ""
    path = root / f"rounds/{record.round:03d}/train{final}" / PROGRESS
    lines = read_text(path).split("\n")[:-1]
    rows = [typed(line, _Epoch, unlike="not a table of epochs", path=path) for line in lines]
    rows = [row for row in rows if row.forces_mae is not None]
    return Training(
        generation,
        epochs=np.array([row.epoch for row in rows], dtype=float),
        force_mae_meV_per_A=np.array([row.forces_mae for row in rows], dtype=float) * 1000.0,
    )


class _Epoch(BaseModel):
    """A line of a training's progress; an error is missing if it was not validated."""

    model_config = ConfigDict(strict=True)

    epoch: int
    forces_mae: float | None = None


def _bias(store: Store, names: Sequence[tuple[int, str]]) -> bias.HillsRecord | None:
    """Merge the tables of all rounds into the record of a system's hills."""
    newest_first = sorted(names, reverse=True)
    return hill_tables.record(hill_tables.read(store.checked(name)) for _, name in newest_first)


def _free_energy(
    path: Path,
    now: Mapping[str, Model],
    former: Mapping[str, Model],
    settings: CampaignSettings | None,
) -> Mapping[str, Any]:
    """Read the result of `phasewalk fes` for a generation: system → data, after validation."""
    check_kept(path)
    stored = read_file(path, dict[str, dict[str, Any]], unlike="not free energies of systems")
    identity = path.with_name(IDENTITY)
    walk = read_file(identity, _Walk) if identity.is_file() else _Walk(deck=DECK)
    found = {}
    for system, one in stored.items():
        try:
            typed(one, _Frozen, unlike="not a free energy")
            correction.from_dict(one.get("against_reference"), free_energy.from_dict(one))
        except InputError as error:
            raise ParseError(path, f"{system}: {error}") from error
        own = settings.systems.get(system) if settings else None
        reasons = (
            lineage.outdated(one, now, former),
            lineage.walked_otherwise(walk.systems.get(system), own),
            deck_versions.of_free_energy(walk.deck, own),
        )
        marks = {
            "outdated": "; ".join(filter(None, reasons)),
            "labels": lineage.labels_of(one, former),
            **_seed(one, settings),
        }
        found[system] = {**one, **marks}
    return found


def _seed(one: Mapping[str, Any], settings: CampaignSettings | None) -> Mapping[str, int]:
    """The seed of a free energy, if it is not that of the campaign."""
    seed = one.get("made_from", {}).get("seed")
    return {} if seed is None or (settings and seed == settings.seed) else {"seed": seed}


class _Frozen(BaseModel):
    """Of which model a free energy is; see `lineage.made_from`."""

    generation: str
    checkpoint: str | None = None
    made_from: dict[str, Any] = {}


class _Walk(BaseModel):
    """The walk of a free energy: settings of the systems, and version of the deck."""

    systems: dict[str, dict[str, Any]] = {}
    deck: int = 1
