"""The plugin's stamp and cache; its build with a launcher that plays cmake."""

import dataclasses
import json
from pathlib import Path

import pytest

from helpers.fakes import FakeLauncher
from phasewalk.engines import Machine, here, plugin, shared_code
from phasewalk.engines.discovery import Engines, Plumed
from phasewalk.errors import EngineFailed, EngineMissing, InputError, ParseError
from phasewalk.jobs import Finished, Job


def with_versions(**versions: str) -> Machine:
    return dataclasses.replace(here(), versions=versions)


@pytest.fixture
def engines(tmp_path: Path) -> Engines:
    return Engines(
        lmp=tmp_path / "lmp",
        mpiexec=("mpiexec",),
        lammps_include=tmp_path / "lammps",
        mpi_include=tmp_path / "mpi",
        torch_dir=tmp_path / "torch",
        plumed=Plumed(tmp_path / "libplumedKernel.so", "the wheel", tmp_path / "include"),
        plugin=None,
        machine=with_versions(lammps="2025.7.22", torch="2.13.0", mpich="5.0.2"),
    )


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PHASEWALK_CACHE": str(tmp_path / "my cache")}


@pytest.fixture(autouse=True)
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A little CMake project; cmake and c++ are there."""
    folder = tmp_path / "cmake"
    (folder / "plugin").mkdir(parents=True)
    (folder / "CMakeLists.txt").write_text("project(x)")
    (folder / "plugin/pair.cpp").write_text("int x;")
    monkeypatch.setattr(plugin, "source_dir", lambda: folder)
    monkeypatch.setattr(plugin, "which", lambda program: Path("/usr/bin", program))
    return folder


def play_cmake(job: Job) -> int:
    """Configuring writes the stamp, compiling the library, in a folder that no job starts in.

    A batch job empties its directory if a program was started there before.
    """
    option = "--build" if "--build" in job.argv else "-B"
    built = Path(job.argv[job.argv.index(option) + 1])
    assert built != job.directory
    built.mkdir(exist_ok=True)
    if option == "--build":
        (built / plugin.LIBRARY).write_bytes(b"library")
    else:
        (built / plugin.STAMP).write_text(json.dumps(BUILT))
    return 0


BUILT = {"torch": "2.13.0", "lammps": 20250722, "plugin": plugin.VERSION}


def test_the_stamp_knows_sources_and_engines(engines: Engines, source: Path) -> None:
    def stamp(**changes: object) -> dict[str, str]:
        return plugin.stamp(dataclasses.replace(engines, **changes), source)  # type: ignore[arg-type]

    before = stamp()
    assert stamp() == before
    torch, lammps = (with_versions(torch="2.14.0"), with_versions(lammps="2026"))
    assert stamp(machine=torch)["torch"] != before["torch"]
    assert stamp(machine=lammps)["lammps"] != before["lammps"]
    arm = dataclasses.replace(engines.machine, architecture="aarch64")
    assert stamp(machine=arm)["machine"] != before["machine"]
    assert stamp(lammps_include=Path("/other"))["lammps"] != before["lammps"]
    assert stamp(mpi_include=Path("/other"))["mpi"] != before["mpi"]
    assert stamp(plumed=None)["plumed_headers"] != before["plumed_headers"]
    (source / "plugin/pair.cpp").write_text("int y;")
    assert stamp()["sources"] != before["sources"]


def test_a_renamed_source_is_another_plugin(engines: Engines, source: Path) -> None:
    before = plugin.stamp(engines, source)
    (source / "plugin/pair.cpp").rename(source / "plugin/fix.cpp")
    assert plugin.stamp(engines, source) != before


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plugin.cache_dir({"PHASEWALK_CACHE": "/c", "XDG_CACHE_HOME": "/x"}) == Path("/c")
    assert plugin.cache_dir({"XDG_CACHE_HOME": "/x"}) == Path("/x/phasewalk")
    assert plugin.cache_dir({}) == tmp_path / ".cache/phasewalk"


def test_it_is_built_once_and_then_found(engines: Engines, environ: dict[str, str]) -> None:
    launcher = FakeLauncher(play_cmake)
    assert plugin.cached(engines, environ) is None
    made = plugin.ensure(engines, launcher, environ)
    assert made.plugin is not None
    assert made.plugin.read_bytes() == b"library"
    assert made.env["LAMMPS_PLUGIN_PATH"] == str(made.plugin.parent)
    assert len(launcher.jobs) == 2
    assert sorted(path.name for path in made.plugin.parent.iterdir()) == sorted(
        [plugin.LIBRARY, plugin.STAMP, shared_code.HASHES]
    )
    assert plugin.ensure(engines, launcher, environ).plugin == made.plugin
    assert len(launcher.jobs) == 2


def test_another_torch_needs_another_build(engines: Engines, environ: dict[str, str]) -> None:
    plugin.ensure(engines, FakeLauncher(play_cmake), environ)
    newer = dataclasses.replace(engines, machine=with_versions(torch="2.14.0"))
    assert plugin.cached(engines, environ) is not None
    assert plugin.cached(newer, environ) is None


def given(engines: Engines, folder: Path, stamp: str | None) -> Engines:
    """Engines whose settings name a built plugin."""
    folder.mkdir()
    if stamp is not None:
        (folder / plugin.STAMP).write_text(stamp)
    return dataclasses.replace(engines, plugin=folder / plugin.LIBRARY)


def test_one_that_is_given_is_taken(
    engines: Engines, environ: dict[str, str], tmp_path: Path
) -> None:
    launcher = FakeLauncher(play_cmake)
    found = plugin.ensure(given(engines, tmp_path / "mine", json.dumps(BUILT)), launcher, environ)
    assert found.env["LAMMPS_PLUGIN_PATH"] == str(tmp_path / "mine")
    assert launcher.jobs == []


@pytest.mark.parametrize(
    ("stamp", "error", "reason"),
    [
        (
            None,
            EngineMissing,
            "phasewalk_stamp.json not found next to .*; use phasewalk build-plugin",
        ),
        (json.dumps({**BUILT, "torch": "2.1"}), EngineMissing, "for torch 2.1, but 2.13.0 is"),
        (json.dumps({**BUILT, "lammps": 20240829}), EngineMissing, "lammps 20240829, but 20250722"),
        (json.dumps({"plugin": plugin.VERSION}), EngineMissing, "built for torch None"),
        ("{}", EngineMissing, "built from version unknown of the plugin's sources"),
        (json.dumps({**BUILT, "plugin": "0.2.0"}), EngineMissing, "version 0.2.0.*needs 0.3"),
        ("{", ParseError, "not a plugin's stamp"),
        ("null", ParseError, "not a plugin's stamp"),
        ("3", ParseError, "not a plugin's stamp"),
    ],
)
def test_one_that_does_not_fit_is_refused_before_anything_starts(
    engines: Engines,
    environ: dict[str, str],
    tmp_path: Path,
    stamp: str | None,
    error: type[InputError],
    reason: str,
) -> None:
    launcher = FakeLauncher(play_cmake)
    with pytest.raises(error, match=reason) as caught:
        plugin.ensure(given(engines, tmp_path / "mine", stamp), launcher, environ)
    assert "\n" not in str(caught.value)
    assert launcher.jobs == []


def test_the_version_that_decks_need_is_that_of_the_sources() -> None:
    sources = (Path(__file__).parents[2] / "cmake/CMakeLists.txt").read_text()
    assert f"project(phasewalkplugin VERSION {plugin.VERSION} " in sources


def test_versions_of_lammps_as_its_sources_count_them() -> None:
    assert plugin.lammps_number("2025.7.22.4.0") == 20250722
    assert plugin.lammps_number("2025.12.3") == 20251203
    assert plugin.lammps_number("") is None
    assert plugin.lammps_number("develop.x.y") is None


def test_a_failed_build_keeps_its_folder_and_caches_nothing(
    engines: Engines, environ: dict[str, str]
) -> None:
    def fail(job: Job) -> int:
        (job.directory / "stderr.txt").write_text("pair.cpp:1: error: no\n")
        return 2

    launcher = FakeLauncher(fail)
    with pytest.raises(EngineFailed, match=r"\(configure\): pair\.cpp:1: error: no ") as caught:
        plugin.ensure(engines, launcher, environ)
    assert str(launcher.jobs[0].directory.parent) in str(caught.value)
    assert (launcher.jobs[0].directory / "stderr.txt").is_file()
    assert plugin.cached(engines, environ) is None


def test_what_cmake_says_is_one_line(engines: Engines, environ: dict[str, str]) -> None:
    """And not the place in its script, above the text."""

    def fail(job: Job) -> int:
        said = "torch 2.9.1 in\n  /there: 2.10 or later is required"
        (job.directory / "stderr.txt").write_text(
            f"CMake Error at CMakeLists.txt:110 (message):\n  {said}\n\n\n-- incomplete\n"
        )
        return 1

    with pytest.raises(EngineFailed, match=r"torch 2\.9\.1 in /there: 2\.10 or later is required "):
        plugin.ensure(engines, FakeLauncher(fail), environ)


def test_a_compiler_that_was_killed_for_memory(
    engines: Engines, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Slurm prints is not shown as an error of the compiler."""
    why = "killed for memory: 1.6 of 1.5 GB; raise memory_GB of compile"

    def killed(launcher: FakeLauncher, job: Job) -> Finished:
        assert job.memory_GB == plugin.COMPILERS * plugin.COMPILER_GB
        job.directory.mkdir(parents=True)
        (job.directory / Finished.STDERR).write_text("slurmstepd-n2: error: exceeded memory\n")
        return Finished(job, -9, 1.0, why=why)

    monkeypatch.setattr(plugin, "run", killed)
    with pytest.raises(EngineFailed, match=rf"\(configure\): {why} \(all files"):
        plugin.ensure(engines, FakeLauncher(), environ)


def test_no_compiler(
    engines: Engines, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin, "which", lambda program: None)
    with pytest.raises(EngineMissing, match="apt-get install g\\+\\+ cmake"):
        plugin.ensure(engines, FakeLauncher(), environ)


def test_no_headers_of_plumed(engines: Engines, environ: dict[str, str]) -> None:
    bare = dataclasses.replace(engines, plumed=None)
    with pytest.raises(
        EngineMissing,
        match=r"PLUMED's header Plumed.h, which is needed to build it, was not found.*hillclimber",
    ):
        plugin.ensure(bare, FakeLauncher(), environ)
