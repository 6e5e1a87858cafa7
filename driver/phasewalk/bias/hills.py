"""The record of hills, from which the HILLS files of PLUMED are written.

A hill consists of the unchanged line that PLUMED wrote and of data that PLUMED does not write:
walker, round, step, generation of the model, and whether it is active. As text it is a table:

    # phasewalk hills 1
    # system<TAB>mil53_al
    # header<TAB>metad<TAB>#! FIELDS time volume sigma_volume height biasf
    action<TAB>walker<TAB>round<TAB>step<TAB>generation<TAB>active<TAB>text
    metad<TAB>mil53_al-0<TAB>1<TAB>50<TAB>0<TAB>1<TAB>      0.025  758.1 …

with one `# header` line for each `#!` line of the action's HILLS file, `active` 0 or 1, and the
hills sorted by action, round, step, walker. Earlier versions wrote such a table with all hills
after each round; see `hill_tables` for the table of one round.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import EngineFailed, InputError, ParseError
from .dumps import HillsFile

Array = NDArray[np.float64]

_MAGIC = "# phasewalk hills 1"
_COLUMNS = "action\twalker\tround\tstep\tgeneration\tactive\ttext"
_CUTOFF = 6.25
"""Cutoff of PLUMED's METAD: half of the squared scaled distance."""


@dataclass(frozen=True)
class Hill:
    """One hill: walker, step and model that deposited it, and the line that PLUMED wrote."""

    system: str
    action: str
    walker: str
    round: int
    step: int
    generation: int
    active: bool
    text: str

    @property
    def order(self) -> tuple[str, int, int, str]:
        """Sort key of hills in a record; unique for each hill."""
        return (self.action, self.round, self.step, self.walker)


@dataclass(frozen=True)
class HillsRecord:
    """All hills of one system; `headers` are the `#!` lines of each METAD action's file."""

    system: str
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hills: tuple[Hill, ...] = ()


@dataclass(frozen=True)
class Cut:
    """Marks the hills of a walker in a round after a step as inactive."""

    walker: str
    round: int
    after_step: int


@dataclass(frozen=True)
class Gaussians:
    """Hills as numbers, in the units of the PLUMED input.

    Attributes:
        centres: (n, d) values of the variables.
        sigmas: (n, d) widths.
        heights: (n,) heights that PLUMED sums, without the scaling of well-tempered HILLS files.
        periods: (d,) period of each variable; inf if it is not periodic.
        stretched: PLUMED's stretched Gaussians, which are zero at the cutoff.
    """

    centres: Array
    sigmas: Array
    heights: Array
    periods: Array
    stretched: bool


@dataclass(frozen=True)
class Deposit:
    """Walkers that deposited the new hills of one HILLS file, and the expected steps.

    Attributes:
        system: name of the system.
        action: key of the METAD action.
        walkers: walker of the file; several, in their order, if MPI walkers share one file.
        round: round of this segment.
        generation: generation of the model.
        start: step at which the segment started.
        stop: last completed step; None if the walker was interrupted: then only gaps are found.
        pace: number of steps between hills.
        time_per_step: time step in the time unit of the PLUMED input.
    """

    system: str
    action: str
    walkers: tuple[str, ...]
    round: int
    generation: int
    start: int
    stop: int | None
    pace: int
    time_per_step: float


def render(record: HillsRecord, *, action: str) -> str:
    """HILLS file with all active hills; '' if there are none."""
    hills = active_hills(record, action=action)
    return header(record, action=action) + "".join(f"{h.text}\n" for h in hills) if hills else ""


def header(record: HillsRecord, *, action: str) -> str:
    """Header of an action's HILLS file; '' if no hill was deposited yet."""
    return "".join(f"{line}\n" for line in record.headers.get(action, ()))


def active_hills(record: HillsRecord, *, action: str) -> tuple[Hill, ...]:
    """Active hills of an action, sorted by round, step, walker."""
    return tuple(hill for hill in record.hills if hill.active and hill.action == action)


def by_walker(record: HillsRecord) -> dict[str, HillsRecord]:
    """Split the record by walker."""
    found: dict[str, list[Hill]] = {}
    for hill in record.hills:
        found.setdefault(hill.walker, []).append(hill)
    return {walker: replace(record, hills=tuple(hills)) for walker, hills in found.items()}


def new_hills(found: HillsFile, deposit: Deposit, *, path: Path) -> tuple[Hill, ...]:
    """The hills that METAD wrote in this segment.

    Raises:
        EngineFailed: hills are missing, duplicated, or at unexpected steps.
    """
    # a walker that stopped before its first hill may have written no header
    times = found.table.values[:, 0] if found.rows else np.zeros(0)
    _check_steps(times, deposit, path)
    return tuple(
        Hill(
            system=deposit.system,
            action=deposit.action,
            walker=deposit.walkers[index % len(deposit.walkers)],
            round=deposit.round,
            step=_step(time, deposit),
            generation=deposit.generation,
            active=True,
            text=text,
        )
        for index, (text, time) in enumerate(zip(found.rows, times, strict=True))
    )


