"""Tiny NequIP models with random weights, compiled for LAMMPS and eager for ASE."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import ase
import numpy as np
from filelock import FileLock

from phasewalk.models import exchange

KINDS = {"torchscript": ".nequip.pth", "aotinductor": ".nequip.pt2"}


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """What defines a model: everything else in it is fixed. Lengths in Å."""

    type_names: tuple[str, ...]
    dtype: str = "float64"
    r_max: float = 4.0
    per_edge_type_cutoff: tuple[tuple[str, str, float], ...] = ()
    seed: int = 7
    num_layers: int = 2

    def cutoffs(self) -> dict[str, dict[str, float]] | None:
        """nequip's nested dictionary (centre, neighbour), or None for one cutoff."""
        if not self.per_edge_type_cutoff:
            return None
        table: dict[str, dict[str, float]] = {}
        for centre, neighbour, cutoff in self.per_edge_type_cutoff:
            table.setdefault(centre, {})[neighbour] = cutoff
        return table


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of torch and e3nn about what nequip does with them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@_quiet()
def build(spec: ModelSpec) -> Any:
    """The eager model."""
    from nequip.model import NequIPGNNModel
    from nequip.utils import conditional_torchscript_mode
    from nequip.utils.global_state import set_global_state

    set_global_state(allow_tf32=False)
    with conditional_torchscript_mode(True):
        return NequIPGNNModel(
            seed=spec.seed,
            model_dtype=spec.dtype,
            type_names=list(spec.type_names),
            r_max=spec.r_max,
            per_edge_type_cutoff=spec.cutoffs(),
            num_layers=spec.num_layers,
            l_max=1,
            parity=True,
            num_features=4,
            radial_mlp_depth=1,
            radial_mlp_width=8,
            avg_num_neighbors=12.0,
            per_type_energy_scales=dict.fromkeys(spec.type_names, 15.0),
            per_type_energy_shifts={n: -1.5 - i for i, n in enumerate(spec.type_names)},
        )


@_quiet()
def calculator(spec: ModelSpec) -> Any:
    """The eager model as an ASE calculator; chemical symbols are the type names."""
    from nequip.integrations.ase import NequIPCalculator
    from nequip.integrations.utils import basic_transforms

    model = build(spec).eval()
    names = list(spec.type_names)
    transforms = basic_transforms(
        {"per_edge_type_cutoff": spec.cutoffs()}, spec.r_max, names, {name: name for name in names}
    )
    return NequIPCalculator(model=model, device="cpu", transforms=transforms)


def compiled(spec: ModelSpec, kind: str, cache: Path) -> Path:
    """The model compiled for LAMMPS, made once per version of the code that makes it."""
    make = {"torchscript": _torchscript, "aotinductor": _aotinductor}[kind]
    return _once(spec, KINDS[kind], cache, make)


def for_ranks(spec: ModelSpec, kind: str, cache: Path) -> Path:
    """The same for several MPI ranks, beside that for one."""
    make = {"torchscript": _torchscript_for_ranks, "aotinductor": _aotinductor_for_ranks}[kind]
    return _once(spec, f".exchange{KINDS[kind]}", cache, partial(_apart, make))


def _apart(make: Callable[[ModelSpec, Path], None], spec: ModelSpec, path: Path) -> None:
    """As the driver does: LAMMPS in this process may have its own operators for exchanges."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(make, spec, path).result()


def _once(
    spec: ModelSpec, ending: str, cache: Path, make: Callable[[ModelSpec, Path], None]
) -> Path:
    path = cache / f"{_key(spec)}{ending}"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            # AOTInductor wants its own ending, so the name is made up before it
            part = cache / f"{_key(spec)}.part{ending}"
            with _quiet():
                make(spec, part)
            part.rename(path)
    return path


def _key(spec: ModelSpec) -> str:
    import nequip
    import torch

    machine = torch.backends.cpu.get_cpu_capability()
    code = b"".join(Path(str(file)).read_bytes() for file in (__file__, exchange.__file__))
    facts = [dataclasses.asdict(spec), torch.__version__, nequip.__version__, machine]
    return hashlib.sha256(json.dumps(facts).encode() + code).hexdigest()[:16]


def _metadata(model: Any) -> dict[str, str]:
    return {**{str(k): str(v) for k, v in model.metadata.items()}, "allow_tf32": "0"}


def _torchscript(spec: ModelSpec, path: Path) -> None:
    from nequip.model.inference_models.torchscript import save_torchscript_model
    from nequip.utils import conditional_torchscript_mode

    model = build(spec)
    with conditional_torchscript_mode(True):
        save_torchscript_model(model, _metadata(model), str(path), "cpu")


def _aotinductor(spec: ModelSpec, path: Path) -> None:
    import torch
    from nequip.scripts._compile_utils import COMPILE_TARGET_DICT
    from nequip.utils.aot import aot_export_model

    model = build(spec)
    target = COMPILE_TARGET_DICT["pair_nequip"]
    batch_map = {key: torch.export.Dim(key, min=2, max=torch.inf) for key in ("node", "edge")}
    data = calculator(spec).atoms_to_data(example(spec.type_names))
    metadata = {
        **_metadata(model),
        "nequip_aoti_inputs": " ".join(target["input"]),
        "nequip_aoti_outputs": " ".join(target["output"]),
    }
    aot_export_model(
        model=model,
        device="cpu",
        input_fields=target["input"],
        output_fields=target["output"],
        data=target["data_settings"](data),
        batch_map=target["batch_map_settings"](batch_map),
        output_path=str(path),
        inductor_configs={"aot_inductor.metadata": metadata},
    )


def _torchscript_for_ranks(spec: ModelSpec, path: Path) -> None:
    from nequip.model.inference_models.torchscript import save_torchscript_model
    from nequip.utils import conditional_torchscript_mode

    model = exchange.OnRanks(build(spec))
    metadata = _metadata(model.model) | exchange.metadata_of(model)
    with conditional_torchscript_mode(True):
        save_torchscript_model(model, metadata, str(path), "cpu")


def _aotinductor_for_ranks(spec: ModelSpec, path: Path) -> None:
    from nequip.utils.compile import prepare_model_for_compile

    model = prepare_model_for_compile(exchange.OnRanks(build(spec)), "cpu")
    metadata = _metadata(model.model) | exchange.metadata_of(model)
    frames = [
        exchange.with_ghosts(calculator(spec).atoms_to_data(atoms), "cpu")
        for atoms in (example(spec.type_names), example(spec.type_names, grid=(3, 3, 3)))
    ]
    exchange.compile_inductor(model, frames, str(path), metadata)


def example(
    symbols: tuple[str, ...],
    cell: Any = (9.3, 8.7, 8.1),
    grid: tuple[int, int, int] = (3, 3, 2),
    seed: int = 11,
) -> ase.Atoms:
    """Atoms on a jittered grid, symbols in turn. `cell`: row vectors or three lengths, Å."""
    random = np.random.default_rng(seed)
    points = np.stack(np.meshgrid(*(np.arange(n) for n in grid), indexing="ij"), -1).reshape(-1, 3)
    scaled = (points + 0.5) / np.array(grid)
    names = [symbols[i % len(symbols)] for i in range(len(points))]
    atoms = ase.Atoms(names, cell=cell, pbc=True, scaled_positions=scaled)
    atoms.positions += random.uniform(-0.35, 0.35, atoms.positions.shape)
    return atoms
