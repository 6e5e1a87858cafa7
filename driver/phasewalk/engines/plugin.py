"""The LAMMPS plugin: its build stamp, its cache, and the job that builds it."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

from ..errors import EngineFailed, EngineMissing
from ..files import read
from ..jobs import Finished, Job, Launcher, run
from . import shared_code
from .discovery import HOW_TO_GET_PLUMED, Engines, cache_dir, with_plugin
from .machine_child import which

LIBRARY = "phasewalkplugin.so"
STAMP = "phasewalk_stamp.json"
BUILD_LIMIT_S = 1200.0
COMPILERS, COMPILER_GB = 2, 1.0
"""Number of compilers side by side, and memory of each: without a limit, cmake starts one for each
processor of the machine, whatever was granted of it."""
VERSION = "0.3.0"
"""Version of the plugin's sources that decks and logs need.

0.1.0 did not have `device`; 0.2.0 wrote a stop as a sentence.
"""


def source_dir() -> Path:
    """The plugin's CMake project, in the installed package or in the source checkout."""
    installed = Path(__file__).parents[1] / "cmake"
    return installed if installed.is_dir() else Path(__file__).parents[3] / "cmake"


def stamp(engines: Engines, source: Path) -> dict[str, str]:
    """Everything that a built plugin depends on: sources, LAMMPS, torch, PLUMED, MPI, machine."""
    digest = hashlib.sha256()
    for path in sorted([source / "CMakeLists.txt", *source.glob("plugin/*")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return {
        "sources": digest.hexdigest()[:16],
        "lammps": f"{engines.versions.get('lammps', '')} {engines.lammps_include}",
        "torch": engines.versions.get("torch", ""),
        "plumed_headers": str(engines.plumed.include) if engines.plumed else "",
        "mpi": f"{engines.versions.get('mpich', '')} {engines.mpi_include}",
        "machine": engines.machine.architecture,
    }


def cached(engines: Engines, environ: Mapping[str, str]) -> Path | None:
    """The cached plugin for these engines; None if it was not built yet."""
    place = shared_code.own(_place(engines, environ))
    unusable = shared_code.why_not(place, (LIBRARY, STAMP))
    return None if unusable else place / LIBRARY


def _place(engines: Engines, environ: Mapping[str, str]) -> Path:
    wanted = json.dumps(stamp(engines, source_dir()), sort_keys=True)
    name = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    return cache_dir(environ) / "plugin" / name


def ensure(engines: Engines, launcher: Launcher, environ: Mapping[str, str]) -> Engines:
    """The engines with their plugin: the configured one, the cached one, or a new build.

    Raises:
        EngineMissing: cmake, a compiler or PLUMED's header is missing, or the configured plugin
            was built for other engines.
        EngineFailed: the build failed; its folder is kept.
    """
    if engines.plugin is not None:
        check_stamp(engines.plugin, engines)
        return with_plugin(engines, engines.plugin)
    found = cached(engines, environ)
    return with_plugin(engines, found or build(engines, launcher, environ))


def read_stamp(path: Path) -> dict[str, Any]:
    """The stamp of a plugin: the versions that it was built for."""
    return read(path, dict[str, Any], unlike="not a plugin's stamp")


def check_stamp(library: Path, engines: Engines) -> None:
    """Raise EngineMissing if a plugin's stamp names another torch, LAMMPS or machine."""
    path = library.with_name(STAMP)
    if not path.is_file():
        raise EngineMissing(
            f"plugin: {STAMP} not found next to {library} (engines.plugin); use phasewalk "
            "build-plugin"
        )
    built = read_stamp(path)
    version = built.get("plugin", "unknown")
    wanted = {
        "torch": engines.versions.get("torch"),
        "lammps": lammps_number(engines.versions.get("lammps", "")),
    }
    if version != VERSION:
        raise EngineMissing(
            f"plugin: {library} was built from version {version} of the plugin's sources, but this "
            f"phasewalk needs {VERSION}; use phasewalk build-plugin, then set engines.plugin to "
            "the new one or remove it"
        )
    for name, value in wanted.items():
        if value is not None and built.get(name) not in (value, 0):
            raise EngineMissing(
                f"plugin: {library} was built for {name} {built.get(name)}, but {value} is "
                "installed; use phasewalk build-plugin"
            )


def lammps_number(version: str) -> int | None:
    """LAMMPS's version as in its sources: 2025.7.22.4.0 is 20250722; None if unknown."""
    parts = version.split(".")
    if len(parts) < 3 or not all(part.isdigit() for part in parts[:3]):
        return None
    return int(parts[0]) * 10_000 + int(parts[1]) * 100 + int(parts[2])


def build(engines: Engines, launcher: Launcher, environ: Mapping[str, str]) -> Path:
    """Build the plugin into the cache; see `ensure`."""
    cmake = which("cmake")
    for name, program in (("cmake", cmake), ("g++ or clang++", which("c++"))):
        if program is None:
            raise EngineMissing(
                f"plugin: {name}, which is needed to build it, was not found; "
                "on Debian or Ubuntu: sudo apt-get install g++ cmake (or: pip install cmake ninja)"
            )
    if engines.plumed is None or engines.plumed.include is None:
        raise EngineMissing(
            f"plugin: PLUMED's header Plumed.h, which is needed to build it, was not found; "
            f"{HOW_TO_GET_PLUMED}"
        )
    place = shared_code.own(_place(engines, environ))
    try:
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="build-", dir=place))
    except OSError as error:
        raise EngineMissing(
            f"plugin: cannot write to its folder {place} ({error.strerror}); set PHASEWALK_CACHE "
            "to a writable folder, or engines.plugin to a plugin that is already built"
        ) from error
    ninja = which("ninja")
    generator = ("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}") if ninja else ()
    options = (f"-D{name}={value}" for name, value in cmake_options(engines).items())
    built = work / "built"  # each job has a directory of its own
    steps = (
        (
            "configure",
            (str(cmake), "-S", str(source_dir()), "-B", str(built), *generator, *options),
        ),
        (
            "compile",
            (
                *(str(cmake), "--build", str(built), "--target", "phasewalkplugin"),
                *("--parallel", str(COMPILERS)),
            ),
        ),
    )
    for name, argv in steps:
        job = Job(
            *(f"plugin {name}", argv, work / name, "build"),
            memory_GB=COMPILERS * COMPILER_GB,
            timeout_s=BUILD_LIMIT_S,
        )
        finished = run(launcher, job)
        if finished.returncode != 0:
            raise EngineFailed(
                f"building the plugin failed ({name}): {_first_error(finished)} "
                f"(all files are in {work})"
            )
    for name in (STAMP, LIBRARY):
        unfinished = work / f"{name}.part"
        shutil.copyfile(built / name, unfinished)
        unfinished.replace(place / name)
    shutil.rmtree(work)
    shared_code.seal(place, (LIBRARY, STAMP))
    return place / LIBRARY


