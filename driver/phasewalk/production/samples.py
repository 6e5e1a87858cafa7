"""What the walkers of a frozen model have sampled, and the bias that each felt there and then."""

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
from ..rounds import steer
from ..store import Segment, segment_task
from ..units import BOLTZMANN_KJ_PER_MOL_K, FS_PER_PS, KJ_PER_MOL
from ..walkers import SystemSettings, Walker
from . import free_energy, reweight
from .free_energy import FreeEnergy, Variable
from .reweight import Walk

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

HILLS = 0.2
"""Height of hills, × METAD's: those that explore well are too fast for an honest error."""
DISCARD = 0.2
"""Share of each walker that is left out: the wells are being filled."""
AT_ONCE = 4_000_000
"""Frames × hills that are computed at once."""


@dataclass(frozen=True)
class Biased:
    """A system and its one METAD action, by its key."""

    name: str
    settings: SystemSettings
    action: str

    @property
    def text(self) -> str:
        """Its PLUMED text."""
        return self.settings.plumed or ""

    @property
    def apart(self) -> bool:
        """Within a segment, a walker feels no hills of the others."""
        return self.settings.bias_sharing in ("merged", "own")


@dataclass(frozen=True)
class Piece:
    """What one walker has sampled in one segment, up to the frame from which it went on.

    Attributes:
        walker: its id.
        round: of the segment.
        steps: (n,) of its step counter.
        values: (n, d) of METAD's variables, in the units of the PLUMED text.
        felt: (n,) bias, in the energy unit of the PLUMED text.
        printed: from COLVAR; else from the middles of its own hills.
    """

    walker: str
    round: int
    steps: Whole
    values: Array
    felt: Array
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
                f"systems.{name}: {len(actions)} METAD actions ({', '.join(actions)}); a free "
                "energy is computed from one: put all variables into one METAD, or remove others"
            )
        found += [Biased(name, settings, action) for action in actions]
    if not found:
        raise InputError(
            "no system has METAD in its PLUMED text, so there are no variables for a free energy"
        )
    return tuple(found)


def energy_unit_kJ(text: str) -> float:
    """Kilojoules per mole in one energy unit of the text (UNITS ENERGY=…; kj/mol without)."""
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
                    " j/mol, eV, Ha, or kj/mol in a unit"
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
                f"PLUMED text, line {action.line}, METAD: no HEIGHT=number, so its hills cannot be "
                "made lower (--hills, stop.free_energy.hills): ask for 1 × its hills"
            ) from error
        start, end = words[0].start, words[0].end
        text = f"{text[:start]}HEIGHT={height * factor:.12g}{text[end:]}"
    return text


def variables(record: HillsRecord, action: str) -> tuple[Variable, ...]:
    """The variables of a METAD action, as its hills name them."""
    lines = [line.split() for line in record.headers.get(action, ())]
    fields = next((words[2:] for words in lines if words[1:2] == ["FIELDS"]), [])
    lowest = {words[2]: words[3] for words in lines if words[1:2] == ["SET"]}
    found = []
    periods = bias.gaussians(record, action=action).periods
    for name, period in zip(fields[1:], periods, strict=False):
        start = lowest.get(f"min_{name}", "0")
        low = -math.pi if start == "-pi" else float(start)
        found.append(Variable(name, float(period), low))
    return tuple(found)


def pieces(work: Work, of: Biased, round_: int, record: HillsRecord) -> list[Piece]:
    """What the walkers of a system have sampled in a segment.

    Args:
        work: where it was walked.
        of: the system.
        round_: of the segment.
        record: hills after it.
    """
    done = work.store.find(segment_task(round_))
    entries = done.of(Segment).walkers if done else []
    states, hills = steer.states(work, round_), _hills(record, of)
    found = []
    for partition, entry in enumerate(entries):
        end = entry.candidate_step
        if entry.system != of.name or end is None:
            continue
        state = states[entry.walker]
        walker = Walker(state.walker, of.name, partition, state.came_from[1], state.came_from[0])
        timestep = work.campaign.settings.segment.timestep_fs / FS_PER_PS
        rows = _printed(
            work.store.root / f"rounds/{round_:03d}/segment",
            of,
            walker,
            names=[one.name for one in variables(record, of.action)] or _arguments(of),
            timestep_ps=timestep,
        )
        steps, values = _centres(hills, walker.id, round_) if rows is None else rows
        good = (steps > walker.step) & (steps <= end)
        steps, values = steps[good], values[good]
        felt = _felt(hills, of, walker.id, round_, steps=steps, values=values)
        found.append(Piece(walker.id, round_, steps, values, felt, rows is not None))
    return found


def _arguments(of: Biased) -> list[str]:
    """METAD's variables by the text, as long as no hill names them."""
    return colvars.arguments(plumed.metad_actions(of.text)[of.action])


