"""`phasewalk deploy`: make a deployed model from a checkpoint, and show how to use it."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import engines as finding
from .. import models, store
from ..campaign import config
from ..engines import EngineSettings, Machine, plugin
from ..errors import EngineMissing, InputError, PhasewalkError
from ..files import file_hash, hash_bytes, write_file
from ..generations import compile
from ..jobs import Finished, Job, Launcher, Running, submit
from ..models import TRUST, WEIGHTS, Deployed, swap

SHARED = "models"
"""Folder of compilations in the cache."""
RANKS = "ranks"
TARGETS = ("lammps", "ase", RANKS)
DEVICES = ("auto", "cpu", "cuda")
SECONDS = {"torchscript": "about 10 s", "aotinductor": "about 1 min, 2 min for large networks"}
"""Duration of a compilation."""
Show = Callable[[str], None]


def check(checkpoint: Path, output: Path, *, mode: str, device: str, target: str) -> None:
    """Raise InputError if `deploy` cannot be done as asked."""
    asked = {
        "target": (target, TARGETS),
        "mode": (mode, models.ENDINGS),
        "device": (device, DEVICES),
    }
    for name, (value, known) in asked.items():
        if value not in known:
            *some, last = known
            raise InputError(f"--{name} {value}: use {', '.join(some)} or {last}")
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such file; give a checkpoint of nequip-train")
    store.check_kept(checkpoint)
    options = f"--mode {mode}" + (f" --target {target}" if target == RANKS else "")
    ending = models.ending(mode, for_ranks=target == RANKS)
    if not output.name.endswith(ending):
        raise InputError(f"-o {output}: with {options} the name must end in {ending}")
    if not output.absolute().parent.is_dir():
        raise InputError(f"-o {output}: its folder does not exist; make it first")


def deploy(
    checkpoint: Path,
    output: Path,
    *,
    mode: str,
    device: str,
    target: str,
    launcher: Launcher,
    cache: Path,
    place: Path,
    trusted: bool,
    show: Show,
) -> tuple[Deployed, str]:
    """Write a deployed model and its stamp.

    If a compilation of the same network exists, the weights in it are replaced; otherwise the
    checkpoint is compiled. Compilations are looked for in the cache and, since a compilation is
    code, in the checkpoint's campaign only if that is trusted.

    Args:
        checkpoint: of nequip-train.
        output: file to write.
        mode: torchscript or aotinductor.
        device: auto, cpu or cuda.
        target: what will load it: lammps, ase, or ranks, which is LAMMPS on several MPI ranks; a
            TorchScript model for lammps works with ase, too.
        launcher: runs the compiler.
        cache: the user's cache folder.
        place: an empty folder.
        trusted: load code from the checkpoint and its campaign.
        show: shows the present step and its duration.

    Returns:
        The stamp, and a description of how the model was made.
    """
    made, trust = None, (TRUST,) if trusted else ()
    if mode == "aotinductor" and target != "ase":
        kept = [cache / SHARED]
        if trusted:
            kept.insert(0, checkpoint.absolute().parent.parent / "compiled")
        weights = _child(checkpoint, mode, device, place / "weights", ("--weights", *trust))
        usable = _usable(kept, device, launcher, for_ranks=target == RANKS)
        made = _swapped(usable, weights, launcher, show)
    if made is None:
        more = ("--target", target, *trust)
        compilation = _child(checkpoint, mode, device, place / "compile", more)
        made = _compiled(compilation, mode, launcher, show)
    content, stamp, how = made
    stamp = replace(stamp, file=output.name, checkpoint=file_hash(checkpoint))
    stamp = replace(stamp, sha256=hash_bytes(content))
    write_file(output, content)
    write_file(output.with_name(f"{output.name}.json"), models.stamp_text(stamp).encode())
    return stamp, how


def _swapped(
    found: Sequence[compile.Compiled], job: Job, launcher: Launcher, show: Show
) -> tuple[bytes, Deployed, str] | None:
    """An existing compilation with the weights replaced; None if there is no suitable one.

    Args:
        found: compilations that could be used.
        job: extracts the weights.
        launcher: runs it.
        show: shows the present step.
    """
    if not found:
        return None
    finished = _wait(launcher, job, "reading the checkpoint", show)
    models.require_loaded(finished)
    graph, weights = swap.read_weights(job.directory / WEIGHTS)
    for one in found:
        try:
            if one.template.graph == graph:
                content = swap.swap(one.file.read_bytes(), one.template, graph, weights)
                stamp = replace(one.stamp, graph=graph)
                return content, stamp, f"weights replaced in the compilation in {one.place}"
        except (InputError, OSError) as error:
            show(f"{one.file}: not used ({error})")
    return None


def _usable(
    kept: Sequence[Path], device: str, launcher: Launcher, *, for_ranks: bool
) -> list[compile.Compiled]:
    """Compilations for this device that can run where the jobs of a launcher run."""
    every = [one for folder in kept for one in compile.all_in(folder, sealed=folder.name == SHARED)]
    found = [one for one in every if one.stamp.for_ranks == for_ranks]
    if not found:
        return []  # no machine needs to be asked
    machine = finding.ask(launcher)
    return [one for one in found if _fits(one.stamp, device, machine)]


def _fits(stamp: Deployed, device: str, machine: Machine) -> bool:
    """Whether a compilation is for this device and can run on a machine."""
    wanted = ("cuda" if machine.has_gpu else "cpu") if device == "auto" else device
    reason = models.misfit(stamp, machine)
    return (stamp.mode, stamp.device, reason) == ("aotinductor", wanted, "")


def _compiled(job: Job, mode: str, launcher: Launcher, show: Show) -> tuple[bytes, Deployed, str]:
    what = f"compiling ({mode}, {SECONDS[mode]})"
    finished = _wait(launcher, job, what, show)
    stamp = models.read_deployment(finished)
    content = (job.directory / stamp.file).read_bytes()
    return content, stamp, f"compiled in {finished.seconds:.0f} s"


def _child(checkpoint: Path, mode: str, device: str, place: Path, more: Sequence[str]) -> Job:
    job = models.deploy_job(
        "deploy", checkpoint, mode=mode, device=device, directory=place, cores=1, trusted=False
    )
    return replace(job, argv=(*job.argv, *more))


def _wait(launcher: Launcher, job: Job, what: str, show: Show) -> Finished:
    """Run one job and show its duration."""
    show(f"{what} …")
    for event in submit(launcher, [job]):
        if isinstance(event, Running):
            show(f"{what} … {event.seconds:.0f} s")
        elif isinstance(event, Finished):
            return event
    raise InputError(f"{job.name}: ended without a result")


def once(write: Show) -> Show:
    """Show each step only once, without its duration: for output to a file."""
    written: set[str] = set()

    def show(line: str) -> None:
        what = line.partition(" …")[0]
        if what not in written:
            written.add(what)
            write(f"{what} …")

    return show


def use(
    output: Path, checkpoint: Path, stamp: Deployed, *, target: str, environ: Mapping[str, str]
) -> list[str]:
    """Lines that show how to use and prove a deployed model."""
    model, names = output.absolute(), (shlex.quote(str(output)), shlex.quote(str(checkpoint)))
    lines = []
    if target != "ase":
        how = in_lammps(model, stamp.types, EngineSettings(), environ)
        lines += ["use it in LAMMPS:", *(f"  {line}" for line in how)]
    if target == "lammps":
        proof = "prove it: phasewalk gate {} --checkpoint {} --data FRAMES.extxyz".format(*names)
        lines.append(proof)
    if target == "ase" or (target == "lammps" and stamp.mode == "torchscript"):
        lines += ["use it in ASE:", f"  {in_ase(model, stamp.device)}"]
    return lines


def in_lammps(
    model: Path, types: Sequence[str], settings: EngineSettings, environ: Mapping[str, str]
) -> list[str]:
    """Lines that make LAMMPS load the plugin and use a model."""
    try:
        engines = finding.find(settings, environ)
        library = engines.plugin or plugin.cached(engines, environ)
        lines = [f"export LAMMPS_PLUGIN_PATH={library.parent}"] if library else []
    except EngineMissing:
        lines = []
    return [
        *(lines or ["phasewalk build-plugin      # then export LAMMPS_PLUGIN_PATH=(its folder)"]),
        "pair_style nequip",
        f"pair_coeff * * {model} {' '.join(types)}",
    ]


def of_campaign(root: Path, environ: Mapping[str, str], state: Mapping[str, Any]) -> list[str]:
    """Lines that name the forms of a campaign's last model, the fastest first, and show their use.

    There are none if a model or its stamp cannot be read.
    """
    forms = state["deployed_models"]
    try:
        stamps = [models.read_stamp((root / one["file"]).with_name(compile.STAMP)) for one in forms]
        settings = config.parse(*store.settings_text(root)).engines
    except PhasewalkError:
        return []
    if not forms:
        return []
    fast = (root / forms[0]["file"]).absolute()
    lines = [f"the last model, generation {forms[0]['generation']}:"]
    lines += [_form(one, stamp) for one, stamp in zip(forms, stamps, strict=True)]
    lines += ["use it in LAMMPS:", *in_lammps(fast, stamps[0].types, settings, environ)]
    for one in forms:
        if one["mode"] == "torchscript":
            lines += ["or in ASE:", in_ase((root / one["file"]).absolute(), one["device"])]
    return [line if line.endswith(":") else f"  {line}" for line in lines]


def _form(one: Mapping[str, Any], stamp: Deployed) -> str:
    """A form of a model: file, speed, and where it runs."""
    speed = "" if one["ms_per_step"] is None else f"{one['ms_per_step']:.1f} ms/step; "
    where = "LAMMPS and ASE, any machine"
    if one["mode"] == "aotinductor":
        machine = f"this type of {'GPU' if stamp.device == 'cuda' else 'processor'}"
        where = f"LAMMPS, {machine}, torch {stamp.torch}"
    return f"{one['file']}: {speed}{where}"


def in_ase(model: Path, device: str) -> str:
    """The line of Python that loads a model in ASE."""
    return (
        f'NequIPCalculator.from_compiled_model("{model}", device="{device}", '
        "chemical_species_to_atom_type_map=True)"
        "     # from nequip.integrations.ase import NequIPCalculator"
    )
