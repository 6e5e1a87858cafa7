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
from contextlib import closing, suppress
from pathlib import Path

from ..errors import InputError, StoreError
from ..files import file_hash, hash_bytes, read, write_file
from ..jobs import Launcher
from ..labels import levels
from ..models import name_for_ranks
from ..store import LOCK, take
from ..walkers import Engines
from . import deck, outputs, starts
from .plan import Begun, Plan
from .starts import Outcome, Shown

BEGUN = "production.json"
DYING_S = 3.0
"""Time in which the processes of a start that was killed end."""


def begun_with(folder: Path) -> Begun | None:
    """What the run in a folder was begun with; None if there is no run."""
    path = folder / BEGUN
    return read(path, Begun) if path.is_file() else None


def stop(folder: Path) -> None:
    """Ask a run to stop softly."""
    (folder / deck.STOP).unlink(missing_ok=True)
    (folder / deck.STOP).touch()


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
    leaves: bool = False,
) -> Outcome:
    """Start a run, or go on with it, to its end or until it is stopped.

    Ctrl-C and SIGTERM stop it softly, or leave its job in the queue. A job that an earlier process
    has left there is taken over.

    Args:
        plan: the run.
        folder: of the run; made if it does not exist.
        launcher: starts LAMMPS.
        engines: the programs.
        show: receives the progress, twice a second.
        say: receives what is to be read in any case.
        leaves: jobs of the launcher stay in the queue when this process is stopped.

    Raises:
        InputError: the folder has another run, or its files do not fit together.
        EngineFailed: LAMMPS failed, or does not get on.
        Interrupted: it could not be stopped softly.
        OutOfTime: the time of all machines is over.
    """
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = take(folder)
    try:
        _begin(plan, folder)
        started = starts.Starts(plan, folder, lock, leaves, show, say)
        job = starts.job(plan, folder, engines)
        with closing(launcher.session()) as session:
            return started.to_end(session, job, lambda: _prepare(plan, folder))
    finally:
        lock.release()


def _check_folder(folder: Path) -> None:
    """Raise StoreError if a folder has something else than a run."""
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if BEGUN not in there and set(there) - {LOCK}:
        raise StoreError(
            f"{folder}: not empty, and not of a production run: it has no {BEGUN}; use another "
            "--dir, or restore that file"
        )


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
    before = begun_with(folder)
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
    steps = {
        walker: outputs.resume(folder, walker, files[walker], atoms=len(plan.atoms))
        for walker in plan.walkers
    }
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
