"""The record of hills: the campaign's own memory of its bias, from which PLUMED's files are made.

A hill keeps the line that PLUMED wrote, bit for bit, beside what PLUMED does not know: walker,
round, step, generation of the model, and whether it still counts. As text it is a table:

    # phasewalk hills 1
    # system<TAB>mil53_al
    # header<TAB>metad<TAB>#! FIELDS time volume sigma_volume height biasf
    action<TAB>walker<TAB>round<TAB>step<TAB>generation<TAB>active<TAB>text
    metad<TAB>mil53_al-0<TAB>1<TAB>50<TAB>0<TAB>1<TAB>      0.025  758.1 …

with one `# header` line for every `#!` line of the action's HILLS file, `active` 0 or 1, and the
hills in the order of action, round, step, walker. Such a table, with all hills, was written after
each round by earlier versions; `hill_tables` has the table of one round.
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
"""PLUMED's METAD ends a Gaussian where half the squared scaled distance reaches this."""


@dataclass(frozen=True)
class Hill:
    """One hill: who laid it, when, with which model, and PLUMED's own line for it."""

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
        """Hills of a record are sorted by this, and it is different for each."""
        return (self.action, self.round, self.step, self.walker)


@dataclass(frozen=True)
class HillsRecord:
    """All hills of one system; `headers` holds the `#!` lines of each METAD action's file."""

    system: str
    headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hills: tuple[Hill, ...] = ()


@dataclass(frozen=True)
class Cut:
    """Hills of a walker in a round, after a step, that do not count any more."""

    walker: str
    round: int
    after_step: int


@dataclass(frozen=True)
class Gaussians:
    """Hills as numbers, in the units of the PLUMED text.

    Attributes:
        centres: (n, d) values of the variables.
        sigmas: (n, d) widths.
        heights: (n,) energies as PLUMED adds them up (well-tempered scaling taken back).
        periods: (d,) period of each variable, inf where it has none.
        stretched: PLUMED's stretched Gaussian, which ends at zero at its cutoff.
    """

    centres: Array
    sigmas: Array
    heights: Array
    periods: Array
    stretched: bool


