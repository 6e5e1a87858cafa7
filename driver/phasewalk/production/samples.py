"""Samples of the walkers of a frozen model: variables and the bias at the time of each frame."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import bias, walkers
from ..bias import Gaussians, HillsRecord, colvars, dumps, plumed
from ..campaign import Work
from ..errors import InputError, NothingLeft
from ..free_energies import FreeEnergy, Variable, Walk, free_energy, reweight
from ..rounds import steer
from ..store import Segment, segment_task
from ..units import BOLTZMANN_KJ_PER_MOL_K, FS_PER_PS, KJ_PER_MOL
from ..walkers import SystemSettings, Walker

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

HILLS = 0.2
"""Height of hills relative to METAD's: hills for exploration are too high for a correct error."""
DISCARD = 0.2
"""Fraction of each walker that is discarded, in which the wells are being filled."""
AT_ONCE = 4_000_000
"""Maximum number of frames × hills in one array."""


@dataclass(frozen=True)
class Biased:
    """A system with the key of its METAD action."""

    name: str
    settings: SystemSettings
    action: str

    @property
    def text(self) -> str:
        """Its PLUMED text."""
        return self.settings.plumed or ""

    @property
    def apart(self) -> bool:
        """Whether hills of other walkers do not act on a walker in the same segment."""
        return self.settings.bias_sharing in ("merged", "own")


@dataclass(frozen=True)
class Piece:
    """Samples of one walker in one segment, up to the frame from which it continued.

    Attributes:
        walker: its id.
        round: of the segment.
        steps: (n,) step numbers.
        values: (n, d) METAD's variables, in the units of the PLUMED text.
        bias: (n,) bias that acted on the walker, in the energy unit of the PLUMED text.
        printed: values are from COLVAR; else from the centres of its own hills.
    """

    walker: str
    round: int
    steps: Whole
    values: Array
    bias: Array
    printed: bool


def biased(systems: Mapping[str, SystemSettings]) -> tuple[Biased, ...]:
    """The systems with METAD.

    Raises:
        InputError: none has it, or one has several.
    """
    found = []
    for name, settings in systems.items():
        actions = plumed.metad_actions(settings.plumed or "")
        if len(actions) > 1:
            raise InputError(
                f"systems.{name}: the PLUMED text has {len(actions)} METAD actions "
                f"({', '.join(actions)}), but a free energy needs exactly one; combine their "
                "variables in one METAD, or remove the others"
            )
        found += [Biased(name, settings, action) for action in actions]
    if not found:
        raise InputError(
            "no system has METAD in its PLUMED text, which a free energy needs; add one to "
            "systems.NAME.plumed in a new campaign"
        )
    return tuple(found)


def energy_unit_kJ(text: str) -> float:
    """The energy unit of the text in kJ/mol (UNITS ENERGY=…; default kj/mol)."""
    for action in plumed.parse(text):
        if action.name == "UNITS":
            value = action.get("ENERGY") or "kj/mol"
            if value.upper() in KJ_PER_MOL:
                return KJ_PER_MOL[value.upper()]
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            if not (math.isfinite(number) and number > 0.0):
                raise InputError(
                    f"PLUMED text, line {action.line}, UNITS: ENERGY={value}: use kj/mol, kcal/mol,"
                    " j/mol, eV, Ha, or the value of the unit in kJ/mol"
                )
            return number
    return 1.0


def lower(text: str, factor: float) -> str:
    """The PLUMED text with METAD's HEIGHT times a factor; unchanged for 1."""
    if factor == 1.0:
        return text
    for action in reversed([one for one in plumed.parse(text) if one.name == "METAD"]):
        words = [word for word in action.words if word.key == "HEIGHT"]
        try:
            (height,) = (float(word.value or "") for word in words)
        except ValueError as error:
            raise InputError(
                f"PLUMED text, line {action.line}, METAD: there is no HEIGHT=number, so the height "
                "of the hills cannot be reduced; use --hills 1, or stop.free_energy.hills: 1"
            ) from error
        start, end = words[0].start, words[0].end
        text = f"{text[:start]}HEIGHT={height * factor:.12g}{text[end:]}"
    return text


def variables(record: HillsRecord, action: str) -> tuple[Variable, ...]:
    """The variables of a METAD action, from the header of its hills."""
    lines = [line.split() for line in record.headers.get(action, ())]
    fields = next((words[2:] for words in lines if words[1:2] == ["FIELDS"]), [])
    constants = {words[2]: words[3] for words in lines if words[1:2] == ["SET"]}
    count = len(bias.gaussians(record, action=action).periods)
    return tuple(variable(name, constants) for name in fields[1 : 1 + count])


