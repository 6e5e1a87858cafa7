"""`phasewalk fes`: compute a free energy with one generation of a campaign."""

import json
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import InputError, Interrupted
from . import terminal

if TYPE_CHECKING:
    from ..production import Frozen

ROWS = 10
CONTINUE = "stopped; no finished work is lost. Continue with: phasewalk fes"


def fes(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.")],
    generation: Annotated[
        str | None,
        typer.Option(help='Generation whose model is used, or "final"; default: the last one.'),
    ] = None,
    segments: Annotated[
        int, typer.Option(help="Number of segments; a larger number later adds to them.")
    ] = 10,
    bins: Annotated[
        int | None,
        typer.Option(help="Number of bins; default: 50 for one variable, 25 × 25 for two."),
    ] = None,
    hills: Annotated[
        float | None,
        typer.Option(
            help="Height of the hills, relative to the campaign's; default: 0.2. Lower hills give "
            "a more accurate free energy."
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Run the programs and the code that the directory's settings name."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute a free energy with the campaign's walkers, a fixed model and a new bias.

    The campaign's own bias is not a free energy, since the model changed while it grew. Ctrl-C
    stops cleanly; the same command continues. The campaign is only read and may be running.
    """
    from .. import engines as finding
    from .. import store
    from ..campaign import Work
    from ..engines import plugin
    from ..engines.local import LocalLauncher
    from ..production import HILLS, freeze
    from ..rounds import reopen
    from ..status import Progress

    height, root = HILLS if hills is None else hills, directory.absolute()
    _check(segments, bins, height)
    opened = store.read_campaign(root)
    campaign = reopen.read_inputs(opened, _notice, trusted=trust)
    chosen = reopen.read_generation(opened, generation)
    launcher = LocalLauncher(campaign.cores)
    engines = finding.find(campaign.settings.engines, os.environ)
    engines = finding.with_machine(engines, launcher)
    reopen.check_fits(chosen, engines.machine)
    # With --json, standard output has nothing but JSON.
    shown = terminal.stderr(wide=True) if as_json else terminal.stdout()
    try:
        with Progress(shown) as progress:
            engines = plugin.ensure(engines, launcher, os.environ)
            work = Work(campaign, opened, launcher, engines, progress)
            found = freeze.freeze(work, chosen, segments, bins=bins, hills=height)
    except (KeyboardInterrupt, Interrupted) as error:
        again = f"--generation {chosen.name} --segments {segments}{_options(hills, bins, trust)}"
        raise Interrupted(f"{CONTINUE} {shlex.quote(str(root))} {again}") from error
    if as_json:
        typer.echo(json.dumps({name: one.as_dict() for name, one in found.items()}, indent=1))
    else:
        _show_all(found, root / freeze.place(chosen.name, height) / "fes.json", shown)


def _check(segments: int, bins: int | None, height: float) -> None:
    if segments < 1:
        raise InputError(f"--segments {segments}: use 1 or more")
    if bins is not None and bins < 2:
        raise InputError(f"--bins {bins}: use 2 or more")
    if not 0.0 < height <= 1.0:
        raise InputError(f"--hills {height:g}: use a number greater than 0 and at most 1")


def _options(hills: float | None, bins: int | None, trust: bool) -> str:
    """The options of this command, for the command that continues it."""
    return (
        (f" --hills {hills:g}" if hills is not None else "")
        + (f" --bins {bins}" if bins is not None else "")
        + (" --trust" if trust else "")
    )


def _notice(line: str) -> None:
    terminal.stderr().print(Text(line), soft_wrap=True)


def _show_all(found: Mapping[str, "Frozen"], file: Path, console: Console) -> None:
    for one in found.values():
        _show(one, console)
    console.print(Text(f"all numbers: {file}"), soft_wrap=True)


def _show(one: "Frozen", console: Console) -> None:
    """A short table of one system, and lines on its reliability."""
    free = one.found
    names = [variable.name for variable in free.variables]
    title = f"{one.system}: free energy, generation {one.generation}, {free.temperature_K:g} K"
    table = Table(title=title)
    for column in (names[0], "F kJ/mol", "error", "from hills"):
        table.add_column(column, justify="right")
    values, errors, hills = free.values, free.errors, free.from_hills
    if len(names) == 2:  # along the first variable, the minimum over the second
        table.caption = f"minimum over {names[1]}"
        lowest = np.nan_to_num(values, nan=np.inf).argmin(axis=1)[:, None]
        values, errors, hills = (
            np.take_along_axis(each, lowest, axis=1)[:, 0] for each in (values, errors, hills)
        )
    count = len(free.centres[0])
    for index in sorted({round(i) for i in np.linspace(0, count - 1, min(ROWS, count))}):
        numbers = (values[index], errors[index], hills[index])
        cells = ("–" if np.isnan(number) else f"{number:.1f}" for number in numbers)
        table.add_row(f"{free.centres[0][index]:.6g}", *cells)
    console.print(table)
    for line in lines(one):
        console.print(Text(line), soft_wrap=True)


def lines(one: "Frozen") -> list[str]:
    """Lines on the reliability of a free energy."""
    free = one.found
    known = f"{free.largest_error:.1f} kJ/mol" if not np.isnan(free.largest_error) else "not known"
    below = 10 * free.kT
    unknown = int((free.compared & np.isnan(free.errors)).sum())
    few = f" (unknown for {unknown} bins with too few visits)" if unknown else ""
    agreement = "agree" if free.agree else "DO NOT agree"
    found = [
        f"largest error where F is below {below:.0f} kJ/mol: {known}{few}",
        f"histogram and hills {agreement}: they differ by {free.opinions_differ:.1f} kJ/mol (rms)",
        f"{one.segments} segments, {one.walkers} walkers of {one.ps_per_walker:.1f} ps each; "
        f"{one.stopped_early} of {one.walks} runs of walkers stopped early",
    ]
    for variable, ends, share in zip(free.variables, one.explored, one.covered, strict=False):
        found.append(
            f"{variable.name}: {100 * share:.0f} % of the range that the campaign explored "
            f"({ends[0]:.6g} to {ends[1]:.6g}) was sampled"
        )
    return [*found, *(f"warning: {warning}" for warning in one.warnings)]
