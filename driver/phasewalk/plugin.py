"""The LAMMPS plugin: its build stamp, its cache, and the job that builds it."""

import hashlib
import json
import platform
import shutil
from collections.abc import Mapping
from pathlib import Path

from .engines import Engines, with_plugin
from .errors import EngineFailed, EngineMissing
from .jobs import Job, Launcher, run

LIBRARY = "phasewalkplugin.so"
STAMP = "stamp.json"
BUILD_LIMIT_S = 1200.0


def source_dir() -> Path:
    """The plugin's CMake project: inside the installed package, or in the source checkout."""
    installed = Path(__file__).parent / "cmake"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "cmake"


def stamp(engines: Engines, source: Path) -> dict[str, str]:
    """What a built plugin must match: sources, LAMMPS, torch, PLUMED, MPI, machine."""
    digest = hashlib.sha256()
    for path in sorted([source / "CMakeLists.txt", *source.glob("plugin/*")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return {
        "sources": digest.hexdigest()[:16],
        "lammps": f"{engines.versions.get('lammps', '')} {engines.lammps_include}",
        "torch": engines.versions.get("torch", ""),
        "plumed_headers": str(engines.plumed.include) if engines.plumed else "",
        "mpi": f"{engines.versions.get('mpich', '')} {engines.mpi_include}",
        "machine": platform.machine(),
    }


def cache_dir(environ: Mapping[str, str]) -> Path:
    """Where built plugins are kept: PHASEWALK_CACHE, or the user's cache folder."""
    if environ.get("PHASEWALK_CACHE"):
        return Path(environ["PHASEWALK_CACHE"])
    base = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "phasewalk"


def cached(engines: Engines, environ: Mapping[str, str]) -> Path | None:
    """The plugin that fits these engines, if it was built before."""
    library = _place(engines, environ) / LIBRARY
    return library if library.is_file() else None


def _place(engines: Engines, environ: Mapping[str, str]) -> Path:
    wanted = json.dumps(stamp(engines, source_dir()), sort_keys=True)
    name = hashlib.sha256(wanted.encode()).hexdigest()[:16]
    return cache_dir(environ) / "plugin" / name


def ensure(engines: Engines, launcher: Launcher, environ: Mapping[str, str]) -> Engines:
    """The engines with their plugin: the configured one, the cached one, or built now.

    Raises:
        EngineMissing: cmake, a compiler or PLUMED's header is missing.
        EngineFailed: the build failed; its folder is kept.
    """
    if engines.plugin is not None:
        return with_plugin(engines, engines.plugin)
    found = cached(engines, environ)
    return with_plugin(engines, found or build(engines, launcher, environ))


def build(engines: Engines, launcher: Launcher, environ: Mapping[str, str]) -> Path:
    """Build the plugin into the cache; see `ensure`."""
    for program in ("cmake", "c++"):
        if shutil.which(program) is None:
            raise EngineMissing(
                f"plugin: {program} is needed to build it and was not found; "
                "on Debian or Ubuntu: sudo apt-get install g++ cmake (or: pip install cmake ninja)"
            )
    if engines.plumed is None or engines.plumed.include is None:
        raise EngineMissing("plugin: PLUMED's header plumed/wrapper/Plumed.h was not found")
    source, place = source_dir(), _place(engines, environ)
    work = place.with_name(f"{place.name}.build")
    shutil.rmtree(work, ignore_errors=True)
    steps = (
        ("configure", _configure(engines, source)),
        ("compile", ("cmake", "--build", ".", "--target", "phasewalkplugin")),
    )
    for name, argv in steps:
        finished = run(
            launcher,
            Job(
                f"plugin {name}",
                argv,
                work,
                timeout_s=BUILD_LIMIT_S,
                env={"CMAKE_COLOR_DIAGNOSTICS": "OFF"},
            ),
        )
        if finished.returncode != 0:
            raise EngineFailed(
                f"building the plugin failed ({name}): {finished.last_lines()} "
                f"(everything is in {work})"
            )
    place.mkdir(parents=True, exist_ok=True)
    unfinished = place / f"{LIBRARY}.part"
    shutil.copyfile(work / LIBRARY, unfinished)
    unfinished.replace(place / LIBRARY)
    (place / STAMP).write_text(json.dumps(stamp(engines, source), indent=1) + "\n")
    shutil.rmtree(work)
    return place / LIBRARY


def cmake_options(engines: Engines) -> dict[str, str]:
    """What the CMake project must be told of these engines."""
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "LAMMPS_INCLUDE_DIR": str(engines.lammps_include),
        "TORCH_DIR": str(engines.torch_dir),
        "PLUMED_INCLUDE_DIR": str(engines.plumed.include) if engines.plumed else "",
    }
    if engines.mpi_include is not None:
        options["MPI_INCLUDE_DIR"] = str(engines.mpi_include)
    return options


def _configure(engines: Engines, source: Path) -> tuple[str, ...]:
    generator = ("-G", "Ninja") if shutil.which("ninja") else ()
    options = (f"-D{name}={value}" for name, value in cmake_options(engines).items())
    return ("cmake", "-S", str(source), "-B", ".", *generator, *options)