def variable(name: str, constants: Mapping[str, str]) -> Variable:
    """A variable from the constants (`SET`) that PLUMED writes into a file with it."""
    start = constants.get(f"min_{name}", "0")
    low = -math.pi if start == "-pi" else float(start)
    return Variable(name, bias.period(constants, name), low)


def pieces(work: Work, system: Biased, round_: int, record: HillsRecord) -> list[Piece]:
    """Samples of the walkers of a system in a segment.

    Args:
        work: with the store of the segment.
        system: the system with METAD.
        round_: of the segment.
        record: hills after it.
    """
    done = work.store.find(segment_task(round_))
    entries = done.of(Segment).walkers if done else []
    states, hills = steer.states(work, round_), _hills(record, system)
    found = []
    for partition, entry in enumerate(entries):
        end = entry.candidate_step
        if entry.system != system.name or end is None:
            continue
        state = states[entry.walker]
        walker = Walker(
            state.walker, system.name, partition, state.came_from[1], state.came_from[0]
        )
        timestep = work.campaign.settings.segment.timestep_fs / FS_PER_PS
        rows = _printed(
            work.store.root / f"rounds/{round_:03d}/segment",
            system,
            walker,
            names=[one.name for one in variables(record, system.action)] or _arguments(system),
            timestep_ps=timestep,
        )
        steps, values = _centres(hills, walker.id, round_) if rows is None else rows
        good = (steps > walker.step) & (steps <= end)
        steps, values = steps[good], values[good]
        acted = _bias(hills, system, walker.id, round_, steps=steps, values=values)
        found.append(Piece(walker.id, round_, steps, values, acted, rows is not None))
    return found


def _arguments(system: Biased) -> list[str]:
    """METAD's variables from the PLUMED text, used before the first hill."""
    return colvars.arguments(plumed.metad_actions(system.text)[system.action])


def estimate(
    found: Sequence[Piece], record: HillsRecord, system: Biased, *, bins: int | None = None
) -> FreeEnergy:
    """The free energy of a system.

    Args:
        found: samples of all its walkers, in the order of segments.
        record: hills after the last segment.
        system: the system with METAD.
        bins: number of bins of each variable; None: 50 for one variable, 25 × 25 for two.

    Raises:
        NothingLeft: there is no frame to use, or no hill was deposited.
    """
    found = [piece for piece in found if len(piece.steps)]
    if not found:
        raise NothingLeft(
            f"{system.name}: there are no frames of walkers for a free energy; use more --segments"
        )
    if not bias.active_hills(record, action=system.action):
        raise NothingLeft(
            f"{system.name}: no hill was deposited, since the walkers did fewer steps than METAD's "
            "PACE; use more --segments"
        )
    unit = energy_unit_kJ(system.text)
    kT = BOLTZMANN_KJ_PER_MOL_K * system.settings.temperature_K
    over = variables(record, system.action)
    names = list(dict.fromkeys(piece.walker for piece in found))
    by_walker = [[piece for piece in found if piece.walker == name] for name in names]
    raw = [_join(each, [piece.bias for piece in each]) for each in by_walker]
    centres = reweight.grid(raw, over, bins=bins, discard=DISCARD)
    kept = [walk.values for walk in reweight.equilibrated(raw, DISCARD)]
    points = free_energy.points(centres)[reweight.visited(kept, over, centres)]
    factor = _biasfactor(record, system.action)
    grown = {
        (piece.walker, piece.round): reweight.offset(unit * on_grid, kT=kT, biasfactor=factor)
        for piece, on_grid in _on_grid(found, record, system, points)
    }
    walks = [
        _join(each, [unit * p.bias - grown[p.walker, p.round] for p in each]) for each in by_walker
    ]
    at = bias.bias_at(record, free_energy.points(centres), action=system.action)
    return reweight.estimate(
        walks,
        over,
        centres=centres,
        grid_bias=unit * at,
        temperature_K=system.settings.temperature_K,
        biasfactor=factor,
        discard=DISCARD,
    )


def kept(found: Sequence[Piece]) -> list[Piece]:
    """The pieces without the first part of each walker, which a free energy discards."""
    left: dict[str, int] = {}
    for piece in found:
        left[piece.walker] = left.get(piece.walker, 0) + len(piece.steps)
    left = {name: math.ceil(DISCARD * count) for name, count in left.items()}
    rest = []
    for piece in found:
        first = min(left[piece.walker], len(piece.steps))
        left[piece.walker] -= first
        steps, values, bias_ = piece.steps[first:], piece.values[first:], piece.bias[first:]
        rest.append(replace(piece, steps=steps, values=values, bias=bias_))
    return [piece for piece in rest if len(piece.steps)]


