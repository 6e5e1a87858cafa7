"""Child process that evaluates a checkpoint in Python, to compare with its deployed model.

`python -m phasewalk.models.eager_child CHECKPOINT REQUEST RESULT [--trust]`

In place of a checkpoint it takes the configuration of a network (`.json`), as `compile_child` does.
With `force_rms_eV_per_A` in the request its energies are scaled, so that the forces on the first
frame have this root mean square; the configuration of that network is `network.json`.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..labels import frame_from_json
from .checkpoints import REFUSED, TRUST, Refused, copied
from .compile_child import load
from .model import NETWORK

ZERO = 1e-4
"""Forces, eV/Å, that are zero but for rounding."""


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


def scaled(source: Path, atoms: Atoms, force_rms: float) -> Path:
    """The configuration of a network, with a scale of the energies for forces of this size.

    Forces that are zero by symmetry, as in a crystal of one atom, are left as they are.
    """
    network = json.loads(source.read_text(encoding="utf-8"))
    (found,) = evaluate(load(source, scripted=False), [atoms])
    size = float(np.sqrt(np.mean(np.square(found["forces_eV_per_A"]))))
    network["per_type_energy_scales"] = force_rms / size if size > ZERO else 1.0
    target = Path(NETWORK)
    target.write_text(json.dumps(network), encoding="utf-8")
    return target


def main(argv: list[str]) -> int:
    """Evaluate the requested frames."""
    import torch

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
    if "force_rms_eV_per_A" in request:
        source = scaled(source, frames[0], request["force_rms_eV_per_A"])
    model = load(source, scripted=False)
    result = {
        "frames": evaluate(model, frames),
        "types": list(model.type_names),
        "dtype": model.metadata["model_dtype"],
        "torch": str(torch.__version__),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cuda": torch.cuda.is_available(),
    }
    Path(argv[3]).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