def estimate(
    found: Sequence[Piece], record: HillsRecord, of: Biased, *, bins: int | None = None
) -> FreeEnergy:
    """The free energy of a system.

    Args:
        found: of all its walkers, in the order of segments.
        record: hills after the last segment.
        of: the system.
        bins: of each variable; 50 for one, 25 for each of two where None.

    Raises:
        NothingLeft: no walker has left a frame, or no hill was laid.
    """
    found = [piece for piece in found if len(piece.steps)]
    if not found:
        raise NothingLeft(f"{of.name}: no walker has left a frame for a free energy")
    if not bias.active_hills(record, action=of.action):
        raise NothingLeft(
            f"{of.name}: no hill was laid, so nothing was pushed: METAD's PACE is longer than "
            "what was walked; ask for more --segments"
        )
    unit = energy_unit_kJ(of.text)
    kT = BOLTZMANN_KJ_PER_MOL_K * of.settings.temperature_K
    over = variables(record, of.action)
    names = list(dict.fromkeys(piece.walker for piece in found))
    by_walker = [[piece for piece in found if piece.walker == name] for name in names]
    raw = [_join(each, [piece.felt for piece in each]) for each in by_walker]
    centres = reweight.grid(raw, over, bins=bins, discard=DISCARD)
    kept = [walk.values for walk in reweight.equilibrated(raw, DISCARD)]
    points = free_energy.points(centres)[reweight.visited(kept, over, centres)]
    factor = _biasfactor(record, of.action)
    grown = {
        (piece.walker, piece.round): reweight.offset(unit * felt, kT=kT, biasfactor=factor)
        for piece, felt in _on_grid(found, record, of, points)
    }
    walks = [
        _join(each, [unit * p.felt - grown[p.walker, p.round] for p in each]) for each in by_walker
    ]
    at = bias.bias_at(record, free_energy.points(centres), action=of.action)
    return reweight.estimate(
        walks,
        over,
        centres=centres,
        grid_bias=unit * at,
        temperature_K=of.settings.temperature_K,
        biasfactor=factor,
        discard=DISCARD,
    )


def _join(each: Sequence[Piece], felt: Sequence[Array]) -> Walk:
    return Walk(np.concatenate([piece.values for piece in each]), np.concatenate(felt))


def _printed(
    directory: Path, of: Biased, walker: Walker, *, names: Sequence[str], timestep_ps: float
) -> tuple[Whole, Array] | None:
    """Steps and values from the first COLVAR that holds all variables; None where none does."""
    time = timestep_ps / plumed.time_unit_ps(of.text)
    for name in walkers.colvar_files(walker, of.text):
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
    """The active hills of a system as numbers, with round, step and walker of each."""

    numbers: Gaussians
    rounds: Whole
    steps: Whole
    walkers: NDArray[np.str_]


def _hills(record: HillsRecord, of: Biased) -> _Hills:
    hills = bias.active_hills(record, action=of.action)
    return _Hills(
        bias.gaussians(record, action=of.action),
        np.array([hill.round for hill in hills], dtype=np.int64),
        np.array([hill.step for hill in hills], dtype=np.int64),
        np.array([hill.walker for hill in hills], dtype=np.str_),
    )


def _centres(hills: _Hills, walker: str, round_: int) -> tuple[Whole, Array]:
    """Steps and values of a walker's own hills of a segment."""
    mine = (hills.walkers == walker) & (hills.rounds == round_)
    return hills.steps[mine], hills.numbers.centres[mine]


def _felt(
    hills: _Hills, of: Biased, walker: str, round_: int, *, steps: Whole, values: Array
) -> Array:
    """(n,) bias that a walker felt: a hill counts from the step after the one that laid it."""
    felt = np.zeros(len(steps))
    if not len(hills.steps):
        return felt
    before, new, laid = _split(hills, of, walker, round_)
    size = max(1, AT_ONCE // max(1, len(hills.steps)))
    for start in range(0, len(steps), size):
        part = slice(start, start + size)
        counts = laid[None, :] < steps[part, None]
        felt[part] = bias.kernels(before, values[part]).sum(axis=1)
        felt[part] += np.where(counts, bias.kernels(new, values[part]), 0.0).sum(axis=1)
    return felt


def _on_grid(
    found: Sequence[Piece], record: HillsRecord, of: Biased, points: Array
) -> list[tuple[Piece, Array]]:
    """Each piece, and the (n, points) bias that its walker felt everywhere, frame by frame."""
    hills = _hills(record, of)
    base: dict[int, Array] = {}
    answers = []
    for piece in found:
        if piece.round not in base:  # round by round, so that no table is larger than one needs
            last = max(base, default=0)
            between = (hills.rounds >= last) & (hills.rounds < piece.round)
            laid_then = bias.kernels(_some(hills.numbers, between), points).sum(axis=1)
            base[piece.round] = base.get(last, 0.0) + laid_then
        _, new, laid = _split(hills, of, piece.walker, piece.round)
        grown = np.cumsum(bias.kernels(new, points), axis=1)
        grown = np.concatenate([np.zeros((len(points), 1)), grown], axis=1)
        counts = np.searchsorted(laid, piece.steps, side="left")
        answers.append((piece, base[piece.round] + grown[:, counts].T))
    return answers


def _split(
    hills: _Hills, of: Biased, walker: str, round_: int
) -> tuple[Gaussians, Gaussians, Whole]:
    """Hills from before a segment, those of it that a walker feels, and when these were laid."""
    new = (hills.rounds == round_) & ((hills.walkers == walker) | (not of.apart))
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
    """γ of the hills; None where they are not well-tempered."""
    hills = bias.active_hills(record, action=action)
    found = float(hills[-1].text.split()[-1]) if hills else -1.0
    return found if found > 1.0 else None
