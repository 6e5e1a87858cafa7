"""The folder of an exported potential, written in one step."""

import io
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from .. import models
from ..engines import plugin
from ..errors import InputError, PhasewalkError
from ..files import file_hash
from ..jobs import Finished, Job, Launcher, run
from ..labels import to_training
from ..structures import bare
from ..walkers import decks
from . import facts
from .facts import Facts, Form

PACKAGE, CHECKPOINT = "model.nequip.zip", "checkpoint.ckpt"
ASE_FORM = "torchscript"


@dataclass(frozen=True)
class Exported:
    """An exported potential.

    Attributes:
        folder: where it is.
        generation: its name.
        files: names of its models.
        missing: why it has no package; empty if it has one.
    """

    folder: Path
    generation: str
    files: tuple[str, ...]
    missing: str


def export(
    root: Path, output: Path | None, *, generation: str | None, launcher: Launcher, place: Path
) -> Exported:
    """Write the folder of a generation; nothing is left of it if this is interrupted.

    Args:
        root: campaign directory, which is only read.
        output: the folder; None: NAME-potential in the working directory.
        generation: "0", "1", … or "final"; None for the last one.
        launcher: runs nequip-package.
        place: an empty folder for that.

    Raises:
        InputError: the folder exists, its parent does not, or there is no such generation.
    """
    found = facts.read(root, generation)
    target = output or Path(f"{found.name}-potential")
    if target.exists() or target.is_symlink():
        raise InputError(f"-o {target}: exists; give another folder, or move it away")
    if not target.absolute().parent.is_dir():
        raise InputError(f"-o {target}: its folder does not exist; make it first")
    package, missing = _package(found, launcher, place)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.absolute().parent))
    try:
        _fill(part, found, target.name, package)
        part.chmod(0o755)
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    names = tuple(_name(form) for form in found.forms)
    return Exported(target, found.generation, names, missing)


def _package(found: Facts, launcher: Launcher, place: Path) -> tuple[Path | None, str]:
    """Nequip's package of the checkpoint; None, with the reason, if that fails."""
    data = to_training(found.training).encode()
    job = Job(
        name="package",
        argv=(
            *(sys.executable, "-m", "phasewalk.models.package_child"),
            *(str(found.checkpoint.absolute()), PACKAGE),
        ),
        directory=place / "package",
        kind="compile",
        inputs={"train.extxyz": data, "validation.extxyz": data},
        env={"OMP_NUM_THREADS": "1"},
    )
    finished: Finished = run(launcher, job)
    try:
        finished.require_success()
    except PhasewalkError as error:
        return None, str(error)
    return finished.directory / PACKAGE, ""


def _name(form: Form) -> str:
    return f"model{models.ENDINGS[form.stamp.mode]}"


def _fill(place: Path, found: Facts, folder: str, package: Path | None) -> None:
    """Write all files."""
    checkpoint = file_hash(found.checkpoint)
    for form in found.forms:
        files = {_name(form): (form.source, form.stamp)}
        if form.several is not None:
            files[models.name_for_ranks(_name(form))] = form.several
        for name, (source, stamp) in files.items():
            shutil.copyfile(source, place / name)
            mine = replace(stamp, file=name, checkpoint=checkpoint, sha256=file_hash(source))
            (place / f"{name}.json").write_text(models.stamp_text(mine), encoding="utf-8")
    shutil.copyfile(package or found.checkpoint, place / (PACKAGE if package else CHECKPOINT))
    sources = plugin.source_dir()
    (place / "plugin/plugin").mkdir(parents=True)
    for source in [sources / "CMakeLists.txt", *sorted(sources.glob("plugin/*"))]:
        shutil.copyfile(source, place / "plugin" / source.relative_to(sources))
    for name, text in _texts(found, folder, packaged=package is not None).items():
        (place / name).write_text(text, encoding="utf-8")


def _texts(found: Facts, folder: str, *, packaged: bool) -> dict[str, str]:
    """The text files of the folder, by name."""
    import ase.io

    stamp = found.forms[0].stamp
    types = stamp.types
    slow = next((form.stamp for form in found.forms if form.stamp.mode == ASE_FORM), None)
    names = ("lammps", "torch", "nequip", "plumed")
    temperature = f"{found.temperature_K:g}"
    texts = {
        "README.md": _rendered(
            "README.md.j2",
            facts=found,
            folder=folder,
            types=types,
            cutoff=f"{stamp.r_max_A:g}",
            dtype=stamp.dtype,
            forms=[{"file": _name(form), "about": _about(form)} for form in found.forms],
            packaged=packaged,
            package=PACKAGE if packaged else CHECKPOINT,
            several=[models.name_for_ranks(_name(form)) for form in found.forms if form.several],
            ase=slow is not None,
            checkpoint="/".join(found.checkpoint.parts[-3:]),
            exchange=models.name_for_ranks(_name(found.forms[0])),
            nequip=stamp.nequip,
            pinned=[
                f"{n}=={_public(found.versions[n])}" for n in names[:2] if found.versions.get(n)
            ],
            versions=", ".join(f"{n} {found.versions[n]}" for n in names if found.versions.get(n)),
        ),
        "potential.lmp": _rendered(
            "potential.lmp.j2", name=found.name, types=types, file=_name(found.forms[0])
        ),
        "example.lmp": _rendered("example.lmp.j2", name=found.name, temperature=temperature),
        "example.data": decks.data_file(decks.lammps_frame(found.example), types, velocities=False),
    }
    if slow is not None:
        frame = io.StringIO()
        ase.io.write(frame, bare(found.example), format="extxyz")
        script = _resource("example_ase.py.txt").replace("DEVICE", slow.device)
        script = script.replace("FILE", f"model{models.ENDINGS[ASE_FORM]}")
        texts["example_ase.py"] = script.replace("TEMPERATURE", temperature)
        texts["example.extxyz"] = frame.getvalue()
    return texts


def _about(form: Form) -> str:
    """A form in words: who reads it, where it runs, and its speed."""
    stamp = form.stamp
    speed = "" if form.ms_per_step is None else f"; {form.ms_per_step:.1f} ms a step on one thread"
    if stamp.mode == ASE_FORM:
        return f"TorchScript, {stamp.device}: LAMMPS and ASE, any machine{speed}"
    where = f"GPU {stamp.gpu}" if stamp.device == "cuda" else "this type of processor"
    return f"AOTInductor, {stamp.device}: LAMMPS, {where}, torch {stamp.torch}{speed}"


def _public(version: str) -> str:
    """A version without the part that PyPI does not know: 2.13.0+cpu is 2.13.0."""
    return version.partition("+")[0]


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _rendered(template: str, **values: Any) -> str:
    """A text from its template."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters["capitalize_first"] = lambda text: text[:1].upper() + text[1:]
    return environment.from_string(_resource(template)).render(**values)
