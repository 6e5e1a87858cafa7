"""Start a production run, or go on with it.

Its folder has everything that it needs:

production.json                     what it is made from, and must not change
production.lmp                      the deck of all walkers
walker-0.lmp walker-0.continue.lmp  decks of a walker: from the beginning, from its restart file
start.data model.nequip.pt2         start structure, frozen model
walker-0.plumed walker-0.log        PLUMED input, log of all starts
walker-0.thermo .dump .colvar       output, continuous over all starts
walker-0.metad.hills                hills; metad.hills.0 if there are several walkers
walker-0.restart .a .b .end         restart files; the first is that of the last start
alarms.jsonl alarms.extxyz          frames unlike what the model was trained on (trained.npz)
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bias import tail_lines
from ..errors import EngineFailed, InputError, Interrupted, StoreError, named
from ..files import EXACT, file_hash, hash_bytes, read, write_file
from ..jobs import Finished, Job, Launcher, Running, Session
from ..labels import levels
from ..models import name_for_ranks
from ..moment import duration
from ..store import LOCK, Lock, take
from ..units import FS_PER_PS
from ..walkers import Engines, launch
from . import deck, outputs
from .alarmed import Alarms
from .plan import Plan
from .written import Full, Written

BEGUN = "production.json"
GRACE_S = 300.0
"""Time to stop softly, after which the run is killed and goes on from its last restart file."""
DYING_S = 3.0
"""Time in which the processes of a start that was killed end."""
SECONDS_PER_DAY = 86400.0
Shown = Callable[[str], None]


@dataclass(frozen=True)
class Begun:
    """What a run was begun with.

    Attributes:
        generation: of the model; empty for an exported one.
        made_from: see `Plan.identity`.
        start: SHA-256 of the start structure.
    """

    __pydantic_config__ = EXACT

    generation: str
    made_from: dict[str, Any]
    start: str


@dataclass(frozen=True)
class Outcome:
    """Where a run has ended.

    Attributes:
        steps: step of each walker's last restart file.
        total: number of steps of each walker.
    """

    steps: Mapping[str, int]
    total: int

    @property
    def done(self) -> bool:
        """Whether all walkers have all steps."""
        return all(step >= self.total for step in self.steps.values())


def begun_with(folder: Path) -> str | None:
    """Generation that a run in a folder was begun with; None if there is none, or no run."""
    path = folder / BEGUN
    return (read(path, Begun).generation or None) if path.is_file() else None


def shown_decks(plan: Plan) -> dict[str, str]:
    """The deck of all walkers, and deck and PLUMED input of the first one, by name."""
    first = plan.walkers[0]
    texts = deck.texts(plan, first, step=0)
    texts.pop(f"{first}.continue.lmp")
    return {deck.MAIN: deck.main(plan, dict.fromkeys(plan.walkers, 0)), **texts}


def run(
    plan: Plan,
    folder: Path,
    launcher: Launcher,
    engines: Engines,
    *,
    show: Shown,
    say: Shown,
) -> Outcome:
    """Start a run, or go on with it, to its end or until it is stopped.

    Ctrl-C and SIGTERM stop it softly.

    Args:
        plan: the run.
        folder: of the run; made if it does not exist.
        launcher: starts LAMMPS.
        engines: the programs.
        show: receives the progress, twice a second.
        say: receives what is to be read in any case.

    Raises:
        InputError: the folder has another run, or its files do not fit together.
        EngineFailed: LAMMPS failed.
        Interrupted: it could not be stopped softly.
    """
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = take(folder)
    try:
        _begin(plan, folder)
        before = _reached(plan, folder)
        if before.done and not _incomplete(plan, folder):  # nothing is cut
            Alarms(plan, folder, None, say).end()  # it may have been killed before it had looked
            return before
        steps = _prepare(plan, folder)
        alarms = Alarms(plan, folder, steps, say)
        for walker, step in steps.items():
            if step:
                say(f"{walker} goes on at step {step}")
        progress = _Progress(plan, folder, lock, show, say, alarms)
        logs = {one: _log_size(folder, one) for one in plan.walkers}
        ended = _walk(plan, folder, launcher, engines, progress)
        alarms.end()
        (folder / deck.STOP).unlink(missing_ok=True)
        _check_ended(plan, folder, ended, logs)
        after = _reached(plan, folder)
        if after.done and (fault := _incomplete(plan, folder)):
            raise EngineFailed(f"{fault}: was there no space left? The same command goes on")
        return after
    finally:
        lock.release()


def _reached(plan: Plan, folder: Path) -> Outcome:
    """Where a run is now."""
    steps = {walker: outputs.last_step(folder, walker) for walker in plan.walkers}
    return Outcome(steps, plan.settings.steps)


def _incomplete(plan: Plan, folder: Path) -> InputError | None:
    """What the files of a run that has all steps lack."""
    faults = (outputs.incomplete(folder, one, deck.series(plan, one)) for one in plan.walkers)
    return next((fault for fault in faults if fault), None)


def _check_folder(folder: Path) -> None:
    """Raise StoreError if a folder has something else than a run."""
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if BEGUN not in there and set(there) - {LOCK}:
        raise StoreError(f"{folder}: not empty, and not of a production run; use another --dir")


def _check_alone(folder: Path) -> None:
    """Raise StoreError if LAMMPS still runs there: by hand, or since its supervisor was killed."""
    until = time.monotonic() + DYING_S
    while number := _lammps_in(folder.resolve()):
        if time.monotonic() > until:
            raise StoreError(
                f"{folder}: process {number} still runs there; wait until it ends, or stop it "
                f"(touch {folder / deck.STOP}, or kill {number})"
            )
        time.sleep(0.1)


def _lammps_in(folder: Path) -> str:
    """A process of this machine that runs a deck in a folder; empty if there is none."""
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            words = (entry / "cmdline").read_bytes().split(b"\0")
            here = any(word.endswith(b".lmp") for word in words)
            if here and (entry / "cwd").readlink() == folder:
                return entry.name
    return ""


def _begin(plan: Plan, folder: Path) -> None:
    """Write what a run is made from, once; InputError if the folder has another run."""
    path = folder / BEGUN
    now = Begun(plan.model.generation, plan.identity(), hash_bytes(plan.data))
    before = read(path, Begun) if path.is_file() else None
    if before is None:
        before = now
        write_file(path, _text(now))
    changes = levels.difference(before.made_from, now.made_from)
    if changes:
        empty = not list(folder.glob(f"*.{outputs.RESTART}*"))
        raise InputError(
            f"{folder}: this run was begun with other settings or another model ({changes}); undo "
            "the change, or start a new run with another --dir"
            + (" or without this folder, which has no restart file yet" if empty else "")
        )
    files = {deck.START: plan.data, **plan.plumed_files}
    for name, content in files.items():
        if not (folder / name).exists():
            write_file(folder / name, content)
    copies = {deck.model_name(plan): plan.model.file}
    if plan.model.exchange is not None:
        copies[name_for_ranks(deck.model_name(plan))] = plan.model.exchange
    for name, source in copies.items():
        if not (folder / name).exists():
            write_file(folder / name, source.read_bytes())
        elif file_hash(folder / name) != file_hash(source):
            raise InputError(f"{folder / name}: not a copy of {source}; remove it")
    if file_hash(folder / deck.START) != before.start:
        raise InputError(f"{folder / deck.START}: changed since the run began; restore it")


def _text(begun: Begun) -> bytes:
    import json
    from dataclasses import asdict

    return (json.dumps(asdict(begun), indent=1, ensure_ascii=False) + "\n").encode()


def _prepare(plan: Plan, folder: Path) -> dict[str, int]:
    """Cut the files of all walkers and write the decks; the step at which each goes on."""
    _check_alone(folder)
    files = {walker: deck.series(plan, walker) for walker in plan.walkers}
    steps = {walker: outputs.resume(folder, walker, files[walker]) for walker in plan.walkers}
    for one in (one for each in files.values() for one in each):
        if one.name.endswith(".kernels") and not (folder / one.name).stat().st_size:
            (folder / one.name).unlink()  # OPES would keep a copy
    texts = {deck.MAIN: deck.main(plan, steps)}
    for walker, step in steps.items():
        texts |= deck.texts(plan, walker, step=step)
        (folder / f"{walker}.plumed.log").unlink(missing_ok=True)  # PLUMED keeps old ones
    for name, text in texts.items():
        write_file(folder / name, text.encode())
    (folder / deck.STOP).unlink(missing_ok=True)
    return steps


def _walk(
    plan: Plan, folder: Path, launcher: Launcher, engines: Engines, progress: "_Progress"
) -> Finished:
    """Run LAMMPS to its end, or stop it softly."""
    settings = plan.settings
    job: Job = launch(
        *("production", settings.walkers, engines, folder),
        ranks=settings.ranks,
        deck=deck.MAIN,
    )
    with closing(launcher.session()) as session:
        session.add(job)
        try:
            return _end(session, progress)
        except (KeyboardInterrupt, Full) as why:
            with named(folder / deck.STOP):
                (folder / deck.STOP).touch()
            progress.say("stopping, and writing a restart file …")
            ended = _end(session, progress, within_s=GRACE_S)
            if isinstance(why, Full):
                raise
            return ended


def _end(session: Session, progress: "_Progress", within_s: float | None = None) -> Finished:
    """Wait for the end of the only job."""
    began = time.monotonic()
    for event in session.events():
        if isinstance(event, Finished):
            return event
        if isinstance(event, Running):
            if within_s is not None and time.monotonic() - began > within_s:
                raise Interrupted(f"killed, because it had not stopped within {within_s:g} s")
            progress.look(event.seconds)
    raise Interrupted("stopped before it was started")


def _log_size(folder: Path, walker: str) -> int:
    path = folder / f"{walker}.log"
    return path.stat().st_size if path.exists() else 0


def _check_ended(plan: Plan, folder: Path, ended: Finished, before: Mapping[str, int]) -> None:
    """Raise EngineFailed if LAMMPS failed, with the error that it has added to a log."""
    if ended.returncode == 0:
        return
    for walker in plan.walkers:
        added = _log_size(folder, walker) - before[walker]
        lines = tail_lines(folder / f"{walker}.log", min(added, 2**14))
        errors = [line for line in lines if line.startswith("ERROR")]
        if errors:
            kept = _reached(plan, folder).steps[walker]
            raise EngineFailed(
                f"{walker}: {errors[-1]} (the log is {folder / walker}.log); the same command goes "
                f"on from step {kept}"
            )
    try:
        ended.require_success()
    except EngineFailed as error:
        raise EngineFailed(f"{error}; the same command goes on") from error


class _Progress:
    """The progress of a run, from the ends of its tables."""

    def __init__(
        self, plan: Plan, folder: Path, lock: Lock, show: Shown, say: Shown, alarms: Alarms
    ) -> None:
        self.plan, self.folder, self.lock, self.show, self.say = plan, folder, lock, show, say
        self.alarms = alarms
        self._first: tuple[float, float] | None = None
        self._written = Written(plan, folder)

    def look(self, seconds: float) -> None:
        """Show it, so long after the start."""
        self.lock.beat()
        self._written.check()
        self.alarms.look()
        total = self.plan.settings.steps
        done = min(self._step(walker) for walker in self.plan.walkers)
        per_ps = FS_PER_PS / self.plan.settings.timestep_fs
        text = f"{done / per_ps:.3f} of {total / per_ps:g} ps ({100 * done // total} %)"
        if self._first is None:
            self._first = (done, seconds)
        rate = (done - self._first[0]) / max(seconds - self._first[1], 1e-9)
        if rate > 0.0:
            speed = rate * SECONDS_PER_DAY / per_ps
            text += f", {speed:.3g} ps/day, {duration((total - done) / rate)} left"
        self.show(text + self.alarms.status)

    def _step(self, walker: str) -> int:
        """Step of the last row of a walker's table."""
        lines = tail_lines(self.folder / f"{walker}.thermo", 4096)
        words = lines[-1].split() if lines else []
        return int(words[0]) if words and words[0].isdigit() else 0
