"""The bench of the driver's growth runs, and its campaigns hold what its rows say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

GROWTH = Path(__file__).with_name("growth.py")


@pytest.mark.slow
def test_a_small_cell_is_measured(tmp_path: Path) -> None:
    output, kept = tmp_path / "rows.json", tmp_path / "kept"
    size = ("--walkers", "2", "--labels", "12", "--rounds", "2", "--hills", "1")
    argv = [sys.executable, str(GROWTH), *size, "--keep", str(kept), "--output", str(output)]
    subprocess.run(argv, check=True, timeout=300, capture_output=True)
    (row,) = json.loads(output.read_text())
    for command in ("round", "resume", "status", "report"):
        assert row[command]["cpu"] > 0.0
    journal = (kept / "2-12/run/journal.jsonl").read_text().splitlines()
    labels = [r["round"] for r in map(json.loads, journal) if r["stage"] == "label"]
    assert labels == [0] * 12 + [1] * 2 + [2] * 2  # the bootstrap's are not made again