def _join(each: Sequence[Piece], biases: Sequence[Array]) -> Walk:
    return Walk(np.concatenate([piece.values for piece in each]), np.concatenate(biases))


def _printed(
    directory: Path, system: Biased, walker: Walker, *, names: Sequence[str], timestep_ps: float
) -> tuple[Whole, Array] | None:
    """Steps and values from the first COLVAR file with all variables; None if there is none."""
    time = timestep_ps / plumed.time_unit_ps(system.text)
    for name in walkers.colvar_files(walker.id, system.text):
        for path in (directory / name, directory / f"{name}.{walker.index}"):
            table = dumps.read_colvar(path) if path.is_file() else None
            if table is not None and names and set(names) <= set(table.fields):
                columns = [table.fields.index(field) for field in names]
                steps = np.rint(table.values[:, 0] / time).astype(np.int64)
                good = np.isfinite(table.values[:, columns]).all(axis=1)
                return steps[good], table.values[good][:, columns]
    return None


@dataclass(frozen=True)
class _Hills:
    """The active hills of a system as arrays, with round, step and walker of each."""

    numbers: Gaussians
    rounds: Whole
    steps: Whole
    walkers: NDArray[np.str_]


def _hills(record: HillsRecord, system: Biased) -> _Hills:
    hills = bias.active_hills(record, action=system.action)
    return _Hills(
        bias.gaussians(record, action=system.action),
        np.array([hill.round for hill in hills], dtype=np.int64),
        np.array([hill.step for hill in hills], dtype=np.int64),
        np.array([hill.walker for hill in hills], dtype=np.str_),
    )


def _centres(hills: _Hills, walker: str, round_: int) -> tuple[Whole, Array]:
    """Steps and values of a walker's own hills in a segment."""
    mine = (hills.walkers == walker) & (hills.rounds == round_)
    return hills.steps[mine], hills.numbers.centres[mine]


def _bias(
    hills: _Hills, system: Biased, walker: str, round_: int, *, steps: Whole, values: Array
) -> Array:
    """(n,) bias that acted on a walker; a hill acts from the step after its deposition."""
    acted = np.zeros(len(steps))
    if not len(hills.steps):
        return acted
    before, new, deposited = _split(hills, system, walker, round_)
    size = max(1, AT_ONCE // max(1, len(hills.steps)))
    for start in range(0, len(steps), size):
        part = slice(start, start + size)
        counts = deposited[None, :] < steps[part, None]
        acted[part] = bias.kernels(before, values[part]).sum(axis=1)
        acted[part] += np.where(counts, bias.kernels(new, values[part]), 0.0).sum(axis=1)
    return acted


def _on_grid(
    found: Sequence[Piece], record: HillsRecord, system: Biased, points: Array
) -> list[tuple[Piece, Array]]:
    """Each piece with the (n, points) bias on the grid at the time of each of its frames."""
    hills = _hills(record, system)
    base: dict[int, Array] = {}
    answers = []
    for piece in found:
        if piece.round not in base:  # round by round, which keeps the arrays small
            last = max(base, default=0)
            between = (hills.rounds >= last) & (hills.rounds < piece.round)
            added = bias.kernels(_some(hills.numbers, between), points).sum(axis=1)
            base[piece.round] = base.get(last, 0.0) + added
        _, new, deposited = _split(hills, system, piece.walker, piece.round)
        grown = np.cumsum(bias.kernels(new, points), axis=1)
        grown = np.concatenate([np.zeros((len(points), 1)), grown], axis=1)
        counts = np.searchsorted(deposited, piece.steps, side="left")
        answers.append((piece, base[piece.round] + grown[:, counts].T))
    return answers


def _split(
    hills: _Hills, system: Biased, walker: str, round_: int
) -> tuple[Gaussians, Gaussians, Whole]:
    """Hills before a segment, those of it that act on a walker, and the steps of the latter."""
    new = (hills.rounds == round_) & ((hills.walkers == walker) | (not system.apart))
    return (
        _some(hills.numbers, hills.rounds < round_),
        _some(hills.numbers, new),
        hills.steps[new],
    )


def _some(hills: Gaussians, which: NDArray[np.bool_]) -> Gaussians:
    return replace(
        hills,
        centres=hills.centres[which],
        sigmas=hills.sigmas[which],
        heights=hills.heights[which],
    )


def _biasfactor(record: HillsRecord, action: str) -> float | None:
    """γ of the hills; None if they are not well-tempered."""
    hills = bias.active_hills(record, action=action)
    found = float(hills[-1].text.split()[-1]) if hills else -1.0
    return found if found > 1.0 else None
