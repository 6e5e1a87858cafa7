"""The command line: check, run, status, rewind, render, build-plugin, deploy, evaluate, gate."""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ..errors import GateFailed, InputError, Interrupted, PhasewalkError
from . import evaluate, examples, fes, labels, report, schema, signals, terminal, view

app = typer.Typer(
    name="phasewalk",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",  # paragraphs are filled, and examples stand on lines of their own
)
out, err = terminal.stdout(), terminal.stderr()

GARBAGE = (50_000, 20, 20)
"""When garbage is looked for: most of what a short command makes is modules, which stay."""
TRUST_HELP = "Load the checkpoint even if that may run code of whoever made it."


def _show_version(asked: bool) -> None:
    from ..engines import PACKAGES, versions

    if asked:
        found = versions((*PACKAGES, "hillclimber"))  # of which PLUMED's kernel is
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

    Begin with: phasewalk check CAMPAIGN.yaml, then phasewalk run CAMPAIGN.yaml.
    """


CampaignFile = Annotated[Path, typer.Argument(metavar="CAMPAIGN.yaml", help="The campaign file.")]


@app.command()
def check(
    campaign_file: CampaignFile,
    dry: Annotated[
        Path | None,
        typer.Option("--dry", metavar="DIR", help="Only write what the reference would be asked."),
    ] = None,
) -> None:
    """Validate a campaign and its engines; starts nothing long but one label.

    Finds every engine and its version, reads structures and PLUMED text, labels one structure, and
    compares a tiny untrained model in LAMMPS with the same model in Python.
    """
    from ..campaign import inputs
    from ..checks import check as checks
    from ..checks import trial
    from ..engines.local import LocalLauncher

    campaign = inputs.load(campaign_file, os.environ)
    if dry is not None:
        for line in trial.write_request(campaign, dry):
            out.print(Text(line), soft_wrap=True)
        return
    rows = checks.check(campaign, LocalLauncher(campaign.cores), os.environ)
    if not checks.show(rows, out):
        raise InputError("the campaign cannot run as it is: see the rows that are not ok")


@app.command()
def run(
    campaign_file: CampaignFile,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Campaign directory; default: beside the file, NAME.run."),
    ] = None,
) -> None:
    """Start a campaign, or go on with it from where it was stopped.

    Ctrl-C stops it cleanly; the same command goes on. Nothing that was finished is done again.
    """
    from .. import engines as finding
    from .. import status, store
    from ..campaign import Work, inputs, plumed_inputs, theory
    from ..checks import check as checks
    from ..checks import deployment
    from ..engines import plugin, shared_code
    from ..engines.local import LocalLauncher
    from ..production import agree
    from ..rounds import loop

    campaign = inputs.load(campaign_file, os.environ)
    root = (directory or campaign_file.with_name(f"{campaign_file.stem}.run")).absolute()
    launcher = LocalLauncher(campaign.cores)
    engines = finding.find(campaign.settings.engines, os.environ)
    checks.preflight(campaign, engines, launcher)
    campaign, notes = theory.settle(campaign, launcher, root)
    notes += plumed_inputs.notices(campaign.settings, campaign.structures)
    opened = store.open_campaign(root, campaign.identity())
    resume = f"phasewalk run {_quoted(campaign_file)} --dir {_quoted(root)}"
    out.print(Text(f"campaign directory: {root}"), soft_wrap=True)
    try:
        with view.live(out, opened, campaign.settings.rounds) as progress:
            if opened.took_over:
                progress.say(opened.took_over)
            for note in [*notes, *campaign.remarks()]:
                progress.say(note)
            if not shared_code.writable(cache := finding.cache_dir(os.environ)):
                progress.say(
                    f"{cache} cannot be written: labels and compilations are not shared "
                    "with other campaigns (PHASEWALK_CACHE names another folder)"
                )
            if engines.plugin is None and plugin.cached(engines, os.environ) is None:
                progress.say("building the LAMMPS plugin (once; about half a minute)")
            engines = plugin.ensure(engines, launcher, os.environ)
            work = Work(campaign, opened, launcher, engines, progress)
            after = report.after_round(opened, progress.say)
            loop.run(work, after, compare=agree.compare)
    except (KeyboardInterrupt, Interrupted) as error:
        raise Interrupted(
            f"stopped; nothing that was finished is lost. Go on with: {resume}"
        ) from (error)
    finally:
        opened.close()
    _tell(f"campaign finished; see: phasewalk status {_quoted(root)}")
    for line in deployment.of_campaign(root, os.environ, status.collect(root, opened)):
        _tell(line)


@app.command()
def rewind(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.")],
    round_: Annotated[
        int, typer.Option("--round", help="The last round to keep; 0 keeps the bootstrap alone.")
    ],
) -> None:
    """Go back to where a campaign stood right after a round; `run` goes on from there.

    Nothing is deleted: what came later is moved to DIR/rewound-1 (2, 3, …). Labels stay, so that
    none is ever paid twice.
    """
    from ..rounds import rewinding

    root = directory.absolute()
    for line in rewinding.rewind(root, round_).lines():
        out.print(Text(line), soft_wrap=True)
    file = root.with_suffix(".yaml")
    source = _quoted(file) if root.suffix == ".run" and file.is_file() else "CAMPAIGN.yaml"
    out.print(Text(f"go on with: phasewalk run {source} --dir {_quoted(root)}"), soft_wrap=True)


@app.command()
def render(
    campaign_file: CampaignFile,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Where to write; default: beside the file, NAME.decks."),
    ] = None,
) -> None:
    """Write the decks and PLUMED files of a first round, to read and to run by hand."""
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
        str, typer.Option(help="torchscript (seconds) or aotinductor (a minute; faster steps).")
    ] = "torchscript",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    trust: Annotated[bool, typer.Option("--trust", help=TRUST_HELP)] = False,
    target: Annotated[
        str,
        typer.Option(
            help="Who loads it: lammps or ase. TorchScript's file (.nequip.pth) serves both; "
            "AOTInductor's (.nequip.pt2) only the one that it was compiled for."
        ),
    ] = "lammps",
) -> None:
    """Make a checkpoint into a model that LAMMPS (or ASE) runs; a stamp is written beside it.

    With AOTInductor the weights are written into a compilation of the same network if the
    checkpoint's campaign or the cache has one, in seconds; else it is compiled.
    """
    from .. import engines as finding
    from .. import models, scratch, store
    from ..checks import deployment
    from ..engines.local import LocalLauncher

    if target not in deployment.TARGETS:
        raise InputError(f"--target {target}: use lammps or ase")
    if mode not in models.ENDINGS:
        raise InputError(f"--mode {mode}: use torchscript or aotinductor")
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {device}: use auto, cpu or cuda")
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such checkpoint")
    store.check_kept(checkpoint)
    if not output.name.endswith(models.ENDINGS[mode]):
        raise InputError(
            f"-o {output}: with --mode {mode} the name must end in {models.ENDINGS[mode]}"
        )
    if not output.absolute().parent.is_dir():
        raise InputError(f"-o {output}: its folder does not exist")
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
    _tell(f"{output}: {mode}, {stamp.device}, {stamp.dtype}, types {' '.join(stamp.types)}; {how}")
    for line in deployment.use(output, checkpoint, stamp, target=target, environ=os.environ):
        _tell(line)


def _tell(line: str) -> None:
    out.print(Text(line), soft_wrap=True)


@app.command()
def gate(
    model: Annotated[Path, typer.Argument(help="A deployed model (.nequip.pth or .nequip.pt2).")],
    data: Annotated[Path, typer.Option("--data", help="Real frames of the material (extxyz).")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Its checkpoint; default: the one beside it in a campaign directory."),
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help=TRUST_HELP)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove a deployed model in LAMMPS: equal to its checkpoint, conservative, invariant."""
    from .. import engines as finding
    from .. import scratch, store
    from ..checks import assess, prove
    from ..engines import EngineSettings, plugin
    from ..engines.local import LocalLauncher
    from ..validation import accuracy, proof_text

    if not model.is_file():
        raise InputError(f"{model}: no such model")
    source = checkpoint or prove.find_checkpoint(model)
    if not source.is_file():
        raise InputError(f"{source}: no such checkpoint")
    for file in (model, source):
        store.check_kept(file)
    frames = [label.atoms for label in accuracy.read_labelled(data)]
    assess.check_species(model, frames, str(data))
    launcher = LocalLauncher()
    engines = plugin.ensure(finding.find(EngineSettings(), os.environ), launcher, os.environ)
    with (
        scratch.folder("gate", keep_failed=True) as folder,
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
    """Entry point: one line per error, exit code 2 if the user can correct it."""
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
