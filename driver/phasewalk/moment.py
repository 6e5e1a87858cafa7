"""The present state of a running campaign: data and the file that it is written to."""

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
"""Name of the stage before the first one; first words of the stages of a free energy."""
FRESH_S = 60.0
"""Age of the file, s, above which it is ignored: the campaign may have ended."""
RUNNING, DONE, STOPPED = "running", "done", "stopped: "
FORCE_MAE = "force_mae_meV_per_A"
FAILED_NOW, RUNNING_NOW = "failed", "running"
"""Keys of `Now.numbers` in the stages that count labels or atoms."""
_UNLIKE = "not the state of a running campaign"

Count = Annotated[int, Field(ge=0)]
Number = Annotated[int | float, Field(gt=-1e15, lt=1e15)]
State = Annotated[str, Field(pattern=rf"^({RUNNING}|{DONE}|{STOPPED}[a-z ]{{1,40}})$")]


@dataclass(frozen=True)
class WalkerNow:
    """One walker of the running segment.

    Attributes:
        walker: its id.
        steps_done, steps: numbers of steps in this segment, done and in total.
        ps: simulated time in this segment.
        temperature_K, volume_A3: from the last line of the log; None if there is none.
        colvars: printed variable → its last value, in the units of the PLUMED text.
        closest: closest contact of the last frame, as a fraction of the sum of covalent radii.
        state: "running", "done", or "stopped: " with the limit at which the sentinel stopped it.
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
    """Details of a running stage, besides its progress.

    Attributes:
        rows: its walkers.
        numbers: other counts and measurements; see `Now.numbers`.
        total: the final count, if it was not known at the beginning.
        seconds_left: its own estimate of the remaining time.
    """

    rows: tuple[WalkerNow, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    total: float | None = None
    seconds_left: float | None = None


NOTHING = Seen()


@dataclass(frozen=True)
class Now:
    """The present state of a running campaign.

    Attributes:
        round: number of the round; 0 for the bootstrap.
        rounds: total number of rounds; 0 if unknown.
        stage: name of the stage.
        done, total, unit: progress of the stage; `total` is 0 if unknown.
        detail: further description.
        began: start of the stage, seconds since 1970.
        at: time of writing, seconds since 1970.
        seconds_left: estimate for this stage; None if unknown.
        core_hours: used by the campaign so far, including running jobs.
        place: directory of the stage's running job, relative to the campaign; empty if there is
            none.
        rows: the walkers of a segment.
        numbers: numbers of `running` and `failed` labels or atoms; `force_mae_meV_per_A` of the
            last epoch.
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
        if self.stage.startswith(FREE_ENERGY):  # its rounds are segments
            return f"{self.stage}: segment {self.round}"
        of = f" of {self.rounds}" if self.rounds else ""
        return f"{f'round {self.round}{of}' if self.round else 'bootstrap'}: {self.stage}"


def to_json(now: Now) -> dict[str, Any]:
    """As data for JSON; numbers that are not finite become null."""
    found: dict[str, Any] = finite(asdict(now))
    return found


def to_text(now: Now) -> str:
    """The content of its file."""
    return json.dumps(to_json(now), allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """The value with None in place of numbers that are not finite, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_json(data: Any, path: Path | str = FILE) -> Now:
    """The reverse of `to_json`.

    Raises:
        ParseError: missing or unknown keys, or a value of the wrong type.
    """
    return typed(data, Now, unlike=_UNLIKE, path=path)


def read(root: Path, at: float) -> Now | None:
    """The state of the campaign in a directory at a time (seconds since 1970).

    Returns:
        None if the file does not exist, is damaged, or is older than `FRESH_S`.
    """
    path = root / FILE
    with contextlib.suppress(ParseError):
        found = read_file(path, Now, unlike=_UNLIKE)
        if abs(at - found.at) < FRESH_S:
            return found
    return None


@dataclass
class Pace:
    """Estimate of the remaining time of a count, without the time before its first increase."""

    _first: tuple[float, float] | None = None
    _last: tuple[float, float] = (0.0, 0.0)

    def left(self, done: float, total: float, at: float) -> float | None:
        """Estimated seconds to the total; None until the count has increased.

        Args:
            done: the count.
            total: its final value.
            at: the time, s, of any clock.
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
        # The time since the last increase is subtracted.
        return max(0.0, (total - self._last[0]) * took / moved - (at - self._last[1]))
