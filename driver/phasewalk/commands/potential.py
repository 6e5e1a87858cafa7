"""`phasewalk evaluate`, `deploy`, `gate` and `export`: what is done with a model."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ..errors import GateFailed, InputError
from ..jobs import run
from . import site as sites
from . import terminal
from .site import Site

if TYPE_CHECKING:
    from ..engines import EngineSettings

out, err = terminal.stdout(), terminal.stderr()

TRUST_HELP = "Load the checkpoint even if it contains code, which is then executed."


def evaluate(
    target: Annotated[
        Path, typer.Argument(metavar="DIR|MODEL", help="Campaign directory, or a deployed model.")
    ],
    data: Annotated[Path, typer.Option("--data", help="Labelled frames (extxyz).")],
    generation: Annotated[
        str | None, typer.Option(help="Generation of the campaign; default: the last one.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run the programs that the directory's settings name.")
    ] = False,
    site: Site = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute the errors of a deployed model on labelled frames, in LAMMPS.

    For a campaign's model it also prints how many of the frames are its own training labels, on
    which errors do not measure predictions.
    """
    from .. import engines as finding
    from .. import scratch, status
    from ..checks import assess
    from ..engines import plugin
    from ..validation import accuracy

    frames = accuracy.read_labelled(data)
    model = assess.model_of(target, generation)
    assess.check_species(model, [label.atoms for label in frames], str(data))
    launcher = sites.choose(site, target, cores=None, folder=Path(), leaves=False)
    engines = finding.find(_engines(target, trusted=trust), os.environ)
    engines = plugin.ensure(finding.with_machine(engines, launcher), launcher, os.environ)
    with (
        scratch.folder("evaluate", within=launcher.scratch, keep_failed=True) as folder,
        err.status("evaluating in LAMMPS …"),
    ):
        job = accuracy.job(
            "evaluate",
            model,
            frames=[label.atoms for label in frames],
            directory=folder / "lammps",
            env=dict(engines.env),
        )
        found = accuracy.errors(frames, accuracy.read(run(launcher, job)).frames)
    learned = assess.learned(model, frames)
    if as_json:
        errors = assess.with_learned(found.as_dict(), learned)
        print(json.dumps({"model": str(model), "data": str(data), **errors}, indent=1))
        return
    status.show_errors(str(model), found.as_dict(), out)
    if learned is not None and learned.says:
        out.print(Text(learned.says, style="bold"), soft_wrap=True)


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


def gate(
    model: Annotated[Path, typer.Argument(help="A deployed model (.nequip.pth or .nequip.pt2).")],
    data: Annotated[Path, typer.Option("--data", help="Labelled frames of the material (extxyz).")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Its checkpoint; default: that of its campaign directory."),
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help=TRUST_HELP)] = False,
    ranks: Annotated[
        int,
        typer.Option(
            min=1, help="Also compare its file for several MPI ranks, on so many, with one rank."
        ),
    ] = 1,
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
            count=ranks,
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


def export(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder to write; default: NAME-potential."),
    ] = None,
    generation: Annotated[
        str | None, typer.Option(help="Generation of the campaign; default: the last one.")
    ] = None,
) -> None:
    """Write a potential as a folder that is used without phasewalk.

    It has the deployed models, a package of nequip to compile them elsewhere, the sources of the
    LAMMPS plugin, examples for LAMMPS and ASE, and a README with errors, range and level of theory.
    """
    from .. import exports, scratch
    from ..engines.local import LocalLauncher

    with scratch.folder("export", keep_failed=True) as place, err.status("exporting …"):
        found = exports.export(
            directory, output, generation=generation, launcher=LocalLauncher(), place=place
        )
    _print(f"{found.folder}: generation {found.generation}, {', '.join(found.files)}")
    if len(found.files) == 1:
        _print(f"it has {found.files[0]} alone: the campaign has no other form of this generation")
    if found.missing:
        _print(f"it has the checkpoint instead of nequip's package: {found.missing}")
    _print(f"read {found.folder / 'README.md'}")


def _print(line: str) -> None:
    out.print(Text(line), soft_wrap=True)


def _engines(target: Path, *, trusted: bool) -> "EngineSettings":
    """The engines of a campaign's settings that may be used; the default for anything else."""
    from .. import store
    from ..campaign import config
    from ..engines import EngineSettings
    from ..rounds import reopen

    if not target.is_dir():
        return EngineSettings()
    text, path = store.settings_text(target)
    kept, notice = reopen.own_side(config.parse(text, path), path, trusted=trusted)
    if notice:
        err.print(Text(notice), soft_wrap=True)
    return kept.engines
