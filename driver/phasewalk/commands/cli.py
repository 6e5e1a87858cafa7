"""The command line: all commands of `phasewalk`."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ..errors import InputError, Interrupted, OutOfTime, PhasewalkError
from . import (
    examples,
    fes,
    labels,
    potential,
    produce,
    report,
    schema,
    signals,
    site_check,
    submit,
    terminal,
    view,
)
from . import site as sites
from .site import Site

app = typer.Typer(
    name="phasewalk",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",  # fills paragraphs, keeps examples on separate lines
)
out, err = terminal.stdout(), terminal.stderr()

GARBAGE = (50_000, 20, 20)
"""Thresholds of garbage collection: objects of a short command are mostly modules, which stay."""


def _show_version(asked: bool) -> None:
    from ..engines import PACKAGES, versions

    if asked:
        found = versions((*PACKAGES, "hillclimber"))  # it contains PLUMED's kernel
        ours = found.pop("phasewalk", "(not installed)")
        for name, number in {"phasewalk": ours, **found}.items():
            print(name, number)
        raise typer.Exit


@app.callback()
def _phasewalk(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print versions.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Learn a NequIP potential for your material while LAMMPS and PLUMED explore with it.

    Start with phasewalk check CAMPAIGN.yaml, then phasewalk run CAMPAIGN.yaml.
    """


CampaignFile = Annotated[Path, typer.Argument(metavar="CAMPAIGN.yaml", help="The campaign file.")]


@app.command()
def check(
    campaign_file: CampaignFile,
    dry: Annotated[
        Path | None,
        typer.Option("--dry", metavar="DIR", help="Only write input files of the reference."),
    ] = None,
    site: Site = None,
) -> None:
    """Check a campaign and its engines; the longest step is one label.

    Finds every engine and its version, reads structures and PLUMED text, labels one structure, and
    compares a tiny untrained model in LAMMPS with the same model in Python.

    With --site it first submits one short job of each kind of work, and shows a table: time in the
    queue, hosts, cores, GPUs, versions, the tiny model there, and how fast files are.
    """
    from ..campaign import inputs
    from ..checks import check as checks
    from ..checks import trial

    campaign = inputs.load(campaign_file, os.environ)
    if dry is not None:
        for line in trial.write_request(campaign, dry):
            out.print(Text(line), soft_wrap=True)
        return
    if site is not None:
        site_check.check(campaign, site, campaign_file)
        return
    launcher = sites.choose(None, campaign_file, cores=campaign.cores, folder=Path())
    rows = checks.check(campaign, launcher, os.environ)
    if not checks.show(rows, out):
        raise InputError(
            "the campaign cannot run yet; correct what the rows marked missing or wrong say"
        )


@app.command()
def run(
    campaign_file: CampaignFile,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Campaign directory; default: NAME.run, next to the file."),
    ] = None,
    from_production: produce.FromProduction = None,
    frames: produce.Frames = 8,
    site: Site = None,
) -> None:
    """Start a campaign, or continue one that was stopped.

    Ctrl-C stops it cleanly; the same command continues it. Finished work is not repeated.
    """
    from .. import engines as finding
    from .. import status, store
    from ..campaign import Work, begun, inputs, plumed_inputs, theory
    from ..checks import check as checks
    from ..checks import deployment
    from ..engines import plugin, shared_code
    from ..production import agree
    from ..rounds import loop

    campaign = inputs.load(campaign_file, os.environ)
    root = (directory or campaign_file.with_name(f"{campaign_file.stem}.run")).absolute()
    campaign = begun.in_directory(campaign, root)
    launcher = sites.choose(site, campaign_file, cores=campaign.cores, folder=root.parent)
    engines = finding.find(campaign.settings.engines, os.environ)
    engines = finding.with_machine(engines, launcher)
    checks.preflight(campaign, engines, launcher)
    campaign, notes = theory.settle(campaign, launcher, root)
    notes += plumed_inputs.notices(campaign.settings, campaign.structures)
    resume = f"phasewalk run {_quoted(campaign_file)} --dir {_quoted(root)}{sites.words(site)}"
    if from_production:
        produce.take_alarms(campaign, root, from_production, frames, launcher, engines, resume)
    opened = store.open_campaign(root, campaign.identity())
    out.print(Text(f"campaign directory: {root}"), soft_wrap=True)
    try:
        with view.live(out, opened, campaign.settings.rounds) as progress:
            if opened.took_over:
                progress.say(opened.took_over)
            for note in [*notes, *campaign.remarks()]:
                progress.say(note)
            if not shared_code.writable(cache := finding.cache_dir(os.environ)):
                progress.say(
                    f"cannot write to {cache}, so labels and compilations are not shared with "
                    "other campaigns; set PHASEWALK_CACHE to a writable folder to share them"
                )
            if engines.plugin is None and plugin.cached(engines, os.environ) is None:
                progress.say("building the LAMMPS plugin (once; about half a minute)")
            engines = plugin.ensure(engines, launcher, os.environ)
            campaign = begun.of(campaign, opened)
            work = Work(campaign, opened, launcher, engines, progress)
            after = report.after_round(opened, progress.say)
            loop.run(work, after, compare=agree.compare)
    except (KeyboardInterrupt, Interrupted) as error:
        raise Interrupted(sites.stopped(launcher, root, resume)) from error
    except OutOfTime as error:
        raise OutOfTime(f"{error}. No finished work is lost; continue with: {resume}") from error
    finally:
        opened.close()
    _print(f"campaign finished; see: phasewalk status {_quoted(root)}")
    for line in deployment.of_campaign(root, os.environ, status.collect(root, opened)):
        _print(line)


