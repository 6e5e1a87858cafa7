"""The command line: all commands of `phasewalk`."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ..errors import GateFailed, InputError, Interrupted, OutOfTime, PhasewalkError
from . import (
    evaluate,
    examples,
    fes,
    labels,
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
TRUST_HELP = "Load the checkpoint even if it contains code, which is then executed."


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
    opened = store.open_campaign(root, campaign.identity())
    resume = f"phasewalk run {_quoted(campaign_file)} --dir {_quoted(root)}"
    resume += sites.words(site)
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


@app.command()
def deploy(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of nequip-train (.ckpt).")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="File to write (.nequip.pth or .nequip.pt2).")
    ],
    mode: Annotated[
        str,
        typer.Option(
            help="torchscript (compiles in seconds) or aotinductor (compiles in about a minute, "
            "but runs faster)."
        ),
    ] = "torchscript",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    trust: Annotated[bool, typer.Option("--trust", help=TRUST_HELP)] = False,
    target: Annotated[
        str,
        typer.Option(
            help="What loads it: lammps, ase, or ranks (LAMMPS on several MPI ranks). A "
            "TorchScript model for lammps works with ase, too; an AOTInductor model does not."
        ),
    ] = "lammps",
) -> None:
    """Make a model for LAMMPS or ASE from a checkpoint; writes the model and its stamp.

    With AOTInductor, if the checkpoint's campaign or the cache has a compilation of the same
    network, only its weights are replaced, which takes seconds.
    """
    from .. import engines as finding
    from .. import scratch
    from ..checks import deployment
    from ..engines.local import LocalLauncher

    deployment.check(checkpoint, output, mode=mode, device=device, target=target)
    with scratch.folder("deploy", keep_failed=True) as folder, out.status("deploying …") as shown:
        stamp, how = deployment.deploy(
            checkpoint,
            output,
            mode=mode,
            device=device,
            target=target,
            launcher=LocalLauncher(),
            cache=finding.cache_dir(os.environ),
            place=folder,
            trusted=trust,
            show=(lambda line: shown.update(Text(line)))
            if out.is_terminal
            else deployment.once(lambda line: err.print(Text(line), soft_wrap=True)),
        )
    _print(f"{output}: {mode}, {stamp.device}, {stamp.dtype}, types {' '.join(stamp.types)}; {how}")
    for line in deployment.use(output, checkpoint, stamp, target=target, environ=os.environ):
        _print(line)


def _print(line: str) -> None:
    out.print(Text(line), soft_wrap=True)


@app.command()
def gate(
    model: Annotated[Path, typer.Argument(help="A deployed model (.nequip.pth or .nequip.pt2).")],
    data: Annotated[Path, typer.Option("--data", help="Labelled frames of the material (extxyz).")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Its checkpoint; default: that of its campaign directory."),
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help=TRUST_HELP)] = False,
    site: Site = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove a deployed model in LAMMPS.

    Checks that it equals its checkpoint, that forces and stress are derivatives of the energy, and
    that it is invariant under permutation, rotation and translation.
    """
    from .. import engines as finding
    from .. import scratch, store
    from ..checks import assess, prove
    from ..engines import EngineSettings, plugin
    from ..validation import accuracy, proof_text

    if not model.is_file():
        raise InputError(f"{model}: no such file; give a deployed model")
    source = checkpoint or prove.find_checkpoint(model)
    if not source.is_file():
        raise InputError(f"{source}: no such file; give the model's checkpoint with --checkpoint")
    for file in (model, source):
        store.check_kept(file)
    frames = [label.atoms for label in accuracy.read_labelled(data)]
    assess.check_species(model, frames, str(data))
    launcher = sites.choose(site, model, cores=None, folder=Path(), leaves=False)
    engines = finding.with_machine(finding.find(EngineSettings(), os.environ), launcher)
    engines = plugin.ensure(engines, launcher, os.environ)
    with (
        scratch.folder("gate", within=launcher.scratch, keep_failed=True) as folder,
        err.status("proving in LAMMPS …"),
    ):
        proof = prove.prove(
            model,
            source,
            frames=frames,
            engines=engines,
            launcher=launcher,
            place=folder,
            trusted=trust,
        )
    if as_json:
        print(proof_text(proof, engines.versions), end="")
    else:
        for check in proof.checks:
            out.print(Text(str(check), style="" if check.ok else "bold red"), soft_wrap=True)
        for warning in proof.warnings:
            out.print(Text(f"warning: {warning}"), soft_wrap=True)
    if not proof.passed:
        raise GateFailed(f"{model} failed its gate: {proof.failure()}")


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
        app.command()(evaluate.evaluate)
        app.command()(fes.fes)
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
