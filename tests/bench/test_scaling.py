"""The bench of sizes and ranks measures what its tables say."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCALING = Path(__file__).with_name("scaling.py")


@pytest.mark.engine("lammps", "plugin", "nequip")
@pytest.mark.slow
def test_small_cells_are_measured(tmp_path: Path) -> None:
    output = tmp_path / "rows.json"
    model = ("--preset", "tiny", "--mode", "torchscript")
    sizes = ("--sizes", "38", "152", "--strong", "152", "--ranks", "1", "2", "--seconds", "0.1")
    argv = [sys.executable, str(SCALING), *model, *sizes, "--output", str(output)]
    done = subprocess.run(argv, check=True, timeout=300, capture_output=True, text=True)
    rows = json.loads(output.read_text())["rows"]
    cases = [(row["file"], row["atoms"], row["ranks"]) for row in rows]
    assert cases == [("one", 38, 1), ("one", 152, 1), ("several", 152, 1), ("several", 152, 2)]
    for row in rows:
        assert 0.0 < row["exchange_ms"] < row["ms"] or row["file"] == "one"
        assert row["memory_MB"] > 10.0
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in lines] == ["atoms", "38", "152", "atoms", *["152"] * 3]
    efficiency = 100 * rows[1]["ms"] / (2 * rows[3]["ms"])
    assert f"| {efficiency:.0f} % |" in lines[-1]