@dataclass(frozen=True)
class Deposit:
    """Who laid the new hills of one HILLS file, and which steps it must hold.

    Attributes:
        system: the system.
        action: key of the METAD action.
        walkers: the file's walker; several where MPI walkers write one file, in their order.
        round: the round of this segment.
        generation: of the model that it walked with.
        start: step at which the segment began.
        stop: last step done; None where the walker was cut off, so that only gaps can be found.
        pace: steps between hills.
        time_per_step: in the time unit of the PLUMED text.
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
    """The HILLS file of all active hills; '' if there are none."""
    hills = active_hills(record, action=action)
    return header(record, action=action) + "".join(f"{h.text}\n" for h in hills) if hills else ""


def header(record: HillsRecord, *, action: str) -> str:
    """The HILLS file of an action without its hills; '' where none was ever laid."""
    return "".join(f"{line}\n" for line in record.headers.get(action, ()))


def active_hills(record: HillsRecord, *, action: str) -> tuple[Hill, ...]:
    """Hills that count, by round, step, walker."""
    return tuple(hill for hill in record.hills if hill.active and hill.action == action)


def by_walker(record: HillsRecord) -> dict[str, HillsRecord]:
    """The record of each walker that has hills."""
    found: dict[str, list[Hill]] = {}
    for hill in record.hills:
        found.setdefault(hill.walker, []).append(hill)
    return {walker: replace(record, hills=tuple(hills)) for walker, hills in found.items()}


def new_hills(found: HillsFile, deposit: Deposit, *, path: Path) -> tuple[Hill, ...]:
    """The hills that METAD has written in this segment.

    Raises:
        EngineFailed: hills are missing, doubled, or at steps where none is due.
    """
    # without rows there may be no header either: a walker that stopped before its first hill
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
    """The record with new hills, and with the headers of actions that had none.

    Raises:
        InputError: a hill that the record holds already, or a header that changed.
    """
    merged = add_headers(record, headers).headers
    everything = sorted((*record.hills, *hills), key=lambda hill: hill.order)
    for one, other in pairwise(everything):
        if one.order == other.order:
            raise InputError(
                f"bias of {record.system}: {one.walker} laid the hill of round {one.round}, step "
                f"{one.step} ({one.action}) twice"
            )
    return HillsRecord(record.system, merged, tuple(everything))


def add_headers(record: HillsRecord, headers: Mapping[str, tuple[str, ...]]) -> HillsRecord:
    """The record with the headers of actions that had none; InputError if one has changed."""
    merged = dict(record.headers)
    for action, lines in headers.items():
        if merged.setdefault(action, lines) != lines:
            raise InputError(
                f"bias of {record.system}: the columns of {action} changed from "
                f"{' | '.join(merged[action])} to {' | '.join(lines)}; start a new campaign"
            )
    return replace(record, headers=merged)


def deactivate(record: HillsRecord, cuts: Iterable[Cut]) -> HillsRecord:
    """The record in which the hills that the cuts name no longer count."""
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
    """Those of the cuts by which a hill of the record would not count any more."""
    last: dict[tuple[str, int], int] = {}
    for hill in record.hills:
        if hill.active:
            key = (hill.walker, hill.round)
            last[key] = max(hill.step, last.get(key, hill.step))
    return tuple(c for c in cuts if c.after_step < last.get((c.walker, c.round), c.after_step))


def gaussians(record: HillsRecord, *, action: str) -> Gaussians:
    """The active hills of an action as numbers.

    Raises:
        InputError: the hills have full covariance matrices (METAD ADAPTIVE=GEOM).
    """
    lines = [line.split() for line in record.headers.get(action, ())]
    fields = next((words[2:] for words in lines if words[1:2] == ["FIELDS"]), [])
    constants = {words[2]: words[3] for words in lines if words[1:2] == ["SET"]}
    if constants.get("multivariate", "false") != "false":
        raise InputError(f"bias of {record.system}: {action} has multivariate hills")
    count = max(0, len(fields) - 3) // 2  # time, centres, sigmas, height, biasf
    hills = active_hills(record, action=action)
    numbers = [[float(word) for word in hill.text.split()] for hill in hills]
    rows = np.array(numbers, dtype=float).reshape(len(hills), 2 * count + 3)
    biasfactor = np.maximum(rows[:, -1], 1.0)  # −1 where the hills are not well-tempered
    scale = np.where(rows[:, -1] > 1.0, (biasfactor - 1.0) / biasfactor, 1.0)
    return Gaussians(
        centres=rows[:, 1 : 1 + count],
        sigmas=rows[:, 1 + count : 1 + 2 * count],
        heights=rows[:, -2] * scale,
        periods=np.array([_period(constants, name) for name in fields[1 : 1 + count]]),
        stretched=constants.get("kerneltype", "gaussian") == "stretched-gaussian",
    )


def bias_at(record: HillsRecord, values: Array, *, action: str) -> Array:
    """The bias of the active hills at (n, d) values: (n,), all in the units of the PLUMED text."""
    hills = gaussians(record, action=action)
    return kernels(hills, values).sum(axis=1) if len(hills.heights) else np.zeros(len(values))


def kernels(hills: Gaussians, values: Array) -> Array:
    """(n, hills) what each hill adds at (n, d) values, as in PLUMED's METAD without a grid.

    Values and energies are in the units of the PLUMED text.
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
    """The record as the table that the module's docstring describes."""
    lines = [_MAGIC, f"# system\t{record.system}"]
    for action in sorted(record.headers):
        lines += [f"# header\t{action}\t{line}" for line in record.headers[action]]
    lines.append(_COLUMNS)
    for h in record.hills:
        fields = (h.action, h.walker, h.round, h.step, h.generation, int(h.active), h.text)
        lines.append("\t".join(str(value) for value in fields))
    return "".join(f"{line}\n" for line in lines)


