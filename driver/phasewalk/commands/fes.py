"""`phasewalk fes`: compute a free energy with one generation of a campaign."""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import InputError, Interrupted, OutOfTime
from . import site as sites
from . import terminal
from .site import Site

if TYPE_CHECKING:
    from ..production import Frozen

ROWS = 10
CONTINUE = "stopped; no finished work is lost. Continue with: phasewalk fes"


Generation = Annotated[
    str | None,
    typer.Option(help='Generation whose model is used, or "final"; default: the last one.'),
]
Bins = Annotated[
    int | None,
    typer.Option(help="Number of bins; default: 50 for one variable, 25 × 25 for two."),
]
Hills = Annotated[
    float | None,
    typer.Option(
        help="Height of the hills, relative to the campaign's; default: 0.2. Lower hills give a "
        "more accurate free energy."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Seed of the random numbers, for a run that is independent of others, in a folder of "
        "its own; default: the campaign's.",
    ),
]
AgainstReference = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Label N frames of each system with the campaign's reference, and compare the model "
        "with it.",
    ),
]
Learn = Annotated[
    bool,
    typer.Option(
        "--learn", help="Add these labels to the campaign; its next trainings include them."
    ),
]
CampaignFile = Annotated[
    Path | None,
    typer.Option(
        "--campaign",
        metavar="CAMPAIGN.yaml",
        help="Campaign file, in the folder of the files that the reference reads; default: the "
        "folder that contains DIR.",
    ),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust", help="Run the programs and the code that the directory's settings name."
    ),
]