def merge(
    record: HillsRecord, hills: Iterable[Hill], *, headers: Mapping[str, tuple[str, ...]]
) -> HillsRecord:
    """Add new hills to the record, and headers of new actions.

    Raises:
        InputError: the record already contains a hill, or a header has changed.
    """
    merged = add_headers(record, headers).headers
    everything = sorted((*record.hills, *hills), key=lambda hill: hill.order)
    for one, other in pairwise(everything):
        if one.order == other.order:
            raise InputError(
                f"bias of {record.system}: the hill of {one.walker} in round {one.round}, step "
                f"{one.step} ({one.action}) occurs twice"
            )
    return HillsRecord(record.system, merged, tuple(everything))


def add_headers(record: HillsRecord, headers: Mapping[str, tuple[str, ...]]) -> HillsRecord:
    """Add the headers of new actions to the record; InputError if a header has changed."""
    merged = dict(record.headers)
    for action, lines in headers.items():
        if merged.setdefault(action, lines) != lines:
            raise InputError(
                f"bias of {record.system}: the columns of {action} changed from "
                f"{' | '.join(merged[action])} to {' | '.join(lines)}; start a new campaign"
            )
    return replace(record, headers=merged)


def deactivate(record: HillsRecord, cuts: Iterable[Cut]) -> HillsRecord:
    """Mark the hills given by `cuts` as inactive."""
    after: dict[tuple[str, int], int] = {}
    for cut in cuts:
        key = (cut.walker, cut.round)
        after[key] = min(cut.after_step, after.get(key, cut.after_step))
    return replace(
        record,
        hills=tuple(
            replace(hill, active=False)
            if hill.active and hill.step > after.get((hill.walker, hill.round), hill.step)
            else hill
            for hill in record.hills
        ),
    )


def effective(record: HillsRecord, cuts: Iterable[Cut]) -> tuple[Cut, ...]:
    """Those of the cuts that affect at least one active hill."""
    last: dict[tuple[str, int], int] = {}
    for hill in record.hills:
        if hill.active:
            key = (hill.walker, hill.round)
            last[key] = max(hill.step, last.get(key, hill.step))
    return tuple(c for c in cuts if c.after_step < last.get((c.walker, c.round), c.after_step))


def gaussians(record: HillsRecord, *, action: str) -> Gaussians:
    """The active hills of an action as numbers.

    Raises:
        InputError: the hills have full covariance matrices (METAD with ADAPTIVE=GEOM).
    """
    lines = [line.split() for line in record.headers.get(action, ())]
    fields = next((words[2:] for words in lines if words[1:2] == ["FIELDS"]), [])
    constants = {words[2]: words[3] for words in lines if words[1:2] == ["SET"]}
    if constants.get("multivariate", "false") != "false":
        raise InputError(
            f"bias of {record.system}: {action} has hills with full covariance matrices "
            "(ADAPTIVE=GEOM), which are not supported"
        )
    count = max(0, len(fields) - 3) // 2  # time, centres, sigmas, height, biasf
    hills = active_hills(record, action=action)
    numbers = [[float(word) for word in hill.text.split()] for hill in hills]
    rows = np.array(numbers, dtype=float).reshape(len(hills), 2 * count + 3)
    biasfactor = np.maximum(rows[:, -1], 1.0)  # −1 if the hills are not well-tempered
    scale = np.where(rows[:, -1] > 1.0, (biasfactor - 1.0) / biasfactor, 1.0)
    return Gaussians(
        centres=rows[:, 1 : 1 + count],
        sigmas=rows[:, 1 + count : 1 + 2 * count],
        heights=rows[:, -2] * scale,
        periods=np.array([period(constants, name) for name in fields[1 : 1 + count]]),
        stretched=constants.get("kerneltype", "gaussian") == "stretched-gaussian",
    )


def bias_at(record: HillsRecord, values: Array, *, action: str) -> Array:
    """Bias of the active hills at (n, d) values: (n,), in the units of the PLUMED input."""
    hills = gaussians(record, action=action)
    return kernels(hills, values).sum(axis=1) if len(hills.heights) else np.zeros(len(values))


def kernels(hills: Gaussians, values: Array) -> Array:
    """(n, hills) contribution of each hill at (n, d) values, as in PLUMED's METAD without a grid.

    Values and energies are in the units of the PLUMED input.
    """
    distance = np.asarray(values, dtype=float)[:, None, :] - hills.centres
    finite = np.where(np.isfinite(hills.periods), hills.periods, 1.0)
    wrapped = distance - np.where(
        np.isfinite(hills.periods), finite * np.rint(distance / finite), 0
    )
    exponent = 0.5 * ((wrapped / hills.sigmas) ** 2).sum(axis=2)
    kernel = np.exp(-exponent)
    if hills.stretched:
        kernel = (kernel - math.exp(-_CUTOFF)) / (1.0 - math.exp(-_CUTOFF))
    added: Array = np.where(exponent < _CUTOFF, kernel, 0.0) * hills.heights
    return added


