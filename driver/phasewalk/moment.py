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
from .where import Pool, Where

FILE = "now.json"
STARTING, FREE_ENERGY, ALARM_FRAMES = "starting", "free energy", "alarm frames"
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
class JobNow:
    """A job of a site that waits or runs.

    Attributes:
        name: of the job.
        running: it has been started.
        place: its directory, relative to the campaign.
        since: when it was put into the queue, or started; seconds since 1970.
        why: why it waits.
        where: where.
    """

    __pydantic_config__ = EXACT

    name: str
    running: bool
    place: str
    since: Number
    why: str
    where: Where


@dataclass(frozen=True)
class WorkNow:
    """Jobs of one kind of work in the site file.

    Attributes:
        kind: the kind.
        queued, running, done, failed: number of jobs; of a repeated task, each of its runs counts.
        waits_s, why: longest time that one waits now, and why; None and empty if none does.
        nodes: names of the nodes on which they run now.
        queue_mean_s, queue_longest_s: time in the queue of those that have ended.
        core_hours, gpu_hours: of those that have ended or run.
        lost: number of times that they were started again because Slurm had lost their nodes or
            preempted them.
    """

    __pydantic_config__ = EXACT

    kind: str
    queued: Count = 0
    running: Count = 0
    done: Count = 0
    failed: Count = 0
    waits_s: Number | None = None
    why: str = ""
    nodes: tuple[str, ...] = ()
    queue_mean_s: Number | None = None
    queue_longest_s: Number | None = None
    core_hours: Number = 0.0
    gpu_hours: Number = 0.0
    lost: Count = 0


@dataclass(frozen=True)
class SiteNow:
    """What a campaign does on a site.

    Attributes:
        at: when this was known, seconds since 1970.
        work: its jobs by kind of work.
        jobs: jobs that wait or run; of very many, not all.
        pool: the allocation, or machine, that they share; None for a queue.
        idle_share, gpu_idle_share: share of its cores' and GPUs' time, so far, without a job.
        ends: when the campaign ends if its rounds take as long as the last ones, seconds since
            1970; None if that is not known.
    """

    __pydantic_config__ = EXACT

    at: Number
    work: tuple[WorkNow, ...] = ()
    jobs: tuple[JobNow, ...] = ()
    pool: Pool | None = None
    idle_share: Number | None = None
    gpu_idle_share: Number | None = None
    ends: Number | None = None


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
        site: what it does on a site; None without one.
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
    site: SiteNow | None = None

    @property
    def title(self) -> str:
        """Round and stage."""
        if self.stage == STARTING:
            return STARTING
        if self.stage.startswith((FREE_ENERGY, ALARM_FRAMES)):  # these have no rounds
            return self.stage
        of = f" of {self.rounds}" if self.rounds else ""
        return f"{f'round {self.round}{of}' if self.round else 'bootstrap'}: {self.stage}"


def to_json(now: Now) -> dict[str, Any]:
    """As data for JSON; numbers that are not finite become null."""
    found: dict[str, Any] = finite(asdict(now))
    return found


def without_site(now: Now) -> dict[str, Any]:
    """The same without what it does on a site, which is also known of a campaign that stopped."""
    return {key: value for key, value in to_json(now).items() if key != "site"}


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


def site_from_json(data: Mapping[str, Any]) -> SiteNow:
    """What a campaign does on a site, from a larger object.

    Raises:
        InputError: missing keys, or a value of the wrong type.
    """
    own = {name: data[name] for name in SiteNow.__dataclass_fields__ if name in data}
    return typed(own, SiteNow, unlike=_UNLIKE)


def read(root: Path, at: float) -> Now | None:
    """The state of the campaign in a directory at a time (seconds since 1970).

    Returns:
        None if the file does not exist, is damaged, or is older than `FRESH_S`.
    """
    found = last(root)
    return found if found is not None and abs(at - found.at) < FRESH_S else None


def last(root: Path) -> Now | None:
    """The state that was written last, whenever that was; None if there is none."""
    with contextlib.suppress(ParseError):
        return read_file(root / FILE, Now, unlike=_UNLIKE)
    return None


def duration(seconds: float) -> str:
    """A duration as text: 42 s, 3 min 20 s, 2 h 05 min, 3 d 4 h."""
    whole = round(seconds)
    minutes, hours = whole // 60, whole // 3600
    if minutes < 1:
        return f"{whole} s"
    if hours < 1:
        return f"{minutes} min {whole % 60:02d} s"
    if hours < 48:
        return f"{hours} h {minutes % 60:02d} min"
    return f"{hours // 24} d {hours % 24} h"


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
