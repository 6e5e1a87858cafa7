"""What a running campaign is doing this moment: data, its file, and how it is shown."""

import contextlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from .errors import UNREADABLE, ParseError

FILE = "now.json"
STARTING, FREE_ENERGY = "starting", "free energy"
"""The stage before the first one; how that of a frozen model begins."""
FRESH_S = 60.0
"""Without a sign for so long, nobody knows what a campaign is doing."""
RUNNING, DONE, STOPPED = "running", "done", "stopped: "
FORCE_MAE = "force_mae_meV_per_A"
FAILED_NOW, RUNNING_NOW = "failed", "running"
"""Of `Now.numbers`, where a stage counts labels or atoms."""
_STATE = re.compile(rf"{RUNNING}|{DONE}|{STOPPED}[a-z ]{{1,40}}")


@dataclass(frozen=True)
class WalkerNow:
    """One walker of the segment that runs.

    Attributes:
        walker: its id.
        steps_done, steps: in this segment.
        ps: simulated in this segment.
        temperature_K, volume_A3: of the log's last line; None if there is none.
        colvars: printed variable → its last value, in the units of the PLUMED text.
        closest: closest contact of the last frame, as a fraction of the sum of covalent radii.
        state: "running", "done", or "stopped: " and what the sentinel stopped it for.
    """

    walker: str
    steps_done: int
    steps: int
    ps: float
    temperature_K: float | None = None
    volume_A3: float | None = None
    colvars: Mapping[str, float] = field(default_factory=dict)
    closest: float | None = None
    state: str = RUNNING


@dataclass(frozen=True)
class Seen:
    """What a stage tells of itself beside how far it is.

    Attributes:
        rows: its walkers.
        numbers: what else it counts or measures; see `Now.numbers`.
        total: what it counts up to, where that was not known when it began.
        seconds_left: its own estimate.
    """

    rows: tuple[WalkerNow, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    total: float | None = None
    seconds_left: float | None = None


NOTHING = Seen()


@dataclass(frozen=True)
class Now:
    """What a running campaign is doing this moment.

    Attributes:
        round: 0 for the bootstrap.
        rounds: in all; 0 if unknown.
        stage: what is being done.
        done, total, unit: how far it is; `total` is 0 if unknown.
        detail: more, in words.
        began: when the stage began, seconds since 1970.
        at: when this was written, seconds since 1970.
        seconds_left: estimate for this stage; None if unknown.
        core_hours: of the campaign so far, with what runs now.
        place: directory of the engine's files, relative to the campaign; empty if none runs.
        rows: the walkers of a segment.
        numbers: `running` and `failed` labels or atoms; `force_mae_meV_per_A` of the last epoch.
    """

    round: int
    rounds: int
    stage: str
    done: float
    total: float
    unit: str
    detail: str
    began: float
    at: float
    seconds_left: float | None
    core_hours: float
    place: str
    rows: tuple[WalkerNow, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Round and stage."""
        if self.stage == STARTING:
            return STARTING
        if self.stage.startswith(FREE_ENERGY):  # whose rounds are segments
            return f"{self.stage}: segment {self.round}"
        of = f" of {self.rounds}" if self.rounds else ""
        return f"{f'round {self.round}{of}' if self.round else 'bootstrap'}: {self.stage}"


def to_json(now: Now) -> dict[str, Any]:
    """As JSON-able data; what is not finite, for which JSON has no word, becomes null."""
    found: dict[str, Any] = finite(asdict(now))
    return found


def to_text(now: Now) -> str:
    """The content of its file."""
    return json.dumps(to_json(now), allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The value with null for what JSON has no word for."""
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_json(data: Any, path: Path | str = FILE) -> Now:
    """What `to_json` made.

    Raises:
        ParseError: a key too few or too many, or a value of another kind.
    """
    try:
        rows = tuple(_row(entry) for entry in _whole(data, Now)["rows"])
        now = Now(**{**data, "rows": rows, "numbers": _numbers(data["numbers"])})
        _check(
            now,
            ("stage", "unit", "detail", "place"),
            ("round", "rounds"),
            ("done", "total", "began", "at", "core_hours"),
            ("seconds_left",),
        )
    except UNREADABLE as error:
        raise ParseError(path, f"does not say what a campaign is doing ({error!r})") from error
    return now


def _row(data: Any) -> WalkerNow:
    row = WalkerNow(**{**_whole(data, WalkerNow), "colvars": _numbers(data["colvars"])})
    _check(
        row,
        ("walker", "state"),
        ("steps_done", "steps"),
        ("ps",),
        ("temperature_K", "volume_A3", "closest"),
    )
    if not _STATE.fullmatch(row.state):
        raise ValueError(f"state {row.state[:40]!r}")
    return row


def _whole(data: Any, kind: type) -> dict[str, Any]:
    names = {one.name for one in fields(kind)}
    if not isinstance(data, dict) or set(data) != names:
        raise ValueError(f"not the keys of {kind.__name__}")
    return data


def _numbers(data: Any) -> dict[str, float]:
    """Null, for what was not finite, becomes so again."""
    found = {str(key): math.nan if value is None else value for key, value in data.items()}
    if not all(value != value or _is_number(value) for value in found.values()):
        raise ValueError("not a number")
    return found


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e15


def _check(
    found: Any,
    texts: tuple[str, ...],
    counts: tuple[str, ...],
    values: tuple[str, ...],
    maybe: tuple[str, ...],
) -> None:
    for name in texts:
        if type(getattr(found, name)) is not str:
            raise TypeError(f"{name} is no text")
    for name in (*counts, *values, *maybe):
        value = getattr(found, name)
        if not (_is_number(value) or (value is None and name in maybe)):
            raise TypeError(f"{name} is no number")
        if name in counts and (type(value) is not int or value < 0):
            raise TypeError(f"{name} is no count")


def read(root: Path, at: float) -> Now | None:
    """What the campaign in a directory is doing at a time (seconds since 1970).

    Returns:
        None if nothing is known: no file, a damaged one, or one that is too old.
    """
    path = root / FILE
    with contextlib.suppress(ParseError, *UNREADABLE):
        found = from_json(json.loads(path.read_text(encoding="utf-8")), path)
        if abs(at - found.at) < FRESH_S:
            return found
    return None


@dataclass
class Pace:
    """How fast something counts up, without the time before its first sign (a program's start)."""

    _first: tuple[float, float] | None = None
    _last: tuple[float, float] = (0.0, 0.0)

    def left(self, done: float, total: float, at: float) -> float | None:
        """Seconds to the total; None as long as nothing was seen to move.

        Args:
            done: how far it is.
            total: where it ends.
            at: the time, s, by any clock.
        """
        if self._first is None:
            if done > 0:
                self._first = self._last = (done, at)
            return None
        if done > self._last[0]:
            self._last = (done, at)
        moved, took = self._last[0] - self._first[0], self._last[1] - self._first[1]
        if moved <= 0 or took <= 0:
            return None
        # What was done since the last sign counts too.
        return max(0.0, (total - self._last[0]) * took / moved - (at - self._last[1]))
