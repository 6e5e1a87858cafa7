"""Child process that compiles a model for LAMMPS.

`python -m phasewalk.models.compile_child SOURCE OUTPUT --mode torchscript|aotinductor --device
cpu|cuda`

With `--trust` a checkpoint is loaded without being checked; see `checkpoints`. SOURCE is a
checkpoint or the configuration of a network (`.json`). In the latter case the network gets
arbitrary weights, which are written to `weights.npz` and replaced later.

It calls the library functions of `nequip-compile`, whose command line refuses TorchScript since
torch 2.10 and needs the training data to trace the model for AOTInductor.
"""

import argparse
import itertools
import json
import math
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from ..engines import here
from .checkpoints import REFUSED, TRUST, Refused, copied
from .model import Deployed, stamp_text
from .training_config import WEIGHTS, graph_of

SHIFTS = "per_type_energy_scale_shift.shifts"
RANKS = "ranks"


def load(source: Path, *, scripted: bool) -> Any:
    """The eager model of a checkpoint (with averaged weights) or of a configuration."""
    from .nequip_private import conditional_torchscript_mode, load_saved_model

    with conditional_torchscript_mode(scripted):
        return untrained(source) if source.suffix == ".json" else load_saved_model(source)


def untrained(configuration: Path) -> Any:
    """A network with arbitrary weights, all different, so that each can be found by its bytes."""
    import numpy as np
    import torch
    from hydra.utils import get_method

    network = json.loads(configuration.read_text(encoding="utf-8"))
    builder = get_method(network["_target_"])
    model = builder(**{key: value for key, value in network.items() if key != "_target_"})
    random = np.random.default_rng(1)
    weights = weights_of(model)
    state = model.state_dict()
    for name, weight in weights.items():
        weights[name] = random.normal(size=weight.shape).astype(weight.dtype)
        state[name].copy_(torch.from_numpy(weights[name]))
    np.savez(configuration.with_name(WEIGHTS), graph=graph_of(network), **weights)
    return model


def weights_of(model: Any) -> dict[str, Any]:
    """All numbers that depend on training or on the data set, by name."""
    weights = {name: value.detach().cpu().numpy() for name, value in model.named_parameters()}
    for name, value in model.named_buffers():
        if name.endswith(SHIFTS):
            weights[name] = value.detach().cpu().numpy()
    return weights


def extract(checkpoint: Path) -> None:
    """Write graph and weights of one of our checkpoints to `weights.npz`, as `swap` reads them."""
    import numpy as np
    import torch

    model = load(checkpoint, scripted=False)
    parameters = torch.load(checkpoint, map_location="cpu", weights_only=True)["hyper_parameters"]
    np.savez(WEIGHTS, graph=graph_of(parameters["model"]), **weights_of(model))


def metadata_of(model: Any) -> dict[str, str]:
    """The metadata that nequip-compile writes."""
    from .nequip_private import get_latest_global_state

    metadata = {**model.metadata, **get_latest_global_state(only_metadata_related=True)}
    return {k: str(int(v)) if isinstance(v, bool) else str(v) for k, v in metadata.items()}


def torchscript(source: Path, output: Path, device: str, target: str) -> dict[str, str]:
    """Write a `.nequip.pth`; returns its metadata. See `aotinductor`; for lammps it serves ase."""
    from .nequip_private import conditional_torchscript_mode, save_torchscript_model

    model = load(source, scripted=True)
    metadata = metadata_of(model)
    if target == RANKS:
        from . import exchange

        model = exchange.OnRanks(model)
        metadata |= exchange.metadata_of(model)
    with conditional_torchscript_mode(True):
        save_torchscript_model(model, metadata, str(output), device)
    return metadata


def aotinductor(source: Path, output: Path, device: str, target: str = "lammps") -> dict[str, str]:
    """Write a `.nequip.pt2` and return its metadata.

    Args:
        source: see `load`.
        output: file to write.
        device: cpu or cuda.
        target: who calls it: `lammps` (its pair style), `ranks` (the same, on several MPI ranks),
            `ase`, or `batch` (several frames in one call, for measurements).
    """
    if target == RANKS:
        return _aotinductor_for_ranks(source, output, device)
    import torch
    from nequip.data import AtomicDataDict

    from .nequip_private import (
        ASE_TARGET,
        BATCH_TARGET,
        NEQUIP_AOTI_INPUTS_KEY,
        NEQUIP_AOTI_OUTPUTS_KEY,
        PAIR_NEQUIP_TARGET,
        aot_export_model,
        serialize_aoti_keys,
    )

    model = load(source, scripted=False)
    metadata = metadata_of(model)
    targets = {"lammps": PAIR_NEQUIP_TARGET, "ase": ASE_TARGET, "batch": BATCH_TARGET}
    asked: dict[str, Any] = targets[target]
    embedded = {
        **metadata,
        NEQUIP_AOTI_INPUTS_KEY: serialize_aoti_keys(asked["input"]),
        NEQUIP_AOTI_OUTPUTS_KEY: serialize_aoti_keys(asked["output"]),
    }
    dimension = torch.export.dynamic_shapes.Dim
    frame = example_frame(metadata["type_names"].split(), float(metadata["r_max"]))
    data = asked["data_settings"](AtomicDataDict.with_batch_(frame))
    aot_export_model(
        model=model,
        device=torch.device(device),
        input_fields=asked["input"],
        output_fields=asked["output"],
        data=AtomicDataDict.to_(data, torch.device(device)),
        batch_map=asked["batch_map_settings"](
            {
                "graph": dimension("num_frames", min=2, max=torch.inf),  # but for single frames
                "node": dimension("num_nodes", min=2, max=torch.inf),
                "edge": dimension("num_edges", min=2, max=torch.inf),
            }
        ),
        output_path=str(output),
        inductor_configs={"aot_inductor.metadata": embedded},
    )
    return metadata


