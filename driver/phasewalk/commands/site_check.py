"""`phasewalk check --site`: one short job of each kind of work, then the other checks there."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from ..errors import InputError, Interrupted, PhasewalkError
from ..jobs import Event, Finished, Job, Launcher, Queued, Running, Session
from . import site as sites
from . import terminal

if TYPE_CHECKING:
    from ..campaign import Campaign
    from ..checks import check as checks
    from ..engines import Engines
    from ..sites import probe

SHORT_MIN = 20.0
"""Time limit of the short jobs."""
LINE_EVERY_S, FIRST_LINE_S = 30.0, 5.0
"""Time between two lines of a job that waits, and before the first, without a terminal."""
REASON = "correct what the rows marked missing or wrong say"
out, err = terminal.stdout(), terminal.stderr()


@dataclass
class Shown:
    """What jobs do, in one line on a terminal, else in lines for those that wait.

    Attributes:
        status: of the terminal.
        console: for lines; None for a terminal.
        clock: seconds since any moment.
    """

    status: Status
    console: Console | None
    clock: Callable[[], float] = time.monotonic
    _now: dict[Path, str] = field(default_factory=dict)
    _said: dict[Path, float] = field(default_factory=dict)

    def see(self, event: Event) -> None:
        """Show what has happened."""
        where = event.job.directory
        if isinstance(event, Finished):
            self._now.pop(where, None)
        else:
            self._now[where] = f"{event.job.name.removeprefix('probe of ')}: {_does(event)}"
        self.status.update(Text("checking … " + "; ".join(self._now.values())))
        if self.console is not None:
            self._say(event, self.console)

    def _say(self, event: Event, console: Console) -> None:
        where = event.job.directory
        last = self._said.get(where, -LINE_EVERY_S)
        if not isinstance(event, Queued) or event.seconds < FIRST_LINE_S:
            return
        if self.clock() - last >= LINE_EVERY_S:
            self._said[where] = self.clock()
            console.print(Text(self._now[where]), soft_wrap=True)


def _does(event: Event) -> str:
    if isinstance(event, Queued):
        return f"queued {event.seconds:.0f} s" + (f" ({event.why})" if event.why else "")
    return f"running {event.seconds:.0f} s" if isinstance(event, Running) else "running"


def check(campaign: "Campaign", site: str, campaign_file: Path) -> None:
    """Check a campaign and a site.

    Args:
        campaign: the campaign.
        site: the value of `--site`.
        campaign_file: beside which the site file may be.

    Raises:
        InputError: something is to be mended.
        Interrupted: it was stopped; its jobs have been cancelled.
    """
    from .. import engines as finding
    from .. import scratch
    from ..checks import check as checks

    folder = campaign_file.absolute().parent
    launcher = sites.choose(site, campaign_file, cores=campaign.cores, folder=folder, leaves=False)
    engines = finding.find(campaign.settings.engines, os.environ)
    with scratch.folder("check", within=launcher.scratch) as place:
        launcher = _within(launcher, place)
        asked = _asked(campaign, engines, launcher)
        if not checks.print_rows(_before(asked, campaign, engines, launcher, place), out):
            raise InputError(f"nothing was started, since it could not work; {REASON}")
        lines = None if out.is_terminal else err
        try:
            with out.status("checking …") as status:
                _check(campaign, engines, asked, launcher, place, Shown(status, lines))
        except KeyboardInterrupt as error:
            raise Interrupted("stopped; all jobs of the check were cancelled") from error


def _check(
    campaign: "Campaign",
    engines: "Engines",
    asked: "Sequence[probe.Asked]",
    launcher: Launcher,
    place: Path,
    shown: Shown,
) -> None:
    """The probes with their table; then, if nothing is wrong, the other checks."""
    from ..checks import check as checks
    from ..cluster import sharing
    from ..engines.local import LocalLauncher
    from ..observed import Observed
    from ..sites import findings, probe

    watched = Observed(launcher, see=shown.see)
    short = replace(cast(Any, launcher), site=sharing.brief(_site(launcher), SHORT_MIN))
    with_plugin, rows = _with_plugin(engines, watched)
    probed = probe.ask(
        asked,
        campaign,
        engines=with_plugin,
        launcher=Observed(short, see=shown.see),
        near=LocalLauncher(1),
        place=place,
    )
    out.print(_table(findings.table(probed, engines)))
    rows += findings.to_mend(probed, campaign, engines)
    if not checks.print_rows(rows, out):
        raise InputError(f"the campaign cannot run at this site yet; {REASON}")
    if not checks.print_rows(checks.check(campaign, watched, os.environ), out):
        raise InputError(f"the campaign cannot run yet; {REASON}")


def _site(launcher: Launcher) -> Any:
    return cast(Any, launcher).site


def _within(launcher: Launcher, place: Path) -> Launcher:
    """The launcher; the files of its batch jobs are in a folder that is deleted at the end."""
    from ..batch import JobsLauncher

    if not isinstance(launcher, JobsLauncher):
        return launcher
    return replace(launcher, folder=place / "slurm")


def _asked(campaign: "Campaign", engines: "Engines", launcher: Launcher) -> "list[probe.Asked]":
    from ..campaign import config
    from ..checks import samples
    from ..cluster import sharing
    from ..sites import probe

    most = config.most_walkers(campaign.settings, launcher)
    jobs = samples.jobs(campaign, engines, Path("sample"), most=most)
    gpus = getattr(launcher, "gpus", None)
    found = sharing.shared(_site(launcher), jobs, None if gpus is None else len(gpus))
    return [probe.Asked(one.kinds, one.job, one.gpus) for one in found]


def _before(
    asked: "Sequence[probe.Asked]",
    campaign: "Campaign",
    engines: "Engines",
    launcher: Launcher,
    place: Path,
) -> "list[checks.Row]":
    """Rows for what is wrong already."""
    from ..batch import JobsLauncher, dry
    from ..campaign import config
    from ..checks import samples
    from ..sites import findings

    rows = list(findings.before(asked, campaign, engines=engines, launcher=launcher))
    gpus = {kind: one.gpus for one in asked for kind in one.kinds}
    most = config.most_walkers(campaign.settings, launcher)
    jobs = {job.name: job for job in samples.jobs(campaign, engines, Path("sample"), most=most)}
    if isinstance(launcher, JobsLauncher):
        why = dry.refusals(launcher, list(jobs.values()), place)
        return [*rows, *(findings.refused(jobs[name], gpus[name], why[name]) for name in why)]
    return [*rows, *_too_large(launcher.session(), jobs.values())]


def _too_large(session: Session, jobs: Iterable[Job]) -> "Iterator[checks.Row]":
    """Rows for jobs that do not fit into an allocation, or on this machine."""
    from ..checks import check as checks
    from ..engines import ProcessSession

    for job in jobs if isinstance(session, ProcessSession) else ():
        try:
            session.add(job)  # it is not started
        except InputError as error:
            yield checks.Row(job.name, "wrong", str(error))


def _with_plugin(engines: "Engines", launcher: Launcher) -> "tuple[Engines, list[checks.Row]]":
    """The engines with the plugin, which is built if there is none; a row if that fails."""
    from ..checks import check as checks
    from ..engines import plugin

    try:
        return plugin.ensure(engines, launcher, os.environ), []
    except PhasewalkError as error:
        return engines, [checks.Row("plugin", "wrong", str(error))]


def _table(lines: Sequence[Sequence[str]]) -> Table:
    """The table for the console."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in lines[0]:
        table.add_column(overflow="fold")
    for number, line in enumerate(lines):
        table.add_row(*(Text(cell) for cell in line), style="" if number else "bold")
    return table
