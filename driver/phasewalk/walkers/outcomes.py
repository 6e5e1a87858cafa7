"""Read the results of a segment for each walker, also after an error or a time limit.

A walker has broken down if the sentinel or LAMMPS reported it. A launch that ended without such a
report, or because memory or disk ran out, was ended from outside, independent of the model.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .. import bias
from ..bias import HillsRecord, HillsTable, History, dumps, plumed, read_new
from ..errors import EngineFailed, Killed
from ..jobs import Death, Finished, death
from ..structures import carried
from ..units import FS_PER_PS
from . import limits, logs
from .limits import ENDED, HARMLESS, PLUMED
from .logs import Stop
from .partitions import colvar_files, good_file, hills_files
from .segment import ColvarSummary, SegmentPlan, SegmentResult, Walker, WalkerResult

_SCARCE = re.compile(
    r"failed to (re)?allocate|out of memory|bad_alloc|no space left|disk quota|input/output error"
    r"|cannot (open|write)|error (writing|closing)|stale file handle",
    re.IGNORECASE,
)
"""Messages of LAMMPS, PLUMED and torch if memory or disk runs out, which is not a breakdown."""


@dataclass(frozen=True)
class _End:
    """Why the launch ended early.

    Attributes:
        why: reason as text.
        walkers: partitions with an error of LAMMPS; None if they are not known.
        limit: the time limit was exceeded.
    """

    why: str
    walkers: tuple[int, ...] | None = None
    limit: bool = False

    def breaks(self, partition: int) -> bool:
        """Whether it is a breakdown of this walker."""
        return not self.limit and (self.walkers is None or partition in self.walkers)


def read(finished: Finished, plan: SegmentPlan) -> SegmentResult:
    """Read the result of each walker, also after an error or a time limit.

    Raises:
        Killed: the launch was ended from outside.
        EngineFailed: no walker completed a step, or hills are missing or duplicated; or the
            launcher says why it was ended from outside, and has tried again if that can help.
    """
    return read_launches([(finished, plan)])


def read_launches(launches: Sequence[tuple[Finished, SegmentPlan]]) -> SegmentResult:
    """The same for a segment of several launches, each with the plan of its own walkers."""
    walked = [_launched(finished, plan) for finished, plan in launches]
    # a walker that PLUMED stops at once, because its input has changed, restarts in the next round
    anew = any(one.anew for one in walked)
    if not anew and not any(log.steps_done for one in walked for log in one.logs):
        finished = launches[0][0]
        halted = next((why for one in walked for why in map(in_words, one.stops) if why), None)
        ended = next((one.end.why for one in walked if one.end), None)
        raise EngineFailed(
            f"{finished.job.name}: no walker completed a step: "
            f"{halted or ended or finished.last_lines()} (all files are in {finished.directory})"
        )
    return SegmentResult(
        launches[0][1].round,
        tuple(walker for one in walked for walker in _walkers(one)),
        next((one.end.why for one in walked if one.end), None),
        sum(one.finished.seconds for one in walked),
    )


def check(finished: Finished, plan: SegmentPlan) -> None:
    """Raise what `read` raises for a launch that was ended from outside."""
    _launched(finished, plan)


@dataclass(frozen=True)
class _Launched:
    """A launch that has ended, with the log and the stop of each of its walkers."""

    finished: Finished
    plan: SegmentPlan
    logs: list[logs.LogSummary]
    stops: list[Stop | None]
    end: _End | None

    @property
    def anew(self) -> bool:
        """PLUMED stopped a walker of a later round."""
        stops = (stop for stop in self.stops if stop is not None)
        return self.plan.round > 1 and any(stop.reason == ENDED for stop in stops)


def _launched(finished: Finished, plan: SegmentPlan) -> _Launched:
    directory = finished.directory
    logs = [_log(directory / f"{walker.id}.log") for walker in plan.walkers]
    end = _end(finished, plan, logs)
    stops = [_stop(plan, i, log, directory) for i, log in enumerate(logs)]
    return _Launched(finished, plan, logs, stops, end)


def _walkers(one: _Launched) -> tuple[WalkerResult, ...]:
    """Results of the walkers of a launch."""
    plan, directory = one.plan, one.finished.directory
    results = [
        _result(plan, partition, log, directory=directory, end=one.end)
        for partition, log in enumerate(one.logs)
    ]
    own: dict[str, list[bias.Hill]] = {walker.id: [] for walker in plan.walkers}
    for result in results:
        for hill in result.new_hills:  # MPI walkers share a file
            own[hill.walker].append(hill)
    return tuple(replace(result, new_hills=tuple(own[result.id])) for result in results)


def ended(plan: SegmentPlan, partition: int, directory: Path) -> WalkerResult | None:
    """Result, without hills, of a walker that has finished while others of its segment run.

    Returns None if it is still running, or if its log or frames are not complete yet.
    """
    walker = plan.walkers[partition]
    log = _log(directory / f"{walker.id}.log")
    if log.loop_s is None or log.errors:
        return None
    frames = _frames(plan, walker, directory)
    if not frames or frames[-1].step != log.last_step:
        return None
    stop = _stop(plan, partition, log, directory)
    return WalkerResult(
        id=walker.id,
        system=walker.system,
        frames=frames,
        last_step=frames[-1].step,
        steps_done=log.steps_done,
        halted=in_words(stop),
        stop=stop,
        new_hills=(),
        headers={},
        colvars=(),
        thermo=log.thermo,
        seconds=log.loop_s,
        broke=log.stop is not None and log.stop.reason not in HARMLESS,
    )


def hill_tables(plan: SegmentPlan, result: SegmentResult) -> Mapping[str, HillsTable]:
    """For each system with PLUMED input, the part of its record of hills from this segment."""
    walked: dict[str, list[WalkerResult]] = {}
    for walker in result.walkers:
        walked.setdefault(walker.system, []).append(walker)
    return {
        name: _table(name, plan.histories.get(name, History()), walked.get(name, []))
        for name, settings in plan.systems.items()
        if settings.plumed is not None
    }


def _table(system: str, history: History, walked: Sequence[WalkerResult]) -> HillsTable:
    laid = HillsRecord(system, history.headers)
    for walker in walked:
        laid = bias.add_headers(laid, walker.headers)
    return HillsTable(
        laid=bias.merge(laid, [h for walker in walked for h in walker.new_hills], headers={}),
        earlier=history.earlier,
        cuts=history.cuts,
        began={key: file.mark for key, file in history.files.items()},
        apart=history.apart,
    )


def _log(path: Path) -> logs.LogSummary:
    return logs.read_log(path) if path.is_file() else logs.LogSummary({})


def _end(finished: Finished, plan: SegmentPlan, logs: list[logs.LogSummary]) -> _End | None:
    """Why the launch ended early; None if it did not. Raises Killed if ended from outside."""
    _check_memory(finished, plan, logs)
    if finished.returncode == 0 and all(log.loop_s is not None for log in logs):
        return None
    if finished.returncode is None:
        limit = f"exceeded its time limit of {plan.settings.timeout_s or 0:g} s"
        return _End(f"the segment {f'was {finished.why}' if finished.why else limit}", limit=True)
    if finished.why:
        finished.require_success()
    failed = tuple(number for number, log in enumerate(logs) if log.errors)
    if failed:
        return _End(f"{plan.walkers[failed[0]].id}: {logs[failed[0]].errors[0]}", failed)
    printed = _printed(finished)
    for line in printed:
        if line.startswith("ERROR"):
            return _End(line)
    found = death(finished.returncode, printed)
    if found is None and not any(log.steps_done for log in logs):
        return _End(f"LAMMPS exited with code {finished.returncode}: {finished.last_lines()}")
    raise Killed(f"{finished.job.name}: {_killed(found, finished)}")


def _check_memory(finished: Finished, plan: SegmentPlan, logs: Sequence[logs.LogSummary]) -> None:
    """Raise Killed if a walker ended because memory or disk ran out."""
    for walker, log in zip(plan.walkers, logs, strict=True):
        messages = [*log.errors, *([log.stop.says] if log.stop and not log.errors else [])]
        for line in messages:
            if _SCARCE.search(line) and log.steps_done:
                raise Killed(
                    f"{finished.job.name}: {walker.id}: out of memory or disk space: {line} "
                    f"(all files are in {finished.directory})"
                )


def _printed(finished: Finished) -> list[str]:
    """The last lines that the launch printed."""
    lines: list[str] = []
    for name in (Finished.STDOUT, Finished.STDERR):
        path = finished.directory / name
        if path.is_file():
            lines += dumps.tail_lines(path, 2**16)
    return lines


def _killed(found: Death | None, finished: Finished) -> str:
    """How a launch was ended from outside, as text."""
    where = f"(all files are in {finished.directory})"
    if found is None:
        return (
            f"it exited with code {finished.returncode}, without a message of LAMMPS or the "
            f"sentinel: {finished.last_lines()} {where}"
        )
    name = f"signal {found.number}, {found.name}"
    if found.own:
        return f"a rank crashed ({name}) without an error message of LAMMPS {where}"
    memory = ": out of memory?" if found.name == "SIGKILL" else ""
    return f"a rank was killed from outside ({name}{memory}) {where}"


def _result(
    plan: SegmentPlan,
    partition: int,
    log: logs.LogSummary,
    *,
    directory: Path,
    end: _End | None,
) -> WalkerResult:
    walker = plan.walkers[partition]
    cut = end if log.loop_s is None else None
    broke = cut is not None and cut.breaks(partition)
    stop = _stop(plan, partition, log, directory)
    hills, headers = _new_hills(plan, partition, log, directory=directory)
    return WalkerResult(
        id=walker.id,
        system=walker.system,
        frames=_frames(plan, walker, directory),
        last_step=walker.step if log.last_step is None else log.last_step,
        steps_done=log.steps_done,
        halted=in_words(stop) or (cut.why if cut else None),
        stop=stop,
        new_hills=hills,
        headers=headers,
        colvars=_summaries(plan, partition, directory),
        thermo=log.thermo,
        seconds=log.loop_s,
        broke=log.stop.reason not in HARMLESS if log.stop else broke,
    )


def _frames(plan: SegmentPlan, walker: Walker, directory: Path) -> tuple[dumps.Frame, ...]:
    """All frames of a walker, in the order of time."""
    found = {}
    for name in (f"{walker.id}.dump", good_file(walker)):
        if (directory / name).is_file():
            for frame in dumps.read_dump(directory / name, plan.type_names):
                found[frame.step] = replace(frame, atoms=carried.like(frame.atoms, walker.atoms))
    return tuple(found[step] for step in sorted(found))


def _new_hills(
    plan: SegmentPlan, partition: int, log: logs.LogSummary, *, directory: Path
) -> tuple[tuple[bias.Hill, ...], dict[str, tuple[str, ...]]]:
    """New hills of a walker, and the headers of its hills files by action."""
    walker = plan.walkers[partition]
    text = plan.systems[walker.system].plumed or ""
    actions = plumed.metad_actions(text)
    # an error of PLUMED may occur before or after the hill of the last step
    threw = log.stop is not None and log.stop.reason == PLUMED
    hills: list[bias.Hill] = []
    headers: dict[str, tuple[str, ...]] = {}
    for item in hills_files(plan, walker):
        if not item.depositors:
            continue
        deposit = bias.Deposit(
            system=walker.system,
            action=item.action,
            walkers=item.depositors,
            round=plan.round,
            generation=plan.generation,
            start=walker.step,
            stop=log.last_step if log.loop_s is not None and not threw else None,
            pace=plumed.pace(actions[item.action]),
            time_per_step=plan.settings.timestep_fs / FS_PER_PS / plumed.time_unit_ps(text),
        )
        new, header = read_new(item, deposit, directory=directory, partition=partition)
        hills += new
        if header:
            headers[item.action] = header
    return tuple(hills), headers


def in_words(stop: Stop | None) -> str | None:
    """A stop by the sentinel as text."""
    if stop is None:
        return None
    said = limits.in_words(stop.reason, value=stop.value, limit=stop.limit, says=stop.says)
    return f"{said} at step {stop.step}"


def _stop(plan: SegmentPlan, partition: int, log: logs.LogSummary, directory: Path) -> Stop | None:
    """The stop by the sentinel, with PLUMED's message if PLUMED requested it."""
    if log.stop is None or log.stop.reason != ENDED:
        return log.stop
    walker = plan.walkers[partition]
    text = plan.systems[walker.system].plumed or ""
    files = [action.get("FILE") for action in plumed.parse(text) if action.name == "COMMITTOR"]
    names = [f"{walker.id}.out.{Path(file).name}" for file in files if file]
    # COMMITTOR writes the basin to its file, or to PLUMED's log
    places = [f"{name}{end}" for name in names for end in ("", f".{partition}")]
    words = _basin([directory / name for name in (*places, f"{walker.id}.plumed.log")])
    return replace(log.stop, says=words)


def _basin(paths: list[Path]) -> str:
    """The basin that COMMITTOR has reached."""
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if found := re.findall(r"COMMITTED TO (BASIN \d+)", text):
            return f"COMMITTOR reached {found[-1].lower()}"
    return "COMMITTOR"


def _summaries(plan: SegmentPlan, partition: int, directory: Path) -> tuple[ColvarSummary, ...]:
    """The printed variables; PLUMED with MPI appends the partition's number to file names."""
    walker = plan.walkers[partition]
    found: list[ColvarSummary] = []
    for name in colvar_files(walker.id, plan.systems[walker.system].plumed or ""):
        candidates = (directory / name, directory / f"{name}.{partition}")
        for path in [path for path in candidates if path.is_file()][:1]:
            table = dumps.read_colvar(path)
            columns = list(table.values.T[1:]) if len(table.values) else []
            found += [
                ColvarSummary(field, *map(float, (c[0], c[-1], c.min(), c.max())))
                for field, c in zip(table.fields[1:], columns, strict=False)
            ]
    return tuple(found)
