"""Commands for production runs: a frozen model on a large cell, its results, its alarms."""

import math
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from ..errors import InputError, Interrupted, OutOfTime
from ..where import MARK
from . import site as sites
from . import site_check, terminal
from .site import Site

if TYPE_CHECKING:
    from ..analyses import Row
    from ..campaign import Campaign
    from ..cluster import SiteSettings
    from ..engines import Engines, Machine
    from ..jobs import Launcher
    from ..producing import Plan, ProductionSettings, Room

FromProduction = Annotated[
    Path | None,
    typer.Option(
        "--from-production",
        metavar="RUN",
        help="First label frames with alarms of this run of phasewalk produce, those that differ "
        "most, and add them to the campaign.",
    ),
]
Frames = Annotated[
    int, typer.Option(metavar="N", help="Number of these frames, with --from-production.")
]

out = terminal.stdout()
PRINT_EVERY_S = 600.0
"""Time between lines of progress in output to a file."""


def produce(
    file: Annotated[Path, typer.Argument(metavar="PRODUCTION.yaml", help="The production file.")],
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Folder of the run; default: NAME.production, next to it."),
    ] = None,
    dry: Annotated[
        bool,
        typer.Option("--dry-run", help="Only print decks and estimates; nothing is written."),
    ] = False,
    site: Site = None,
) -> None:
    """Run a frozen model for long on a large cell; the same command continues it.

    Ctrl-C and SIGTERM stop it with a restart file; a job in a queue goes on. After a kill it
    continues from the last restart file; its tables, frames and hills have no gap and no entry
    twice.
    """
    from .. import engines as finding
    from .. import producing
    from ..engines import plugin

    settings = producing.read(file)
    root = (directory or file.with_name(f"{file.stem}.production")).absolute()
    found = sites.find(site, file)
    queue = found is not None and found.scheduler == "slurm"
    launcher = None
    if not (dry and queue):
        launcher = sites.choose(site, file, cores=None, folder=root.parent, kinds=())
    engines = finding.find(settings.engines, os.environ)
    begun, room = producing.begun_with(root), _room(settings, found, launcher)

    def planned(machine: "Machine | None", say: Callable[[str], None]) -> "Plan":
        plan = producing.make(settings, file, machine, room=room, begun=begun)
        needed = producing.estimate(plan)
        for line in needed.lines():
            say(line)
        producing.check_plumed(plan, engines)
        producing.check(plan, needed, root, room)
        return producing.for_ranks(plan, machine)

    plan = planned(None if found else engines.machine, _print)
    if dry or launcher is None:
        _show_decks(plan)
        if found:
            _print(f"\n──── {found.site}\n{_started(plan, root, found, engines)}")
        return
    again = f"phasewalk produce {shlex.quote(str(file))}"
    again += f" --dir {shlex.quote(str(directory))}" if directory else ""
    again += sites.words(site)
    if found and begun is None:
        engines = _asked(engines, launcher)
        plan = planned(engines.machine, lambda line: None)
    _run(plan, root, launcher, plugin.ensure(engines, launcher, os.environ), again)


def _run(plan: "Plan", root: Path, launcher: "Launcher", engines: "Engines", again: str) -> None:
    """Run it to its end, or until it is stopped."""
    from .. import producing

    _print(f"folder: {root}")
    leaves = sites.leaves(launcher)
    with out.status("starting …") as status:
        show = (lambda line: status.update(Text(line))) if out.is_terminal else _Seldom()
        try:
            ended = producing.run(
                plan, root, launcher, engines, leaves=leaves, show=show, say=_print
            )
        except (KeyboardInterrupt, Interrupted) as error:
            end = f"phasewalk cancel {shlex.quote(str(root))}"
            queued = leaves and (root / MARK).is_file()
            left = f". A job in the queue goes on; stop it softly with: {end}" if queued else ""
            why = str(error) or "stopped"
            raise Interrupted(f"{why}. Continue with: {again}{left}") from error
        except OutOfTime as error:
            raise OutOfTime(f"{error}. Nothing is lost; continue with: {again}") from error
    for walker, step in ended.steps.items():
        _print(f"{walker}: {step} of {ended.total} steps")
    if not ended.done:
        raise Interrupted(f"stopped with restart files. Continue with: {again}")
    _print(f"finished: {root}; for a longer run, increase length_ps and continue with: {again}")


def _room(
    settings: "ProductionSettings", site: "SiteSettings | None", launcher: "Launcher | None"
) -> "Room":
    """What there is for a run where it is to run."""
    from .. import producing

    cores = None if launcher is None else launcher.cores
    gpus = None if site is None else site.gpus_of("production")
    if gpus is None and launcher is not None:
        gpus = launcher.walker_gpus
    if site is None or site.scheduler == "none":
        return producing.Room.here(cores, gpus)
    place = site.place("production")
    nodes = min(place.nodes or 1, settings.walkers * settings.ranks)
    memory_GB = None if place.memory_GB is None else place.memory_GB * nodes
    return producing.Room(cores, memory_GB, "are its memory_GB in the site file", gpus)