def _first_error(finished: Finished) -> str:
    """Why it was ended from outside, else the first error line; the last lines if there is none."""
    if finished.why:
        return finished.why
    for name in (Finished.STDERR, Finished.STDOUT):
        path = finished.directory / name
        text = path.read_text(errors="replace", encoding="utf-8") if path.is_file() else ""
        lines = text.splitlines()
        for number, line in enumerate(lines):
            if line.startswith("CMake Error"):
                return _paragraph(lines[number + 1 :]) or line.strip()
            if "error:" in line.lower():
                return line.strip()
    return finished.last_lines()


def _paragraph(lines: Sequence[str]) -> str:
    """What cmake says below the place of an error: indented lines, in one."""
    indented = takewhile(
        lambda line: line.startswith("  "), dropwhile(lambda line: not line, lines)
    )
    return " ".join(line.strip() for line in indented)


def cmake_options(engines: Engines) -> dict[str, str]:
    """Options of the CMake project for these engines."""
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "LAMMPS_INCLUDE_DIR": str(engines.lammps_include),
        "TORCH_DIR": str(engines.torch_dir),
        "PLUMED_INCLUDE_DIR": str(engines.plumed.include) if engines.plumed else "",
    }
    if engines.mpi_include is not None:
        options["MPI_INCLUDE_DIR"] = str(engines.mpi_include)
    return options
