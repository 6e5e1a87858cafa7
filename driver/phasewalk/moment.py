"""What a running campaign is doing this moment: data, its file, and how it is shown."""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from .errors import ParseError
from .files import EXACT, OrNan, typed
from .files import read as read_file

FILE = "now.json"
STARTING, FREE_ENERGY = "starting", "free energy"
"""The stage before the first one; how that of a frozen model begins."""
FRESH_S = 60.0
"""Without a sign for so long, nobody knows what a campaign is doing."""
RUNNING, DONE, STOPPED = "running", "done", "stopped: "
FORCE_MAE = "force_mae_meV_per_A"
FAILED_NOW, RUNNING_NOW = "failed", "running"
"""Of `Now.numbers`, where a stage counts labels or atoms."""
_UNLIKE = "does not say what a campaign is doing"

Count = Annotated[int, Field(ge=0)]
Number = Annotated[int | float, Field(gt=-1e15, lt=1e15)]
State = Annotated[str, Field(pattern=rf"^({RUNNING}|{DONE}|{STOPPED}[a-z ]{{1,40}})$")]


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

    __pydantic_config__ = EXACT

    walker: str
    steps_done: Count
    steps: Count
    ps: Number
    temperature_K: Number | None = None
    volume_A3: Number | None = None
    colvars: Mapping[str, OrNan] = field(default_factory=dict)
    closest: Number | None = None
    state: State = RUNNING


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

    __pydantic_config__ = EXACT

    round: Count
    rounds: Count
    stage: str
    done: Number
    total: Number
    unit: str
    detail: str
    began: Number
    at: Number
    seconds_left: Number | None
    core_hours: Number
    place: str
    rows: tuple[WalkerNow, ...] = ()
    numbers: Mapping[str, OrNan] = field(default_factory=dict)

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
    return typed(data, Now, unlike=_UNLIKE, path=path)


def read(root: Path, at: float) -> Now | None:
    """What the campaign in a directory is doing at a time (seconds since 1970).

    Returns:
        None if nothing is known: no file, a damaged one, or one that is too old.
    """
    path = root / FILE
    with contextlib.suppress(ParseError):
        found = read_file(path, Now, unlike=_UNLIKE)
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