def _asked(engines: "Engines", launcher: "Launcher") -> "Engines":
    """The engines with the machine on which the run would be; a short job asks it."""
    from .. import engines as finding
    from ..batch import JobsLauncher
    from ..cluster import sharing
    from ..observed import Observed

    if isinstance(launcher, JobsLauncher):
        short = sharing.brief(launcher.site, site_check.SHORT_MIN)
        launcher = replace(launcher, site=short, leaves=False)
    with out.status("asking a machine of the site …") as status:
        shown = site_check.Shown(status, None if out.is_terminal else out)
        return finding.with_machine(engines, Observed(launcher, see=shown.see), "production")


def _started(plan: "Plan", root: Path, site: "SiteSettings", engines: "Engines") -> str:
    """What would be started at a site."""
    from .. import producing
    from ..batch import dry
    from ..cluster import launching

    job = producing.job(plan, root, engines)
    if site.scheduler == "none":
        return shlex.join(job.command)
    if site.mode == "jobs":
        return dry.batch(site, job, root)
    place = site.place_of(job)
    words = launching.step_words(
        *(site, job),
        environ=os.environ,
        nodes=place.nodes or 1,
        gpus=place.gpus or 0,
        memory_GB=place.memory_GB,
    )
    return shlex.join(words)


def alarms(
    directory: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run of phasewalk produce.")
    ],
) -> None:
    """Look at the frames of a long run for what is unlike the labels of its model.

    `phasewalk produce` does so while it runs; this is for frames that were written without it.
    """
    from ..alarms import again

    for line in again(directory.absolute(), _print).summary():
        _print(line)


def take_alarms(
    campaign: "Campaign",
    root: Path,
    run: Path,
    count: int,
    launcher: "Launcher",
    engines: "Engines",
    again: str,
) -> None:
    """Label alarm frames of a run, and add the labels to the campaign.

    Args:
        campaign: the campaign, with its reference.
        root: its directory.
        run: folder of the run.
        count: number of frames.
        launcher: runs the reference.
        engines: the programs.
        again: the command that continues the campaign.
    """
    from .. import alarms
    from ..campaign import Work
    from ..rounds import added
    from ..status import Progress
    from ..store import PRODUCTION, read_campaign

    if count < 1:
        raise InputError(f"--frames {count}: use 1 or more")
    run = run.absolute()
    opened = read_campaign(root)
    chosen = alarms.choose(campaign, root, run, count)
    try:
        with Progress(out) as progress:
            found = alarms.label(Work(campaign, opened, launcher, engines, progress), run, chosen)
    except (KeyboardInterrupt, Interrupted) as error:
        again += f" --from-production {shlex.quote(str(run))} --frames {count}"
        raise Interrupted(f"stopped; no label is lost. Continue with: {again}") from error
    generation = str(alarms.read(run / alarms.TRAINED).about["generation"])
    taken = added.take(root, found, generation, source=PRODUCTION)
    _print(
        f"{taken.count} labels of {len(chosen)} alarm frames were added to the campaign after "
        f"round {taken.round}"
    )


class _Seldom:
    """Prints progress now and then."""

    def __init__(self) -> None:
        self._due = 0.0

    def __call__(self, line: str) -> None:
        """Print a line if it is time."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + PRINT_EVERY_S
            _print(line)


def _show_decks(plan: "Plan") -> None:
    from .. import producing

    for name, text in producing.shown_decks(plan).items():
        _print(f"\n──── {name}\n{text.rstrip()}")


def _print(line: str) -> None:
    out.print(Text(line), soft_wrap=True)


def analyse(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a run of phasewalk produce.")
    ],
    discard_ps: Annotated[
        float | None,
        typer.Option(
            metavar="PS",
            help="Time at the beginning of each walker that is not used; default: found by pymbar.",
        ),
    ] = None,
) -> None:
    """Analyse a production run, while it runs or afterwards.

    The table has each result with ± one standard error and the number of independent samples. All
    numbers and figures are written into RUN/analysis.
    """
    from .. import analyses

    run = analyses.find(folder)
    with terminal.stderr().status("analysing …"):
        found = analyses.analyse(run, discard_ps=discard_ps)
        files = analyses.write(found, folder / analyses.FOLDER)
    table = Table()
    table.add_column("quantity")
    for column in ("value", "± error", "independent"):
        table.add_column(column, justify="right")
    table.add_column("remark")
    for row in found.rows:
        table.add_row(row.quantity, *_cells(row), row.remark)
    out.print(table)
    for line in (*found.remarks, f"{folder / analyses.FOLDER}: {len(files)} files"):
        _print(line)


def _cells(row: "Row") -> tuple[str, str, str]:
    """Value, error and number of samples as text; the value has the digits of its error."""
    value = f"{row.value:.6g}"
    error = f"{row.error:.2g}"
    if math.isfinite(row.error) and row.error > 0.0:
        digits = max(0, 1 - math.floor(math.log10(row.error)))
        value, error = f"{row.value:.{digits}f}", f"{row.error:.{digits}f}"
    count = f"{row.independent:.0f}"
    texts = ((row.value, value), (row.error, error), (row.independent, count))
    shown = ("–" if not math.isfinite(number) else text for number, text in texts)
    first, second, third = shown
    return first, second, third
