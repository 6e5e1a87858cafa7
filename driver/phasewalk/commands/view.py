"""The progress display of `phasewalk run`, `phasewalk status`, and `phasewalk verify`."""

import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.text import Text

from ..errors import PhasewalkError
from . import terminal
from .terminal import Terminal

if TYPE_CHECKING:
    from .. import submitted
    from ..moment import Now
    from ..status import Progress
    from ..store import Store

WATCH_EVERY_S = 2.0
out = terminal.stdout()


def live(console: Terminal, store: "Store", rounds: int) -> "Progress":
    """The progress display of `phasewalk run`, which also writes a file for `phasewalk status`.

    Args:
        console: where to print.
        store: the campaign, open for writing.
        rounds: total number of rounds.
    """
    from ..onsite import AtSite
    from ..status import Progress
    from ..store import Meter

    def keep(now: "Now") -> None:
        # A full disk must end the campaign only if a result is lost.
        from .. import moment

        with contextlib.suppress(PhasewalkError, OSError):
            store.write(moment.FILE, moment.to_text(now).encode())

    site = AtSite(store.since, store.root)
    return Progress(console, rounds, store.root, keep, Meter(store.since), site)


def show_status(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; with --watch, one line for each change.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Update it until the campaign stops, or Ctrl-C.")
    ] = False,
) -> None:
    """Show the state of a campaign: current stage, labels, errors, hills, time by stage."""
    from .. import moment, status
    from ..checks import deployment

    if not watch:
        if _says_not_begun(directory, as_json=as_json):
            return
        state = status.collect(directory)
        if as_json:
            print(json.dumps(moment.finite(state), indent=1, allow_nan=False))
        else:
            status.show(state, out)
            if not state["running"]:
                for line in deployment.of_campaign(directory, os.environ, state):
                    out.print(Text(line), soft_wrap=True)
        return
    if not as_json:
        _says_not_begun(directory, as_json=False)
    if out.is_terminal and not as_json:
        _watch_terminal(directory)
        return
    with contextlib.suppress(KeyboardInterrupt):
        (_watch_json if as_json else _watch_lines)(directory)


def verify(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check every file of a campaign against its journal: models, hills, frames, labels, fes.

    It only reads and works while the campaign runs. The exit code is 1 if a file differs.
    """
    from ..status import verifying

    found = verifying.verify(directory)
    if as_json:
        print(json.dumps(found.as_dict(), indent=1))
    else:
        for line in found.lines():
            out.print(Text(line), soft_wrap=True)
    if not found.passed:
        raise typer.Exit(1)


def _not_begun(directory: Path) -> "submitted.Submitted | None":
    """The job of phasewalk itself, if it was submitted, but has not made the directory yet."""
    from .. import submitted
    from ..store import IDENTITY

    return None if (directory / IDENTITY).exists() else submitted.read(directory)


def _says_not_begun(directory: Path, *, as_json: bool) -> bool:
    """Print what is known of a campaign that was submitted and has no directory yet, if so."""
    from .. import submitted

    found = _not_begun(directory)
    if found is None:
        return False
    if as_json:
        about = {"directory": str(directory), "running": False, "finished": False}
        print(json.dumps({**about, "submitted": found.as_dict()}, indent=1))
    else:
        out.print(Text(submitted.line(found, quote(str(directory)))), soft_wrap=True)
    return True


def _states(directory: Path) -> Iterator[Mapping[str, Any]]:
    """The state every two seconds while the campaign runs or waits, and once after that."""
    from .. import status, submitted

    while _not_begun(directory) is not None:
        time.sleep(WATCH_EVERY_S)
    while (state := status.collect(directory))["running"] or submitted.waits(state):
        yield state
        time.sleep(WATCH_EVERY_S)
    yield state


def _watch_json(directory: Path) -> None:
    from .. import moment

    before = None
    for state in _states(directory):
        if (found := _without_times(state)) != before:
            before = found
            print(json.dumps(moment.finite(state), allow_nan=False), flush=True)


def _watch_terminal(directory: Path) -> None:
    # The live view is cut to the window and erased at the end; the last state is printed in full.
    from .. import status

    state: Mapping[str, Any] | None = None
    with (
        Live(Text(), console=out, auto_refresh=False, transient=True) as view,
        contextlib.suppress(KeyboardInterrupt),
    ):
        for state in _states(directory):
            paper = Terminal(file=io.StringIO(), width=out.width, force_terminal=True)
            with paper.capture() as drawn:
                status.show(state, paper)
            view.update(Text.from_ansi(drawn.get()), refresh=True)
    if state is not None:
        status.show(state, out)


def _watch_lines(directory: Path) -> None:
    from .. import moment, status
    from ..onsite import site_view
    from ..status import progress

    before = None
    for state in _states(directory):
        now = state["now"]
        kept = _without_times(state)
        if now is not None and (found := (kept["now"], kept["site"])) != before:
            before = found
            site = state["site"]
            more = site_view.lines(moment.site_from_json(site), site["at"]) if site else []
            for line in [*progress.lines(moment.from_json(now)), *more]:
                out.print(Text(line), soft_wrap=True)
            sys.stdout.flush()
    status.show(state, out)


def _without_times(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state without values that change all the time."""
    now, site = state["now"], state["site"]
    ticking = ("at", "seconds_left", "core_hours")
    kept = now and {key: value for key, value in now.items() if key not in ticking}
    steady = ("kind", "queued", "running", "done", "failed", "nodes")
    work = site and [{key: one[key] for key in steady} for one in site["work"]]
    return {**state, "now": kept, "site": work}
