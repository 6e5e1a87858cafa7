"""The bench of sizes and ranks measures what its tables say."""

import json
import subprocess
import sys
from pathlib import Path

import ase.build
import numpy as np
import pytest
from ase.neighborlist import neighbor_list

sys.path.insert(0, str(Path(__file__).parent))

import scaling

SCALING = Path(scaling.__file__)


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
    many = [("several", 152, 1), ("several", 152, 2), ("halo", 152, 2)]
    assert cases == [("one", 38, 1), ("one", 152, 1), *many]
    for row in rows:
        assert 0.0 < row["exchange_ms"] < row["ms"] or row["file"] != "several"
        assert row["memory_MB"] > 10.0
    assert [row["computed"] for row in rows][:4] == [38, 152, 152, 76]
    assert rows[4]["computed"] > 152  # the halo is 8 Å, and the part thinner
    lines = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert [line.split()[1] for line in lines] == [
        "atoms",
        "38",
        "152",
        "atoms",
        *["152"] * 4,
        "atoms",
    ]
    efficiency = 100 * rows[1]["ms"] / (2 * rows[3]["ms"])
    assert f"| {efficiency:.0f} % |" in lines[-3]


def test_a_part_with_its_halo_has_all_atoms_that_its_energies_depend_on() -> None:
    atoms = ase.build.bulk("Cu", cubic=True).repeat((4, 3, 2))
    atoms.rattle(0.1, seed=2)
    tilted = np.array(atoms.cell) + np.array([[0, 0, 0], [1, 0, 0], [2, 1, 0]])
    atoms.set_cell(tilted, scale_atoms=True)
    part = scaling.with_halo(atoms, 2, "tiny")  # cut across the longest edge; 2 layers of 4 Å
    width = 1.0 / np.linalg.norm(atoms.cell.reciprocal()[0])
    at = atoms.get_scaled_positions(wrap=False)[:, 0]
    places = np.concatenate([at + shift for shift in range(-3, 4)])
    assert len(part) == ((places >= -8.0 / width) & (places < 0.5 + 8.0 / width)).sum()
    # atoms that a layer needs have all their neighbours, and none of them across the gap
    inside = (places >= -4.0 / width) & (places < 0.5 + 4.0 / width)
    whole = np.tile(np.bincount(neighbor_list("i", atoms, 4.0)), 7)[inside]
    in_part = np.bincount(neighbor_list("i", part, 4.0), minlength=len(part))
    for count in set(whole):
        assert (in_part == count).sum() >= (whole == count).sum()
    assert (
        in_part.sum() < np.tile(np.bincount(neighbor_list("i", atoms, 4.0)), 7)[: len(part)].sum()
    )
