"""The option `--site`, and the launcher that it chooses."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..jobs import Launcher

if TYPE_CHECKING:
    from ..cluster import Kind, SiteSettings

Site = Annotated[
    str | None,
    typer.Option(
        "--site",
        metavar="NAME|FILE",
        help="Site file, which says on which machines jobs run: NAME.yaml beside the campaign file "
        "or in ~/.config/phasewalk/sites, or a file; default: the cores of this machine.",
    ),
]


def choose(
    site: str | None,
    beside: Path,
    *,
    cores: int | None,
    folder: Path,
    leaves: bool = True,
    kinds: "Sequence[Kind] | None" = None,
) -> Launcher:
    """The launcher of a site.

    Args:
        site: the value of `--site`.
        beside: the campaign file, or another file or folder beside which the site file may be.
        cores: number of cores of this machine to use; None: all.
        folder: folder of the campaign directory.
        leaves: jobs stay in the queue if the command is stopped; it takes them over next time.
        kinds: of work that must fit into the time of an allocation; None: those of a campaign.
    """
    from ..batch import jobs_launcher
    from ..cluster import OF_CAMPAIGNS, launching

    found = find(site, beside)
    if found is not None and found.scheduler == "slurm" and found.mode == "jobs":
        return replace(jobs_launcher(found, folder, os.environ), leaves=leaves)
    return launching.launcher(
        found,
        cores=cores,
        folder=folder,
        environ=os.environ,
        kinds=OF_CAMPAIGNS if kinds is None else kinds,
    )


def find(site: str | None, beside: Path) -> "SiteSettings | None":
    """The settings of a site; None without one.

    Args:
        site: the value of `--site`.
        beside: see `choose`.
    """
    from ..cluster import find_site

    return None if site is None else find_site(site, beside, os.environ)


def leaves(launcher: Launcher) -> bool:
    """Whether jobs stay in the queue if the command is stopped."""
    from ..batch import JobsLauncher

    return isinstance(launcher, JobsLauncher) and launcher.leaves


def words(site: str | None) -> str:
    """The option as it was given, for a command that continues this one."""
    return "" if site is None else f" --site {shlex.quote(site)}"


def stopped(launcher: Launcher, root: Path, resume: str) -> str:
    """What a run says that was stopped.

    Args:
        launcher: of its jobs.
        root: the campaign directory.
        resume: the command that continues it.
    """
    found = left(launcher, root)
    or_submit = " (or submit instead of run)" if found else ""
    return f"stopped; no finished work is lost. Continue with: {resume}{or_submit}{found}"


def left(launcher: Launcher, root: Path) -> str:
    """That jobs in a queue go on, and how to end them; empty if none do."""
    if not leaves(launcher):
        return ""
    return f". Jobs in the queue go on; end them with: phasewalk cancel {shlex.quote(str(root))}"
