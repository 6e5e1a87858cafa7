"""`phasewalk submit` and `phasewalk cancel`: phasewalk itself as a job of Slurm."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ..errors import InputError
from . import terminal
from .site import Site

if TYPE_CHECKING:
    from ..batch import driver
    from ..campaign import Campaign
    from ..cluster import SiteSettings

out = terminal.stdout()
SiteNeeded = Annotated[
    str,
    typer.Option(
        "--site",
        metavar="NAME|FILE",
        help="Site file: NAME.yaml beside the campaign file or in ~/.config/phasewalk/sites, or a "
        "file.",
    ),
]


def submit(
    campaign_file: Annotated[
        Path, typer.Argument(metavar="CAMPAIGN.yaml", help="The campaign file.")
    ],
    site: SiteNeeded,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Campaign directory; default: NAME.run, next to the file."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only print the scripts and commands; start nothing."),
    ] = False,
) -> None:
    """Put phasewalk itself into the queue of Slurm, to run a campaign to its end.

    It stops before its time limit and submits itself again, until the campaign ends. What it prints
    is in a file of `phasewalk-slurm/`, beside the campaign directory.
    """
    from ..batch import Slurm, driver
    from ..campaign import begun, inputs
    from ..store import JOURNAL, LOCK, locked

    found, file = _slurm_site(site, campaign_file)
    campaign = inputs.load(campaign_file, os.environ)
    root = (directory or campaign_file.with_name(f"{campaign_file.stem}.run")).absolute()
    campaign = begun.in_directory(campaign, root)
    words = ("run", str(campaign_file.absolute()), "--dir", str(root), "--site", str(file))
    argv = (sys.executable, "-P", "-m", "phasewalk", *words)
    ours = driver.Driver(root, found, argv, LOCK, JOURNAL)
    if dry_run:
        _show(ours, campaign)
        return
    scheduler = Slurm(os.environ)
    scheduler.check()
    if locked(root) and not driver.in_queue(root, scheduler):
        raise InputError(f"{root}: in use by another run; stop it first, then submit")
    number = ours.submit(scheduler)
    printed = driver.output(root)
    _print(f"submitted as job {number}; what it prints: {printed}")
    _print(f"follow it with: phasewalk status --watch {shlex.quote(str(root))}")
    _print(f"end it with: phasewalk cancel {shlex.quote(str(root))}")


def cancel(
    directory: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="Campaign directory, or folder of a production run."),
    ],
    site: Site = None,
) -> None:
    """End the jobs of a campaign in the queue of Slurm: phasewalk itself and all others.

    No finished work is lost; `submit`, or `run`, continues the campaign. The job of a production
    run stops softly, with restart files; `produce` continues it.
    """
    from .. import producing, submitted
    from ..batch import Slurm, SystemClock, driver
    from ..store import locked

    root = directory.absolute()
    if site is not None:
        _slurm_site(site, root)
    if producing.begun_with(root) is not None:
        _stop_softly(root)
        return
    if not root.is_dir() and not submitted.folder_of(root).is_dir():
        raise InputError(f"{root}: no campaign directory, and nothing was submitted for one")
    scheduler = Slurm(os.environ)
    scheduler.check()
    if locked(root) and not driver.in_queue(root, scheduler):
        raise InputError(
            f"{root}: a phasewalk that is not in the queue runs it; stop that first (Ctrl-C), "
            "then cancel"
        )
    done = driver.cancel(root, scheduler, SystemClock())
    if not done.driver and not done.jobs:
        _print(f"{root}: nothing of it is in the queue")
        return
    ours = f"phasewalk itself (job {', '.join(done.driver)}) and " if done.driver else ""
    _print(f"cancelled: {ours}{len(done.jobs)} other job(s); no finished work is lost")


def _stop_softly(root: Path) -> None:
    """Stop a production run with restart files, wherever it runs."""
    from .. import producing
    from ..batch import Slurm, SystemClock, driver
    from ..store import locked
    from ..where import MARK

    queued = (root / MARK).is_file()
    if not queued and not locked(root):
        _print(f"{root}: it does not run, and nothing of it is in the queue")
        return
    producing.stop(root)
    if not queued:
        _print(f"{root}: asked to stop, with restart files")
        return
    scheduler = Slurm(os.environ)
    scheduler.check()
    with out.status("stopping softly …"):
        done = driver.cancel(root, scheduler, SystemClock(), soft_s=producing.GRACE_S)
    (root / MARK).unlink(missing_ok=True)
    which = f"job {', '.join(done.jobs)} was" if done.jobs else "no job was in the queue, or it was"
    _print(f"{which} stopped; phasewalk produce goes on from the last restart files")


def _slurm_site(site: str, beside: Path) -> "tuple[SiteSettings, Path]":
    """A site whose scheduler is Slurm, and its file."""
    from ..cluster import find_file, find_site, places

    found = find_site(site, beside, os.environ)
    file = find_file(site, places(beside, os.environ)).absolute()
    if found.scheduler != "slurm":
        raise InputError(
            f"{file}: scheduler is {found.scheduler}, so that there is no queue; use phasewalk run "
            "--site, or a site file with scheduler: slurm"
        )
    return found, file


def _show(ours: "driver.Driver", campaign: "Campaign") -> None:
    """Print what would be submitted."""
    from .. import engines as finding
    from ..batch import dry
    from ..checks import samples

    engines = finding.find(campaign.settings.engines, os.environ)
    most = ours.site.place("segment").walkers
    jobs = samples.jobs(campaign, engines, ours.root / "JOB", most=most)
    for title, text in dry.texts(ours, jobs, os.environ).items():
        _print(f"### {title}")
        _print(text)


def _print(line: str) -> None:
    out.print(Text(line), soft_wrap=True)
