"""What a campaign does on a site, as text."""

from collections.abc import Mapping
from datetime import datetime
from shlex import quote
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from ..moment import SiteNow, WorkNow, duration, site_from_json
from ..store import site_ledger

MOST_NODES = 4
"""Maximum number of names of nodes, or of groups of them, in a cell."""
COLUMNS = (
    *("work", "queued", "running", "done", "failed", "lost", "waits now", "queue, mean"),
    *("longest", "nodes", "core-h", "GPU-h"),
)


def show(state: Mapping[str, Any], console: Console) -> None:
    """Print what `at_site.collect` gave, with the costs by partition."""
    site, running = site_from_json(state["site"]), state["running"]
    if not running and (line := left(site, state["directory"])):
        console.print(Text(line), soft_wrap=True)
    if site.work:
        console.print(render(site, site.at))
    for title, columns, rows in site_ledger.tables(state["site"]):
        table = Table(title=title)
        for column in columns:
            table.add_column(column, justify="right")
        for row in rows:
            cells = (f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row)
            table.add_row(*map(Text, cells))
        console.print(table)


def render(site: SiteNow, at: float) -> Group:
    """A table of jobs by kind of work, and what is known of the allocation and of the end."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 1))
    rows = [_cells(one) for one in site.work]
    for index, title in enumerate(COLUMNS):
        if index < 4 or any(row[index] for row in rows):
            left = title in ("work", "nodes", "waits now")
            table.add_column(title, justify="left" if left else "right", no_wrap=title != "nodes")
    for row in rows:
        cells = [row[i] for i in range(len(COLUMNS)) if i < 4 or any(one[i] for one in rows)]
        table.add_row(*map(Text, cells))
    return Group(table, *(Text(line) for line in ends(site, at)))


def lines(site: SiteNow, at: float) -> list[str]:
    """The same as plain lines."""
    found = []
    for one in site.work:
        cells = zip(COLUMNS[6:], _cells(one)[6:], strict=True)
        counts = f"{one.queued} queued, {one.running} running, {one.done} done"
        counts += f", {one.failed} failed" if one.failed else ""
        counts += f", {one.lost} × lost and started again" if one.lost else ""
        more = [f"{title} {cell}" for title, cell in cells if cell]
        found.append(f"  {'; '.join([f'{one.kind}: {counts}', *more])}")
    return [*found, *ends(site, at)]


def brief(site: SiteNow | None) -> str:
    """What waits and runs, in a few words; empty if nothing does."""
    if site is None:
        return ""
    queued, running = (
        ", ".join(f"{getattr(one, what)} {one.kind}" for one in site.work if getattr(one, what))
        for what in ("queued", "running")
    )
    parts = [f"running: {running}"] if running else []
    return "; ".join(parts + ([f"queued: {queued}"] if queued else []))


def _cells(one: WorkNow) -> tuple[str, ...]:
    more = len(one.nodes) - MOST_NODES
    waits = "" if one.waits_s is None else duration(one.waits_s)
    return (
        one.kind,
        str(one.queued),
        str(one.running),
        str(one.done),
        str(one.failed) if one.failed else "",
        f"{one.lost} ×" if one.lost else "",
        f"{waits} ({one.why})" if one.why and waits else waits,
        "" if one.queue_mean_s is None else duration(one.queue_mean_s),
        "" if one.queue_longest_s is None else duration(one.queue_longest_s),
        " ".join(one.nodes[:MOST_NODES]) + (f" and {more} more" if more > 0 else ""),
        f"{one.core_hours:.3g}",
        f"{one.gpu_hours:.3g}" if one.gpu_hours else "",
    )


def ends(site: SiteNow, at: float) -> list[str]:
    """The use and end of the allocation, and the expected end of the campaign."""
    found = []
    if (pool := site.pool) is not None:
        what = f"allocation {pool.number}" if pool.number else "this machine"
        nodes = f"{pool.nodes} node(s), " if pool.number else ""
        gpus = f", {pool.gpus} GPUs" if pool.gpus else ""
        idle = [f"{site_ledger.percent(site.idle_share)} of the cores' time idle"]
        if site.gpu_idle_share is not None:
            idle.append(f"{site_ledger.percent(site.gpu_idle_share)} of the GPUs'")
        ends = f"; ends {moment(pool.ends_at, at)}" if pool.ends_at else ""
        found.append(f"{what}: {nodes}{pool.cores} cores{gpus}; {', '.join(idle)}{ends}")
    if site.ends is not None:
        found.append(
            f"expected end of the campaign: {moment(site.ends, at)}, if its rounds take as long as "
            "the last ones"
        )
    return found


def moment(time: float, at: float) -> str:
    """A time in the near future, seconds since 1970, as local time."""
    text = datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{text} (in {duration(max(0.0, time - at))})"


def left(site: SiteNow, directory: str) -> str:
    """What a campaign that does not run has left in the queue; empty if nothing."""
    jobs = sum(one.queued + one.running for one in site.work)
    if not jobs:
        return ""
    seen = datetime.fromtimestamp(site.at).astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        f"phasewalk does not run, but {jobs} job(s) that it left in the queue are waiting or "
        f"running, by their files (phasewalk looked into the queue at {seen} last). To continue: "
        f"phasewalk run, or submit, as before; to end them: phasewalk cancel {quote(directory)}"
    )
