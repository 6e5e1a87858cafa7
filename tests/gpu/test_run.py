"""tests/gpu/run on the CPU: what is to run on a GPU is tried before there is one."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).with_name("run")
MEASURED = {
    "train": "force RMSE",
    "compile": "seconds",
    "gate": "29 of 29 passed",
    "refusals": "--target ranks",
    "steps": "step in LAMMPS",
    "batch": "one call for 4 frames",
    "walkers": "steps of all",
    "epochs": "an epoch of",
}
"""What a step's rows name, at least."""


def run_steps(
    folder: Path, *options: str, device: str = "cpu", **env: str
) -> tuple[int, str, dict[str, Any]]:
    """Exit code, output, and the results by step."""
    argv = [str(RUN), "--device", device, "--out", str(folder), *options]
    env = {**os.environ, "PYTHON": sys.executable, **env}
    done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout, json.loads((folder / "results.json").read_text())["steps"]


@pytest.mark.slow
@pytest.mark.engine("lammps", "plumed", "plugin", "nequip")
def test_each_step_measures_on_the_cpu(tmp_path: Path) -> None:
    """But for the campaign, which tests/resume runs."""
    code, output, found = run_steps(tmp_path, "--steps", "device", "plugin", *MEASURED)
    assert code == 0, output
    for step, words in MEASURED.items():
        rows = found[step]["rows"]
        assert any(words in f"{row['what']} {row['value']}" for row in rows), (step, rows)
    assert "29 of 29 passed" in (tmp_path / "table.txt").read_text()


def test_a_step_that_takes_too_long_hides_no_other(tmp_path: Path) -> None:
    """It is ended with all that it has started, and the next one is run."""
    code, output, found = run_steps(tmp_path, "--steps", "device", "walkers", "--patience", "1e-4")
    assert code == 1
    assert [found[name]["state"] for name in ("device", "walkers")] == ["stopped after 0 s"] * 2
    assert "not ok: device, walkers" in output


def test_a_run_that_is_ended_leaves_nothing_behind(tmp_path: Path) -> None:
    """Each step is a process group of its own, which no signal to the run reaches."""
    argv = [str(RUN), "--device", "cpu", "--out", str(tmp_path), "--steps", "gate"]
    process = subprocess.Popen(argv, env={**os.environ, "PYTHON": sys.executable})
    while not any("steps.py" in line for line in processes_with(str(tmp_path))):
        time.sleep(0.02)
    time.sleep(0.3)
    process.terminate()
    assert process.wait(timeout=30) == 128 + signal.SIGTERM
    assert not processes_with(str(tmp_path))
    assert (
        json.loads((tmp_path / "results.json").read_text())["steps"]["gate"]["state"] == "stopped"
    )


def processes_with(word: str) -> list[str]:
    """Command lines that hold a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [line] if word in line else []
    return found


@pytest.mark.slow
@pytest.mark.engine("nequip")
def test_without_a_gpu_nothing_else_is_run(tmp_path: Path) -> None:
    code, output, found = run_steps(tmp_path, device="cuda", CUDA_VISIBLE_DEVICES="")
    assert code == 1
    assert list(found) == ["device"]
    assert "sees no GPU: it needs an NVIDIA driver" in output


@pytest.mark.slow
@pytest.mark.engine("lammps", "plumed", "plugin", "nequip")
def test_a_step_that_fails_says_why(tmp_path: Path) -> None:
    """There is no model to compare; LAMMPS says so."""
    code, output, found = run_steps(tmp_path, "--steps", "parity")
    assert code == 1
    assert found["parity"]["state"] == "wrong"
    assert "model.nequip.pth does not exist" in found["parity"]["rows"][0]["value"]
    assert "WRONG" in output
