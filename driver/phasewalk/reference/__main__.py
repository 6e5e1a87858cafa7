"""Child process that labels one frame: `python -m phasewalk.reference REQUEST RESULT`.

Each frame has its own process: a crash of the program affects only one label, and no process is
forked after OpenMP has run. The result is written atomically.
"""

import importlib
import importlib.metadata
import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

NOT_CONVERGED = 3
"""Exit code if the calculation did not converge."""
_UNCONVERGED = re.compile(r"converge", re.IGNORECASE)


def compute(request: Mapping[str, Any]) -> dict[str, Any]:
    """Process a request.

    Returns:
        For a frame: energy (eV), forces (eV/Å), stress (Voigt, eV/Å³, tension positive); for an
        isolated atom only the energy. Without a frame: only the version.
    """
    sys.path.insert(0, str(Path()))  # a user's function is in the directory of the request
    made = {"xtb": _xtb, "ase": _calculator, "function": _function}[request["program"]](request)
    version = _version(request["packages"])
    if "frame" not in request:
        return {"version": version}
    from ..labels import frame_from_json

    started = time.perf_counter()
    atoms = frame_from_json(request["frame"])
    if request.get("multiplicity"):
        atoms.set_initial_magnetic_moments([request["multiplicity"] - 1])
    if request["program"] == "function":
        found = _checked(made(atoms.copy(), **request["arguments"]))
    else:
        found = _results(atoms, made, with_forces="multiplicity" not in request)
    return {**found, "version": version, "seconds": time.perf_counter() - started}


def _results(atoms: Atoms, calculator: Any, *, with_forces: bool) -> dict[str, Any]:
    """Results of an ASE calculator for the frame, which it must not change."""
    before = atoms.copy()
    atoms.calc = calculator
    found = {"energy_eV": float(atoms.get_potential_energy())}
    if with_forces:
        found["forces_eV_per_A"] = np.asarray(atoms.get_forces(), dtype=float).tolist()
        found["stress_eV_per_A3"] = np.asarray(atoms.get_stress(voigt=True), dtype=float).tolist()
    converged = getattr(calculator, "converged", True)
    if converged is False or (callable(converged) and converged() is False):
        raise RuntimeError("the calculator reports that it has not converged")
    for other in (atoms, getattr(calculator, "atoms", None)):
        if isinstance(other, Atoms) and not _same(before, other):
            raise ValueError(
                "the calculator has changed the frame; it must not relax or sort the atoms"
            )
    return found


def _same(one: Atoms, other: Atoms) -> bool:
    return (
        one.numbers.tolist() == other.numbers.tolist()
        and bool(np.abs(one.positions - other.positions).max() < 1e-6)
        and bool(np.abs(one.cell.array - other.cell.array).max() < 1e-6)
    )


def _checked(answer: Any) -> dict[str, Any]:
    """The values returned by a user's function, checked."""
    if not isinstance(answer, Mapping) or "energy" not in answer:
        raise TypeError(
            f"the function returned {type(answer).__name__}; it must return a mapping with energy "
            "(eV), forces (eV/Å) and stress (eV/Å³, Voigt)"
        )
    found: dict[str, Any] = {"energy_eV": float(answer["energy"])}
    for key, name in (("forces", "forces_eV_per_A"), ("stress", "stress_eV_per_A3")):
        if key in answer:
            found[name] = np.asarray(answer[key], dtype=float).tolist()
    return found


def _xtb(request: Mapping[str, Any]) -> Any:
    from tblite.ase import TBLite

    spin = {"multiplicity": request["multiplicity"]} if request.get("multiplicity") else {}
    return TBLite(**request["arguments"], **spin, verbosity=0)


def _calculator(request: Mapping[str, Any]) -> Any:
    module, _, name = request["calculator"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**request["arguments"])


def _function(request: Mapping[str, Any]) -> Any:
    module, _, name = request["function"].partition(":")
    return getattr(importlib.import_module(module), name)


def _version(packages: list[str]) -> str:
    """The packages with their installed versions."""
    names = importlib.metadata.packages_distributions()
    found = {name: names.get(name, [name])[0] for name in packages}
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in found.values())


def main(argv: list[str]) -> int:
    """Read the request and write the result; returns the exit code."""
    request, result = Path(argv[1]), Path(argv[2])
    try:
        answer = compute(json.loads(request.read_text(encoding="utf-8")))
    except Exception as error:  # any exception of the program is reported as this label's failure
        print(" ".join(f"{type(error).__name__}: {error}".split()), file=sys.stderr)
        return NOT_CONVERGED if _UNCONVERGED.search(str(error)) else 1
    unfinished = result.with_suffix(".part")
    unfinished.write_text(json.dumps(answer), encoding="utf-8")
    unfinished.replace(result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
