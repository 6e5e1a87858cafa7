"""Child process that labels one frame: `python -m phasewalk.reference REQUEST RESULT`.

A process of its own for each frame: a crash of the program costs one label, and nothing is ever
forked after OpenMP has run. The result is written whole or not at all.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any


def compute(request: dict[str, Any]) -> dict[str, Any]:
    """Energy (eV), forces (eV/Å), stress (Voigt, eV/Å³, tension positive) of the frame."""
    from tblite.ase import TBLite

    from .labels import frame_from_json

    started = time.perf_counter()
    atoms = frame_from_json(request["frame"])
    atoms.calc = TBLite(
        method=request["method"],
        electronic_temperature=request["electronic_temperature_K"],
        max_iterations=request["max_iterations"],
        verbosity=0,
    )
    return {
        "energy_eV": float(atoms.get_potential_energy()),
        "forces_eV_per_A": atoms.get_forces().tolist(),
        "stress_eV_per_A3": atoms.get_stress().tolist(),
        "seconds": time.perf_counter() - started,
    }


def main(argv: list[str]) -> int:
    """Read the request, write the result; 0 when done."""
    request, result = Path(argv[1]), Path(argv[2])
    try:
        answer = compute(json.loads(request.read_text()))
    except Exception as error:  # whatever the program raises is this label's failure, in one line
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    unfinished = result.with_suffix(".part")
    unfinished.write_text(json.dumps(answer))
    unfinished.replace(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
