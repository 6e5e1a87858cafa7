"""A campaign in the queue of a simulated cluster loses nothing and pays nothing twice."""

import subprocess
import sys
from pathlib import Path

import pytest

SIMULATION = Path(__file__).with_name("cluster_simulation.py")


def simulated(*words: str) -> dict[str, str]:
    """The table; the program fails if a label is lost, or was paid twice."""
    done = subprocess.run(
        [sys.executable, SIMULATION, *words], capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cells = [line.split("|")[1:3] for line in done.stdout.splitlines()]
    return {name.strip(): value.strip() for name, value in cells}


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_is_paid_twice_whatever_happens() -> None:
    often = ("--loss-h=1", "--preemption-h=1", "--silence-h=2", "--kill-h=2")
    found = simulated(
        "--walkers=20", "--rounds=5", "--max-jobs=10", "--cores=32", "--pack-cores=4",
        "--failures=0.05", "--stragglers=0.05", *often,
    )  # fmt: skip
    for what in ("node is lost", "job is preempted", "queue is silent", "phasewalk is killed"):
        assert int(found["what happened"].split(what)[0].split(",")[-1].split("×")[0]) > 1
    paid, failed = (int(cell.split()[0]) for cell in found["labels paid"].split(", and "))
    assert paid > 100
    assert failed > 1
    assert (found["labels paid twice"], found["labels lost"]) == ("0", "0")
    # A run that begins again knows those of the one before only when it comes to their jobs.
    assert int(found["batch jobs"].split()[3]) <= 20


@pytest.mark.slow
def test_a_label_has_at_most_four_files() -> None:
    calm = [f"--{what}-h=0" for what in ("loss", "preemption", "silence", "kill")]
    found = simulated("--walkers=5", "--rounds=2", "--failures=0", "--stragglers=0", *calm)
    assert float(found["files per label"]) <= 4
    share = found["driver, CPU"].split(": ")[1].split("%")[0]
    assert float(share) < 1
