"""`phasewalk fes`: a free energy from one generation of a campaign."""

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
GO_ON = "stopped; nothing that was finished is lost. Go on with: phasewalk fes"


def fes(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.")],
    generation: Annotated[
        str | None,
        typer.Option(help='Generation whose model is frozen, or "final"; default: the last one.'),
    ] = None,
    segments: Annotated[
        int, typer.Option(help="Segments to walk; ask for more later, and it goes on.")
    ] = 10,
    bins: Annotated[
        int | None, typer.Option(help="Bins of each variable; default: 50, or 25 of each of two.")
    ] = None,
    hills: Annotated[
        float | None,
        typer.Option(
            help="Height of hills, × what the campaign lays; default: 0.2. Low hills give a better "
            "free energy."
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="Take the programs and the code that the directory's settings name."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute a free energy: the same walkers, the model frozen, the bias started anew.

    A campaign's own bias grows on a potential that changes, and is no free energy. Ctrl-C stops
    cleanly; the same command goes on. The campaign is only read, and may run meanwhile.
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
    engines = finding.find(campaign.settings.engines, os.environ)
    reopen.check_fits(chosen, str(engines.versions.get("torch")))
    launcher = LocalLauncher(campaign.cores)
    # What is to be read by a program stands alone on its channel.
    shown = terminal.stderr(wide=True) if as_json else terminal.stdout()
    try:
        with Progress(shown) as progress:
            engines = plugin.ensure(engines, launcher, os.environ)
            work = Work(campaign, opened, launcher, engines, progress)
            found = freeze.freeze(work, chosen, segments, bins=bins, hills=height)
    except (KeyboardInterrupt, Interrupted) as error:
        again = f"--generation {chosen.name} --segments {segments}{_options(hills, bins, trust)}"
        raise Interrupted(f"{GO_ON} {shlex.quote(str(root))} {again}") from error
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
        raise InputError(f"--hills {height:g}: use a number above 0, and at most 1")


def _options(hills: float | None, bins: int | None, trust: bool) -> str:
    """Options that were given, to be given again."""
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
    """A short table of one system, and in words what it is worth."""
    free = one.found
    names = [variable.name for variable in free.variables]
    title = f"{one.system}: free energy, generation {one.generation}, {free.temperature_K:g} K"
    table = Table(title=title)
    for column in (names[0], "F kJ/mol", "error", "from hills"):
        table.add_column(column, justify="right")
    values, errors, hills = free.values, free.errors, free.from_hills
    if len(names) == 2:  # along the first variable, at its lowest over the second
        table.caption = f"lowest over {names[1]}"
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
    """What a free energy is worth, in words."""
    free = one.found
    known = f"{free.largest_error:.1f} kJ/mol" if not np.isnan(free.largest_error) else "not known"
    below = 10 * free.kT
    unknown = int((free.compared & np.isnan(free.errors)).sum())
    few = f" ({unknown} bins were visited too rarely to have one)" if unknown else ""
    opinion = "agree" if free.agree else "DO NOT agree"
    told = [
        f"largest error below {below:.0f} kJ/mol: {known}{few}",
        f"histogram and hills {opinion}: they differ by {free.opinions_differ:.1f} kJ/mol (rms)",
        f"{one.segments} segments, {one.walkers} walkers of {one.ps_per_walker:.1f} ps each; "
        f"{one.stopped_early} of {one.walks} walks stopped early",
    ]
    for variable, ends, share in zip(free.variables, one.explored, one.covered, strict=False):
        told.append(
            f"{variable.name}: the campaign explored {ends[0]:.6g} to {ends[1]:.6g}; "
            f"{100 * share:.0f} % of that was sampled here"
        )
    return [*told, *(f"warning: {warning}" for warning in one.warnings)]
