"""A reference that costs nothing: Lennard-Jones. `python fake_reference.py REQUEST RESULT`."""

import json
import sys
import time
from pathlib import Path

from ase import Atoms
from ase.calculators.lj import LennardJones


def main(request: Path, result: Path) -> None:
    """Label the frame; give up where one iteration is all that is allowed."""
    asked = json.loads(request.read_text())
    if asked["arguments"]["max_iterations"] == 1:
        print("RuntimeError: SCF not converged in 1 cycles", file=sys.stderr)
        sys.exit(3)
    frame = asked["frame"]
    atoms = Atoms(frame["numbers"], frame["positions_A"], cell=frame["cell_A"], pbc=True)
    atoms.calc = LennardJones(sigma=1.2, epsilon=0.05, rc=5.0, smooth=True)
    started = time.perf_counter()
    answer = {
        "energy_eV": float(atoms.get_potential_energy()),
        "forces_eV_per_A": atoms.get_forces().tolist(),
        "stress_eV_per_A3": atoms.get_stress().tolist(),
        "seconds": time.perf_counter() - started,
    }
    unfinished = result.with_suffix(".part")
    unfinished.write_text(json.dumps(answer))
    unfinished.replace(result)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
