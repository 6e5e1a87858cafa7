"""Child process that evaluates a checkpoint in Python, to compare with its deployed model.

`python -m phasewalk.models.eager_child CHECKPOINT REQUEST RESULT [--trust]`
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..labels import frame_from_json
from .checkpoints import REFUSED, TRUST, Refused, copied


def evaluate(model: Any, frames: list[Atoms]) -> list[dict[str, Any]]:
    """Energy (eV), atomic energies, forces (N, 3; eV/Å), stress (Voigt; eV/Å³) of each frame."""
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform
    from nequip.integrations.ase import NequIPCalculator

    training = model.training
    calculator = NequIPCalculator(
        model=model.eval(),
        device=next(model.parameters()).device,
        transforms=[
            ChemicalSpeciesToAtomTypeMapper(model_type_names=list(model.type_names)),
            NeighborListTransform(r_max=float(model.metadata["r_max"])),
        ],
    )
    results = []
    for atoms in frames:
        calculator.calculate(atoms)
        found = calculator.results
        results.append(
            {
                "energy_eV": float(found["energy"]),
                "energies_eV": np.asarray(found["energies"], dtype=float).tolist(),
                "forces_eV_per_A": np.asarray(found["forces"], dtype=float).tolist(),
                "stress_eV_per_A3": np.asarray(found["stress"], dtype=float).tolist(),
            }
        )
    model.train(training)
    return results


def main(argv: list[str]) -> int:
    """Evaluate the requested frames."""
    import torch

    from .compile_child import load
    from .nequip_private import set_global_state, set_workflow_state

    source = Path(argv[1])
    try:
        source = source if TRUST in argv[4:] else copied(source, Path(argv[3]).parent)
    except Refused as error:
        print(error, file=sys.stderr)
        return REFUSED
    request = json.loads(Path(argv[2]).read_text(encoding="utf-8"))
    frames = [frame_from_json(frame) for frame in request["frames"]]
    set_workflow_state("compile")
    set_global_state(allow_tf32=False)
    model = load(source, scripted=False)
    result = {
        "frames": evaluate(model, frames),
        "types": list(model.type_names),
        "dtype": model.metadata["model_dtype"],
        "torch": str(torch.__version__),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    Path(argv[3]).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
