"""pair_style nequip where torch says that it sees GPUs: what a machine without any can tell."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import physics_lammps as engine
import pytest

TORCH = """
#include <cstdlib>
namespace torch::cuda {
bool is_available() {
  if (std::getenv("GPUS_THROW")) throw 42;
  return true;
}
signed char device_count() { return 2; }
}
"""
LJ = "pair_style lj/cut 5.2\npair_coeff * * 0.0104 3.4"
Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", name="gpus")
def _gpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that stands before torch's, and says that there are two GPUs."""
    folder = tmp_path_factory.mktemp("gpus")
    (folder / "gpus.cpp").write_text(TORCH)
    library = folder / "libgpus.so"
    argv = ["g++", "-std=c++17", "-shared", "-fPIC", "-o", str(library), str(folder / "gpus.cpp")]
    subprocess.run(argv, check=True)
    return library


@pytest.fixture(name="launch")
def _launch(gpus: Path, plugin_path: Path, tmp_path: Path) -> Launch:
    """`launch(pair, other)`: two partitions of argon, each with its pair style, and two GPUs."""
    engine.write_data(tmp_path / "argon.data", engine.argon(), ("Ar",))

    def start(*pairs: str, **env: str) -> subprocess.CompletedProcess[str]:
        for number, pair in enumerate(pairs):
            (tmp_path / f"pair.{number}").write_text(f"{pair}\n")
        deck = (
            "variable w world 0 1\nunits metal\nread_data argon.data\ninclude pair.$w\n"
            "fix nve all nve\nrun 5\n"
        )
        env = {"LD_PRELOAD": str(gpus), **env}
        return engine.run_program(
            plugin_path, tmp_path, deck, "-partition", "2x1", ranks=2, env=env
        )

    return start


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ("pair_style nequip\npair_coeff * * bad.nequip.pth Ar", "cannot be loaded with torch"),
        ("pair_style nequip\npair_coeff * * bad.nequip.pth", "type name of each of the 1 atom"),
    ],
)
def test_a_partition_that_fails_waits_for_no_other(
    launch: Launch, tmp_path: Path, pair: str, says: str
) -> None:
    """The other partition has no model to load: it comes to no common choice of the GPUs."""
    (tmp_path / "bad.nequip.pth").write_text("this is no archive")
    done = launch(LJ, pair)
    assert done.returncode != 0
    assert says in (tmp_path / "log.lammps.1").read_text()


def test_what_is_no_exception_of_the_standard_library(launch: Launch, tmp_path: Path) -> None:
    """An error of LAMMPS like another, in place of a process that ends without a word."""
    (tmp_path / "bad.nequip.pth").write_text("this is no archive")
    done = launch(LJ, "pair_style nequip\npair_coeff * * bad.nequip.pth Ar", GPUS_THROW="1")
    assert done.returncode != 0
    log = (tmp_path / "log.lammps.1").read_text()
    assert "ERROR: pair_style nequip: an exception of an unknown type" in log


def test_on_the_cpu_torch_is_not_asked_for_gpus(launch: Launch, tmp_path: Path) -> None:
    """That takes memory on each of them, and was kept off by an environment without any."""
    (tmp_path / "bad.nequip.pth").write_text("this is no archive")
    pair = "pair_style nequip device cpu\npair_coeff * * bad.nequip.pth Ar"
    assert launch(LJ, pair, GPUS_THROW="1").returncode != 0
    assert "cannot be loaded with torch" in (tmp_path / "log.lammps.1").read_text()