def fes(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.")],
    generation: Generation = None,
    segments: Annotated[
        int, typer.Option(help="Number of segments; a larger number later adds to them.")
    ] = 10,
    bins: Bins = None,
    hills: Hills = None,
    seed: Seed = None,
    against_reference: AgainstReference = 0,
    learn: Learn = False,
    campaign_file: CampaignFile = None,
    trust: Trust = False,
    site: Site = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute a free energy with the campaign's walkers, a fixed model and a new bias.

    The campaign's own bias is not a free energy, since the model changed while it grew. Ctrl-C
    stops cleanly; the same command continues. The campaign is only read and may be running, except
    with --learn, which writes to it at the end.
    """
    from ..production import HILLS, freeze

    height = HILLS if hills is None else hills
    _check(segments, bins, height, against_reference, learn=learn)
    asked = _Asked(
        root=directory.absolute(),
        generation=generation,
        segments=segments,
        bins=bins,
        hills=hills,
        seed=seed,
        against=against_reference,
        learn=learn,
        campaign_file=campaign_file,
        trust=trust,
        site=site,
    )
    # With --json, standard output has nothing but JSON.
    shown = terminal.stderr(wide=True) if as_json else terminal.stdout()
    found = _computed(asked, height, shown)
    name = next(iter(found.values())).generation
    place = asked.root / freeze.place(name, height, seed)
    if as_json:
        typer.echo(json.dumps({name: one.as_dict() for name, one in found.items()}, indent=1))
    else:
        _show_all(found, place / "fes.json", shown)
    if learn:
        shown.print(Text(_learn(asked.root, place, found)), soft_wrap=True)


@dataclass(frozen=True)
class _Asked:
    """The options as they were given."""

    root: Path
    generation: str | None
    segments: int
    bins: int | None
    hills: float | None
    seed: int | None
    against: int
    learn: bool
    campaign_file: Path | None
    trust: bool
    site: str | None

    def again(self, generation: str) -> str:
        """Arguments of the command that continues this one."""
        return (
            f"{shlex.quote(str(self.root))} --generation {generation} --segments {self.segments}"
            + (f" --hills {self.hills:g}" if self.hills is not None else "")
            + (f" --seed {self.seed}" if self.seed is not None else "")
            + (f" --bins {self.bins}" if self.bins is not None else "")
            + (f" --against-reference {self.against}" if self.against else "")
            + (" --learn" if self.learn else "")
            + (
                f" --campaign {shlex.quote(str(self.campaign_file.absolute()))}"
                if self.campaign_file
                else ""
            )
            + (" --trust" if self.trust else "")
            + sites.words(self.site)
        )


def _computed(asked: _Asked, height: float, shown: Console) -> "dict[str, Frozen]":
    """Run the segments, and label frames if requested; Interrupted has the command to continue."""
    from .. import engines as finding
    from .. import store
    from ..campaign import Work, config, theory
    from ..engines import plugin
    from ..generations import worse
    from ..production import freeze
    from ..rounds import reopen
    from ..status import Progress

    opened = store.read_campaign(asked.root)
    campaign = reopen.read_inputs(opened, _notice, trusted=asked.trust)
    chosen = reopen.read_generation(opened, asked.generation)
    if asked.generation is None and (better := worse.advised(opened.records())):
        _notice(better)
    launcher = sites.choose(asked.site, asked.root, cores=campaign.cores, folder=asked.root.parent)
    engines = finding.find(campaign.settings.engines, os.environ)
    engines = finding.with_machine(engines, launcher)
    reopen.check_fits(chosen, engines.machine)
    config.check_ranks(campaign.settings, launcher, campaign.path)
    if asked.against:
        reopen.reference_side(campaign.settings, str(campaign.path), trusted=asked.trust)
        beside = (asked.campaign_file or asked.root).absolute().parent
        campaign = theory.reference_again(
            campaign, launcher, asked.root, folder=beside, environ=os.environ
        )
    try:
        with Progress(shown) as progress:
            engines = plugin.ensure(engines, launcher, os.environ)
            work = Work(campaign, opened, launcher, engines, progress)
            return freeze.freeze(
                *(work, chosen, asked.segments),
                bins=asked.bins,
                hills=height,
                against=asked.against,
                seed=asked.seed,
            )
    except (KeyboardInterrupt, Interrupted) as error:
        again = asked.again(chosen.name)
        left = sites.left(launcher, asked.root)
        raise Interrupted(f"{CONTINUE} {again}{left}") from error
    except OutOfTime as error:
        raise OutOfTime(f"{error}. {CONTINUE} {asked.again(chosen.name)}") from error


def _check(segments: int, bins: int | None, height: float, against: int, *, learn: bool) -> None:
    if learn and not against:
        raise InputError("--learn: requires --against-reference N, the number of frames to label")
    if against < 0:
        raise InputError(f"--against-reference {against}: use 1 or more, for example 72")
    if segments < 1:
        raise InputError(f"--segments {segments}: use 1 or more")
    if bins is not None and bins < 2:
        raise InputError(f"--bins {bins}: use 2 or more")
    if not 0.0 < height <= 1.0:
        raise InputError(f"--hills {height:g}: use a number greater than 0 and at most 1")


def _learn(root: Path, place: Path, found: Mapping[str, "Frozen"]) -> str:
    """Add the labels to the campaign; returns a message."""
    from ..production import labelled
    from ..rounds import added

    compared = {name: one.against for name, one in found.items() if one.against is not None}
    labels = labelled.learnable(place, compared)
    broken = any(one.broken for one in compared.values())
    taken = added.take(root, labels, next(iter(found.values())).generation)
    left = "; those of walkers in other structures were not" if broken else ""
    return (
        f"{taken.count} labels were added to the campaign after round {taken.round}{left}. "
        "The next phasewalk run trains the last model again, also on them (for more rounds, "
        "increase `rounds:`, or make a goal of `stop:` stricter)"
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
    if one.against is not None:
        console.print(_against(one))
    for line in lines(one):
        console.print(Text(line), soft_wrap=True)


def _against(one: "Frozen") -> Table:
    """Comparison of the model with the reference in each cell."""
    names = [variable.name for variable in one.found.variables]
    table = Table(title=f"{one.system}: E(reference) − E(model), kJ/mol, less its mean")
    for column in (*names, "frames", "difference", "error", "spread"):
        table.add_column(column, justify="right")
    for cell in one.against.cells if one.against else ():
        at = (f"{value:.6g}" for value in cell.centre)
        numbers = (f"{value:.1f}" for value in (cell.mean, cell.error, cell.spread))
        table.add_row(*at, str(cell.frames), *numbers)
    return table


def lines(one: "Frozen") -> list[str]:
    """Lines on the reliability of a free energy."""
    from ..free_energies import COMPARED_KT

    free = one.found
    known = f"{free.largest_error:.1f} kJ/mol" if not np.isnan(free.largest_error) else "not known"
    below = COMPARED_KT * free.kT
    unknown = int((free.compared & np.isnan(free.errors)).sum())
    some = unknown and not np.isnan(free.largest_error)
    few = f" (unknown for {unknown} bins with too few visits)" if some else ""
    agreement = "agree" if free.agree else "DO NOT agree"
    found = [
        *([free.crossed] if free.crossed else []),
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
    found += _lines_against(one)
    return [*found, *(f"warning: {warning}" for warning in one.warnings)]


def _lines_against(one: "Frozen") -> list[str]:
    """Comparison of the free energy with the reference, as text; empty if there is none."""
    from ..free_energies import COMPARED_KT

    against = one.against
    if against is None:
        return []
    failed = f", {against.failed} could not be labelled" if against.failed else ""
    spread = "–" if np.isnan(against.spread) else f"{against.spread / one.found.kT:.1f} kT"
    rests = "–" if np.isnan(against.n_eff) else f"{against.n_eff:.1f}"
    below = COMPARED_KT * one.found.kT
    line = (
        f"{against.frames} frames by the reference{failed}, where F is below {below:.0f} kJ/mol: "
    )
    line += f"spread within a cell {spread}, {rests} of them in effect in the exponential average"
    return [line, *([f"against the reference: {against.verdict}"] if against.corrected else [])]