def record_to_text(record: HillsRecord) -> str:
    """The record in the format of the module's docstring."""
    lines = [_MAGIC, f"# system\t{record.system}"]
    for action in sorted(record.headers):
        lines += [f"# header\t{action}\t{line}" for line in record.headers[action]]
    lines.append(_COLUMNS)
    for h in record.hills:
        fields = (h.action, h.walker, h.round, h.step, h.generation, int(h.active), h.text)
        lines.append("\t".join(str(value) for value in fields))
    return "".join(f"{line}\n" for line in lines)


def record_from_text(text: str, *, path: Path | str) -> HillsRecord:
    """Read the output of `record_to_text`; `path` is used in messages."""
    return table_from_text(text, path=path, magic=_MAGIC, more=())[0]


def table_from_text(
    text: str, *, path: Path | str, magic: str, more: Sequence[str]
) -> tuple[HillsRecord, list[tuple[int, list[str]]]]:
    """Read a table of hills, and the header lines that begin with one of `more`.

    Args:
        text: content of the file.
        path: name of the file, for messages.
        magic: expected first line.
        more: first words of additional header lines.

    Returns:
        The hills; line number and words of each additional header line.
    """
    lines = text.split("\n")
    if lines[0] != magic or lines[-1] != "":
        raise ParseError(path, f"not a complete table that begins with '{magic}'", 1)
    system = lines[1].removeprefix("# system\t") if len(lines) > 2 else ""
    if not system or system == lines[1]:
        raise ParseError(path, "expected '# system<TAB>name'", 2)
    headers: dict[str, tuple[str, ...]] = {}
    others: list[tuple[int, list[str]]] = []
    hills: list[Hill] = []
    widths: dict[str, int] = {}
    columns = False
    for number, line in enumerate(lines[2:-1], start=3):
        words = line.split("\t")
        if columns:
            hills.append(_hill(words, system, widths.get(words[0], 0), path, number))
        elif words[0] == "# header" and len(words) == 3:
            headers[words[1]] = (*headers.get(words[1], ()), words[2])
            if words[2].startswith("#! FIELDS "):
                widths[words[1]] = len(words[2].split()[2:])
        elif line == _COLUMNS:
            columns = True
        elif words[0] in more:
            others.append((number, words))
        else:
            raise ParseError(path, f"expected a header or the column names, found {line!r}", number)
    if not columns:
        raise ParseError(path, "the line of column names is missing", len(lines))
    if any(one.order >= other.order for one, other in pairwise(hills)):
        raise ParseError(path, "hills are duplicated, or not sorted by action, round, step, walker")
    return HillsRecord(system, headers, tuple(hills)), others


def _hill(words: Sequence[str], system: str, width: int, path: Path | str, line: int) -> Hill:
    numbers = words[2:6]
    if len(words) != 7 or not all(word.isascii() and word.isdigit() for word in numbers):
        raise ParseError(path, "expected action, walker, four integers and PLUMED's line", line)
    if words[5] not in ("0", "1") or max(map(len, numbers)) > 18:
        raise ParseError(path, "active must be 0 or 1, and numbers at most 18 digits long", line)
    try:
        finite = [float(word) for word in words[6].split() if math.isfinite(float(word))]
    except ValueError:
        finite = []
    if len(finite) != width or len(words[6].split()) != width or not width:
        raise ParseError(path, f"expected {width} finite numbers, found {words[6]!r}", line)
    round_, step, generation, active = (int(word) for word in numbers)
    return Hill(system, words[0], words[1], round_, step, generation, bool(active), words[6])


def _check_steps(times: Array, deposit: Deposit, path: Path) -> None:
    """Check that each walker deposited one hill at each multiple of the pace after the start."""
    each = len(deposit.walkers)
    first = deposit.start // deposit.pace + 1
    steps = [_step(time, deposit) for time in times]
    due = [(first + index // each) * deposit.pace for index in range(len(steps))]
    where = f"{path}: hills of {', '.join(deposit.walkers)} in round {deposit.round}"
    for step, wanted in zip(steps, due, strict=True):
        if step != wanted:
            raise EngineFailed(f"{where}: found a hill at step {step}, expected step {wanted}")
    if deposit.stop is not None:
        count = each * (deposit.stop // deposit.pace - first + 1)
        if len(steps) != count:
            raise EngineFailed(
                f"{where}: found {len(steps)} hills, expected {count} for steps {deposit.start} "
                f"to {deposit.stop} with PACE={deposit.pace}"
            )


def _step(time: float, deposit: Deposit) -> int:
    return round(time / deposit.time_per_step)


def period(constants: Mapping[str, str], name: str) -> float:
    """Period of a variable, from the ends that PLUMED writes (numbers, -pi, pi); inf if none."""
    ends = [constants.get(f"{end}_{name}") for end in ("min", "max")]
    if None in ends:
        return math.inf
    known = {"pi": math.pi, "+pi": math.pi, "-pi": -math.pi, "2pi": 2 * math.pi}
    low, high = (known[end] if end in known else float(end) for end in ends if end is not None)
    return high - low