@app.command()
def rewind(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.")],
    round_: Annotated[
        int, typer.Option("--round", help="The last round to keep; 0 keeps only the bootstrap.")
    ],
) -> None:
    """Restore a campaign to its state after a round, from which `run` continues.

    Nothing is deleted: files of later rounds are moved to DIR/rewound-1 (2, 3, …). All labels are
    kept, so that none is computed twice.
    """
    from ..rounds import rewinding

    root = directory.absolute()
    for line in rewinding.rewind(root, round_).lines():
        out.print(Text(line), soft_wrap=True)
    file = root.with_suffix(".yaml")
    source = _quoted(file) if root.suffix == ".run" and file.is_file() else "CAMPAIGN.yaml"
    out.print(Text(f"continue with: phasewalk run {source} --dir {_quoted(root)}"), soft_wrap=True)


@app.command()
def render(
    campaign_file: CampaignFile,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Folder to write; default: NAME.decks, next to the file."),
    ] = None,
) -> None:
    """Write the decks and PLUMED files of the first round, to read and to run by hand."""
    from ..campaign import inputs
    from ..checks import rendering

    campaign = inputs.load(campaign_file, os.environ)
    root = directory or campaign_file.with_name(f"{campaign_file.stem}.decks")
    for line in rendering.render(campaign, root, os.environ):
        out.print(Text(line), soft_wrap=True)


@app.command("build-plugin")
def build_plugin() -> None:
    """Build the LAMMPS plugin (pair_style nequip, fix plumed) for the engines found here."""
    from .. import engines as finding
    from ..engines import EngineSettings, plugin
    from ..engines.local import LocalLauncher

    engines = finding.find(EngineSettings(), os.environ)
    found = plugin.cached(engines, os.environ)
    if found is not None:
        out.print(Text(f"already built for these engines: {found}"), soft_wrap=True)
        return
    with out.status("building …"):
        built = plugin.build(engines, LocalLauncher(), os.environ)
    out.print(Text(f"built: {built}"), soft_wrap=True)


def _print(line: str) -> None:
    out.print(Text(line), soft_wrap=True)


def _quoted(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


def main() -> None:
    """Entry point: errors are one line; the exit code is 2 for errors that the user can correct."""
    signals.listen()
    terminal.accept_any_text()
    gc.set_threshold(*GARBAGE)
    if not app.registered_groups:
        app.command("status")(view.show_status)
        app.command()(view.verify)
        app.command("report")(report.show_report)
        for command in (potential.evaluate, potential.deploy, potential.gate, potential.export):
            app.command()(command)
        app.command()(fes.fes)
        app.command()(produce.produce)
        app.command()(produce.analyse)
        app.command()(produce.alarms)
        app.command()(labels.atoms)
        app.command()(schema.schema)
        app.command()(submit.submit)
        app.command()(submit.cancel)
        app.add_typer(labels.app)
        examples.add(app)
    try:
        app(prog_name="phasewalk", standalone_mode=True)
    except PhasewalkError as error:
        err.print(Text(f"phasewalk: {error}"), soft_wrap=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        err.print(Text(f"phasewalk: {where}{error.strerror or error}"), soft_wrap=True)
        sys.exit(InputError.exit_code)
    except KeyboardInterrupt:
        err.print("phasewalk: stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