def _aotinductor_for_ranks(source: Path, output: Path, device: str) -> dict[str, str]:
    from . import exchange
    from .nequip_private import prepare_model_for_compile

    model = load(source, scripted=False)
    metadata = metadata_of(model)
    types, r_max = metadata["type_names"].split(), float(metadata["r_max"])
    model = prepare_model_for_compile(exchange.OnRanks(model), device)
    metadata |= exchange.metadata_of(model)
    frames = [exchange.with_ghosts(example_frame(types, r_max, more), device) for more in (0, 1)]
    exchange.compile_inductor(model, frames, str(output), metadata)
    return metadata


def example_frame(types: list[str], r_max: float, more: int = 0) -> Any:
    """A small periodic frame with all types for tracing the model, instead of training data.

    With `more`, it is so many atoms larger along each side.
    """
    import numpy as np
    from ase import Atoms
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper, NeighborListTransform

    from .nequip_private import from_ase

    side = max(2, math.ceil(len(types) ** (1 / 3))) + more
    grid = np.array(list(itertools.product(range(side), repeat=3)))
    spacing = min(2.0, 0.6 * r_max)
    noise = np.random.default_rng(1).normal(size=grid.shape)
    atoms = Atoms(
        symbols=[types[i % len(types)] for i in range(len(grid))],
        positions=spacing * (grid + 0.05 * noise),
        cell=np.eye(3) * spacing * side,
        pbc=True,
    )
    data = from_ase(atoms)
    for transform in (
        ChemicalSpeciesToAtomTypeMapper(model_type_names=types),
        NeighborListTransform(r_max=r_max),
    ):
        data = transform(data)
    return data


def gpu_architecture() -> str:
    """Architecture of the GPU that is compiled for, as compilers name it."""
    import torch

    if torch.version.hip:
        return str(torch.cuda.get_device_properties(0).gcnArchName).partition(":")[0]
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"


def reason(error: Exception) -> str:
    """The compiler's first error, where one is in an exception's text; else its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = [line for line in lines if " error: " in line]
    return (found or lines or [type(error).__name__])[0]


def main(argv: list[str] | None = None) -> int:
    """Compile, and write `stamp.json` beside the model."""
    parser = argparse.ArgumentParser(prog="phasewalk.models.compile_child")
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--mode", choices=["torchscript", "aotinductor"], required=True)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument(TRUST, action="store_true")
    parser.add_argument("--target", choices=["lammps", "ase", RANKS], default="lammps")
    parser.add_argument("--weights", action="store_true", help="write the weights alone")
    arguments = parser.parse_args(argv)

    import nequip
    import torch

    from .nequip_private import set_global_state, set_workflow_state

    started = time.perf_counter()
    set_workflow_state("compile")
    set_global_state(allow_tf32=False)
    source = arguments.source
    try:
        if not arguments.trust and source.suffix != ".json":
            source = copied(source, arguments.output.parent)
    except Refused as error:
        print(error, file=sys.stderr)
        return REFUSED
    if arguments.weights:
        extract(source)
        return 0
    device = arguments.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        make = torchscript if arguments.mode == "torchscript" else aotinductor
        metadata = make(source, arguments.output, device, arguments.target)
    except Exception as error:  # torch's end in pages of what the compiler has also said
        traceback.print_exc()
        print(f"torch {torch.__version__}, {device}: {reason(error)}", file=sys.stderr)
        return 1
    stamp = Deployed(
        file=arguments.output.name,
        mode=arguments.mode,
        device=device,
        dtype=metadata["model_dtype"],
        types=tuple(metadata["type_names"].split()),
        r_max_A=float(metadata["r_max"]),
        torch=str(torch.__version__),
        nequip=str(nequip.__version__),
        cpu=torch.backends.cpu.get_cpu_capability(),
        processor=here().processor,
        seconds=time.perf_counter() - started,
        gpu=gpu_architecture() if device == "cuda" else "",
    )
    arguments.output.with_name("stamp.json").write_text(stamp_text(stamp), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
