"""Distributions of PLUMED's variables: free energies of biased runs, histograms of others.

The bias of each frame is that of the walker's thermo table, which is of all biases together and, of
several walkers, of all hills that have acted. Frames are those in both tables. With METAD, the
growth of the bias is from the hills (`production.samples`), those of other walkers as if all were
at the same step. A bias of OPES, RESTRAINT or walls is
taken as it is: after the first part of a run that of OPES changes little.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import bias
from ..bias import Hill, HillsRecord, colvars, dumps, plumed, quantities
from ..errors import InputError, NothingLeft
from ..free_energies import FreeEnergy, Walk, free_energy, reweight
from ..producing import hills_name
from ..production import samples
from ..units import KJ_PER_MOL_PER_EV
from ..walkers import SystemSettings
from . import runs
from .averages import Average, average
from .runs import Rows, Run

Array = NDArray[np.float64]
Whole = NDArray[np.int64]

BINS = 50
MOST_FRAMES = 20_000
"""Maximum number of frames of a walker; of more, every n-th is used."""
OPES = "OPES_"
_BIAS = "bias_eV"


@dataclass(frozen=True)
class Histogram:
    """The distribution of a variable without a bias.

    Attributes:
        name: of the variable.
        periodic: it is periodic, so that its mean says nothing.
        average: its mean.
        centres: (bins,) of the bins.
        density: (bins,) probability density, one over the unit of the variable.
        errors: (bins,) standard errors; NaN if there are too few independent samples.
    """

    name: str
    periodic: bool
    average: Average
    centres: Array
    density: Array
    errors: Array


@dataclass(frozen=True)
class Profiles:
    """Distributions of the variables of a run.

    Attributes:
        free: free energies; without a bias there are none.
        histograms: of runs without a bias.
        remarks: what could not be computed, and why.
    """

    free: tuple[FreeEnergy, ...] = ()
    histograms: tuple[Histogram, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Sampled:
    """Frames of one walker that are in COLVAR and in the thermo table; bias in kJ/mol."""

    walker: str
    steps: Whole
    values: Array
    bias: Array


def is_biased(thermo: Sequence[Rows]) -> bool:
    """Whether any bias has acted, by the thermo tables of the walkers."""
    return any(_BIAS in one.names and bool(one.column(_BIAS).any()) for one in thermo)


def profiles(run: Run, thermo: Sequence[Rows], discard: Sequence[float]) -> Profiles:
    """Distributions of PLUMED's variables.

    Args:
        run: the run.
        thermo: tables of its walkers.
        discard: for each walker, the fraction not in equilibrium, for histograms. Of biased
            runs, the first part is discarded in which the bias fills the wells.
    """
    if run.plumed is None:
        return Profiles()
    tables = [runs.colvars(run, walker) for walker in run.walkers]
    names = _variables(run.plumed, tables)
    if not names:
        return Profiles(remarks=("PLUMED has printed no variable yet",))
    if not is_biased(thermo):
        found = [_histogram(name, tables, discard) for name in names]
        return Profiles(histograms=tuple(one for one in found if one is not None))
    free, remarks = [], []
    for over in _wanted(run.plumed, names):
        try:
            free.append(_free(run, thermo, tables, over))
        except (InputError, NothingLeft) as error:
            remarks.append(f"no free energy along {', '.join(over)}: {error}")
    return Profiles(free=tuple(free), remarks=tuple(remarks))


def _variables(text: str, tables: Sequence[Sequence[Rows]]) -> list[str]:
    """The printed variables, without the values of biases."""
    biases = {
        action.label
        for action in plumed.parse(text)
        if quantities.OF_ENERGY.fullmatch(action.name) or action.name.startswith(OPES)
    } - {None}
    names = dict.fromkeys(name for each in tables for one in each for name in one.names)
    return [name for name in names if name.partition(".")[0] not in biases]


def _wanted(text: str, names: Sequence[str]) -> list[tuple[str, ...]]:
    """The variables of free energies: those of METAD or OPES, or each one for other biases."""
    driven = [
        tuple(colvars.arguments(action))
        for action in plumed.parse(text)
        if action.name == "METAD" or action.name.startswith(OPES)
    ]
    return list(dict.fromkeys(driven)) or [(name,) for name in names]


def _with(tables: Sequence[Rows], names: Sequence[str]) -> Rows | None:
    """The first table with all of some variables."""
    return next((one for one in tables if set(names) <= set(one.names)), None)


def _histogram(
    name: str, tables: Sequence[Sequence[Rows]], discard: Sequence[float]
) -> Histogram | None:
    """The distribution of a variable; None if it is constant, or has no value."""
    printed = [_with(each, [name]) for each in tables]
    series = [np.zeros(0) if one is None else one.column(name) for one in printed]
    constants = next((one.constants for one in printed if one is not None), {})
    periodic = math.isfinite(samples.variable(name, constants).period)
    mean = average(series, discard=discard)
    kept = [one[math.ceil(d * len(one)) :] for one, d in zip(series, discard, strict=True)]
    values = np.concatenate(kept)
    if not len(values) or math.isinf(mean.independent):
        return None
    counts, edges = np.histogram(values, BINS)
    shares, width = counts / len(values), edges[1] - edges[0]
    errors = np.full(BINS, math.nan)
    if not mean.too_short:
        errors = np.sqrt(shares * (1.0 - shares) / mean.independent) / width
    return Histogram(name, periodic, mean, (edges[1:] + edges[:-1]) / 2.0, shares / width, errors)


def _free(
    run: Run, thermo: Sequence[Rows], tables: Sequence[Sequence[Rows]], over: tuple[str, ...]
) -> FreeEnergy:
    """The free energy along variables.

    Raises:
        InputError, NothingLeft: it cannot be computed.
    """
    found = list(_sampled(run, thermo, tables, over))
    if not found:
        raise NothingLeft(
            "there is no frame with the variables and the bias; PRINT them at steps of the thermo "
            "table (thermo_every_steps)"
        )
    text = run.plumed or ""
    metad = plumed.metad_actions(text, frozenset(_others(text)))
    if metad:
        return _by_hills(run, metad, found)
    walks = [Walk(one.values, one.bias) for one in found]
    constants = next(one.constants for each in tables if (one := _with(each, over)) is not None)
    variables = [samples.variable(name, constants) for name in over]
    centres = reweight.grid(walks, variables, bins=None, discard=samples.DISCARD)
    return reweight.estimate(
        walks,
        variables,
        centres=centres,
        grid_bias=np.full(len(free_energy.points(centres)), math.nan),  # no hills
        temperature_K=run.temperature_K,
        discard=samples.DISCARD,
    )


def _others(text: str) -> Iterator[str]:
    """Names of the biases of OPES."""
    return (action.name for action in plumed.parse(text) if action.name.startswith(OPES))


def _sampled(
    run: Run, thermo: Sequence[Rows], tables: Sequence[Sequence[Rows]], over: tuple[str, ...]
) -> Iterator[_Sampled]:
    """The walkers that have frames with all the variables and the bias."""
    for walker, table, each in zip(run.walkers, thermo, tables, strict=True):
        printed = _with(each, over)
        if printed is None or _BIAS not in table.names:
            continue
        steps, mine, its = np.intersect1d(
            printed.steps, table.steps, assume_unique=True, return_indices=True
        )
        every = slice(None, None, max(1, -(-len(steps) // MOST_FRAMES)))
        values = np.stack([printed.column(name)[mine] for name in over], axis=1)
        acted = table.column(_BIAS)[its] * KJ_PER_MOL_PER_EV
        if len(steps):
            yield _Sampled(walker, steps[every], values[every], acted[every])


def _by_hills(run: Run, metad: dict[str, plumed.Action], found: Sequence[_Sampled]) -> FreeEnergy:
    """The free energy of a run with METAD."""
    if len(metad) > 1:
        raise InputError(f"there are {len(metad)} METAD actions; a free energy needs one of them")
    (key,) = metad
    settings = SystemSettings(
        structure=str(run.folder),
        ensemble="npt" if run.npt else "nvt",
        temperature_K=run.temperature_K,
        plumed=run.plumed,
        bias_sharing="live",
    )
    system = samples.Biased(str(run.folder), settings, key)
    unit = samples.energy_unit_kJ(system.text)
    pieces = [
        samples.Piece(one.walker, 1, one.steps, one.values, one.bias / unit, printed=True)
        for one in found
    ]
    return samples.estimate(pieces, hills(run, key, system.text), system)


def hills(run: Run, key: str, text: str) -> HillsRecord:
    """All hills that the walkers have written so far; an incomplete last line is not one."""
    record = HillsRecord(str(run.folder))
    time = run.timestep_ps / plumed.time_unit_ps(text)
    for index, walker in enumerate(run.walkers):
        path = run.folder / hills_name(run.walkers, index, key)
        read = dumps.read_hills(path) if path.exists() else None
        if read is None or not read.rows:
            continue
        steps = np.rint(read.table.values[:, 0] / time).astype(np.int64)
        mine = [
            Hill(
                system=record.system,
                action=key,
                walker=walker,
                round=1,
                step=int(steps[n]),
                generation=0,
                active=True,
                text=read.rows[n],
            )
            for n in runs.last_of_each(steps)
        ]
        record = bias.merge(record, mine, headers={key: read.header})
    return record
