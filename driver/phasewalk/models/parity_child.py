"""Child process that makes a tiny untrained model and evaluates it in Python.

`python -m phasewalk.models.parity_child REQUEST RESULT` writes `model.nequip.pth` and the results
of the eager model for the frame, to be compared with those of LAMMPS.
"""

import json
import sys
from pathlib import Path
from typing import Any

from ..labels import frame_from_json

FORCES = 0.3
"""Root mean square of the model's forces on the frame, eV/Å, as in a crystal at room temperature:
small enough for ten stable steps, and large enough for a meaningful comparison."""


def build(types: list[str], dtype: str, r_max: float, scale: float = 1.0) -> Any:
    """A tiny NequIP model with random weights; its energies are multiplied by `scale`."""
    from nequip.model import NequIPGNNModel

    return NequIPGNNModel(
        seed=1,
        model_dtype=dtype,
        type_names=types,
        r_max=r_max,
        num_layers=2,
        l_max=1,
        num_features=4,
        radial_mlp_width=8,
        avg_num_neighbors=20.0,
        per_type_energy_scales=scale,
        per_type_energy_shifts={name: float(i) for i, name in enumerate(types)},
    )


def main(argv: list[str]) -> int:
    """Write the model and its results."""
    import numpy as np
    import torch

    from .compile_child import metadata_of
    from .eager_child import evaluate
    from .nequip_private import (
        conditional_torchscript_mode,
        save_torchscript_model,
        set_global_state,
        set_workflow_state,
    )

    request = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    atoms = frame_from_json(request["frame"])
    set_workflow_state("compile")
    set_global_state(allow_tf32=False)
    kind = (request["types"], request["dtype"], request["r_max_A"])
    (result,) = evaluate(build(*kind).eval(), [atoms])
    scale = FORCES / max(float(np.sqrt(np.mean(np.square(result["forces_eV_per_A"])))), 1e-6)
    model = build(*kind, scale).eval()
    (result,) = evaluate(model, [atoms])
    result["cuda"] = bool(torch.cuda.is_available())
    with conditional_torchscript_mode(True):
        scripted = build(*kind, scale)
        scripted.load_state_dict(model.state_dict())
        save_torchscript_model(scripted, metadata_of(scripted), "model.nequip.pth", "cpu")
    Path(argv[2]).write_text(json.dumps(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