def record_from_text(text: str, *, path: Path | str) -> HillsRecord:
    """Read what `record_to_text` wrote; `path` is for messages."""
    return table_from_text(text, path=path, magic=_MAGIC, more=())[0]


def table_from_text(
    text: str, *, path: Path | str, magic: str, more: Sequence[str]
) -> tuple[HillsRecord, list[tuple[int, list[str]]]]:
    """Read a table of hills, and the lines before its hills that begin with one of `more`.

    Args:
        text: of the file.
        path: for messages.
        magic: its first line.
        more: first words of lines that may stand among the `# header` lines.

    Returns:
        The hills; number and words of each of those lines.
    """
    lines = text.split("\n")
    if lines[0] != magic or lines[-1] != "":
        raise ParseError(path, f"is not a whole table that begins with '{magic}'", 1)
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
            raise ParseError(path, f"expected a header line or the column names: {line!r}", number)
    if not columns:
        raise ParseError(path, "the line of column names is missing", len(lines))
    if any(one.order >= other.order for one, other in pairwise(hills)):
        raise ParseError(path, "hills are doubled, or not sorted by action, round, step, walker")
    return HillsRecord(system, headers, tuple(hills)), others


def _hill(words: Sequence[str], system: str, width: int, path: Path | str, line: int) -> Hill:
    numbers = words[2:6]
    if len(words) != 7 or not all(word.isascii() and word.isdigit() for word in numbers):
        raise ParseError(path, "expected action, walker, four whole numbers, PLUMED's line", line)
    if words[5] not in ("0", "1") or max(map(len, numbers)) > 18:
        raise ParseError(path, "active must be 0 or 1, and numbers have at most 18 digits", line)
    try:
        finite = [float(word) for word in words[6].split() if math.isfinite(float(word))]
    except ValueError:
        finite = []
    if len(finite) != width or len(words[6].split()) != width or not width:
        raise ParseError(path, f"not a line of {width} finite numbers: {words[6]!r}", line)
    round_, step, generation, active = (int(word) for word in numbers)
    return Hill(system, words[0], words[1], round_, step, generation, bool(active), words[6])


def _check_steps(times: Array, deposit: Deposit, path: Path) -> None:
    """Hills must stand at each multiple of the pace after the start, once for each walker."""
    each = len(deposit.walkers)
    first = deposit.start // deposit.pace + 1
    steps = [_step(time, deposit) for time in times]
    due = [(first + index // each) * deposit.pace for index in range(len(steps))]
    where = f"{path}: hills of {', '.join(deposit.walkers)} in round {deposit.round}"
    for step, wanted in zip(steps, due, strict=True):
        if step != wanted:
            raise EngineFailed(f"{where}: one at step {step}, where {wanted} was due")
    if deposit.stop is not None:
        count = each * (deposit.stop // deposit.pace - first + 1)
        if len(steps) != count:
            raise EngineFailed(
                f"{where}: {len(steps)}, but steps {deposit.start} to {deposit.stop} with a pace "
                f"of {deposit.pace} make {count}"
            )


def _step(time: float, deposit: Deposit) -> int:
    return round(time / deposit.time_per_step)


def _period(constants: Mapping[str, str], name: str) -> float:
    """Period of a variable (PLUMED writes its ends, as numbers or -pi and pi); inf without."""
    ends = [constants.get(f"{end}_{name}") for end in ("min", "max")]
    if None in ends:
        return math.inf
    known = {"pi": math.pi, "+pi": math.pi, "-pi": -math.pi, "2pi": 2 * math.pi}
    low, high = (known[end] if end in known else float(end) for end in ends if end is not None)
    return high - low
