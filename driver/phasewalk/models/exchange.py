"""A model that runs on several MPI ranks: features of ghosts come from the ranks that own them.

Each rank has its owned atoms and, behind them, ghosts: periodic images, or atoms of other ranks
within the cutoff. Its edges go from owned atoms to owned atoms or ghosts. A layer changes the
features of owned atoms; before the next one needs those of ghosts, the operator
`phasewalk::exchange` asks for them, and its derivative, `phasewalk::collect`, sends what ghosts
contribute to gradients back to their owners. Only LAMMPS knows the ranks: `cmake/plugin/exchange`
has both operators there. Here, where there are none, ghosts have no features.

The message passing, forces and virial are those of nequip for its interface to ML-IAP of LAMMPS,
but that one needs Python in LAMMPS.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from e3nn.util.jit import compile_mode
from torch import Tensor

from .nequip_private import (
    NEQUIP_AOTI_INPUTS_KEY,
    NEQUIP_AOTI_OUTPUTS_KEY,
    AtomicDataDict,
    DictInputOutputWrapper,
    GhostExchangeModule,
    InteractionBlock,
    ListInputOutputWrapper,
    NoOpGhostExchangeModule,
    check_similar,
    check_traces,
    replace_submodules,
    serialize_aoti_keys,
    trace,
)

WIDTH = "phasewalk_exchange"
"""Key in a model's metadata: the largest number of features of an atom that are exchanged."""
OWNED = "owned"
"""Name of the input whose length is the number of owned atoms."""
INPUTS = ("pos", "edge_index", "atom_types", OWNED)
OUTPUTS = ("atomic_energy", "forces", "virial")

Metadata = Mapping[str, str]


@torch.library.custom_op("phasewalk::exchange", mutates_args=())
def exchange(features: Tensor, total: int) -> Tensor:
    """Features of owned atoms (owned, width), and behind them those of ghosts: (total, width)."""
    return torch.nn.functional.pad(features, (0, 0, 0, total - features.size(0)))


@torch.library.custom_op("phasewalk::collect", mutates_args=())
def collect(gradient: Tensor, owned: int) -> Tensor:
    """The transpose of `exchange`: gradients (total, width) summed on their owners."""
    return gradient[:owned].clone()


@exchange.register_fake
def _(features: Tensor, total: int) -> Tensor:
    return features.new_empty((total, features.size(1)))


@collect.register_fake
def _(gradient: Tensor, owned: int) -> Tensor:
    return gradient.new_empty((owned, gradient.size(1)))


def _remember(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
    ctx.owned = inputs[0].size(0)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
    return torch.ops.phasewalk.collect(gradient, ctx.owned), None


class RanksGhostExchange(GhostExchangeModule):
    """Takes the place of nequip's module that does nothing."""

    def forward(self, data: dict[str, Tensor], ghost_included: bool = False) -> dict[str, Tensor]:
        """Add the features of ghosts to those of owned atoms."""
        total = data[AtomicDataDict.ATOM_TYPE_KEY].size(0)
        data[self.field] = torch.ops.phasewalk.exchange(data[self.field], total)
        return data


@compile_mode("script")
class OnRanks(torch.nn.Module):
    """A model of the atoms of one rank.

    Args:
        model: nequip's model, whose ghost exchanges are replaced.

    Raises:
        ValueError: it is another network than NequIP's.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        exchange.register_autograd(_backward, setup_context=_remember)
        self.width = _width(model)
        self.model = replace_submodules(model, NoOpGhostExchangeModule, _replacement)

    def forward(self, data: dict[str, Tensor]) -> dict[str, Tensor]:
        """Energies, forces and virial that the owned atoms contribute.

        Args:
            data: `pos` (total, 3) Å, `edge_index` (2, edges), `atom_types` (total,), and `owned`,
                of which only the length counts.

        Returns:
            `atomic_energy` (owned, 1) eV; `forces` (total, 3) eV/Å, to be summed on the owners of
            ghosts; `virial` (1, 3, 3) eV, the sum of r (x) f over edges, to be summed over ranks.
        """
        pos, edges = data["pos"], data["edge_index"]
        vectors = pos.index_select(0, edges[1]) - pos.index_select(0, edges[0])
        given: dict[str, Tensor] = {}
        # nequip takes the number of owned atoms from the positions, and that of all from the types
        given["pos"] = pos.narrow(0, 0, data["owned"].size(0))
        given["edge_index"] = edges
        given["edge_vectors"] = vectors
        given["atom_types"] = data["atom_types"]
        found = self.model(given)
        gradient = found["edge_forces"]
        forces = torch.zeros_like(pos)
        forces = forces.index_add(0, edges[0], gradient).index_add(0, edges[1], -gradient)
        virial = -torch.sum(vectors.unsqueeze(2) * gradient.unsqueeze(1), 0)
        return {
            "atomic_energy": found["atomic_energy"],
            "forces": forces,
            "virial": (0.5 * (virial + virial.t())).unsqueeze(0),
        }


def _replacement(old: torch.nn.Module) -> torch.nn.Module:
    return RanksGhostExchange(field=old.field, irreps_in=old.irreps_in)


def _width(model: torch.nn.Module) -> int:
    """The largest number of features that are exchanged."""
    field = AtomicDataDict.NODE_FEATURES_KEY
    blocks = [module for module in model.modules() if isinstance(module, InteractionBlock)]
    if not blocks:
        raise ValueError("this network has no layers of NequIP: it cannot run on several ranks")
    return max(int(block.irreps_in[field].dim) for block in blocks)


def metadata_of(model: OnRanks) -> dict[str, str]:
    """What LAMMPS needs to know besides nequip's metadata."""
    return {
        WIDTH: str(model.width),
        NEQUIP_AOTI_INPUTS_KEY: serialize_aoti_keys(INPUTS),
        NEQUIP_AOTI_OUTPUTS_KEY: serialize_aoti_keys(OUTPUTS),
    }


def with_ghosts(frame: Mapping[str, Tensor], device: str) -> dict[str, Tensor]:
    """The inputs of one rank that owns all atoms of a periodic frame.

    Args:
        frame: `pos`, `cell`, `edge_index`, `edge_cell_shift`, `atom_types`, as nequip has them.
        device: where the inputs are wanted.
    """
    pos, cell, types = frame["pos"], frame["cell"].reshape(3, 3), frame["atom_types"].reshape(-1)
    centre, neighbour = frame["edge_index"]
    images = torch.cat([neighbour[:, None], frame["edge_cell_shift"].to(torch.int64)], dim=1)
    outside = images[:, 1:].any(dim=1)
    ghosts, place = images[outside].unique(dim=0, return_inverse=True)
    targets = neighbour.clone()
    targets[outside] = len(pos) + place
    made = {
        "pos": torch.cat([pos, pos[ghosts[:, 0]] + ghosts[:, 1:].to(cell.dtype) @ cell]),
        "edge_index": torch.stack([centre, targets]),
        "atom_types": torch.cat([types, types[ghosts[:, 0]]]),
        OWNED: torch.zeros(len(pos), dtype=torch.int64),
    }
    return {name: value.to(device) for name, value in made.items()}


def compile_inductor(
    model: OnRanks, frames: Sequence[dict[str, Tensor]], output: str, metadata: Metadata
) -> None:
    """Write an AOTInductor package of a model, and compare it with the model.

    Args:
        model: with its parameters frozen, on its device.
        frames: inputs of two different sizes.
        output: file to write.
        metadata: of the package.
    """
    flat = [[frame[name] for name in INPUTS] for frame in frames]
    graphs = [trace(ListInputOutputWrapper(model, INPUTS, OUTPUTS), inputs) for inputs in flat]
    check_traces(*graphs, INPUTS)
    total, edges, owned = (torch.export.Dim(name, min=2) for name in ("total", "edges", OWNED))
    exported = torch.export.export(
        graphs[0], tuple(flat[0]), dynamic_shapes=({0: total}, {1: edges}, {0: total}, {0: owned})
    )
    # with kernels that are fused across an operator of ours, Inductor of torch 2.13 ends in "Cycle
    # detected in memory planning graph"
    configuration = {"aot_inductor.metadata": metadata, "max_fusion_size": 1}
    torch._inductor.aoti_compile_and_package(
        exported, package_path=output, inductor_configs=configuration
    )
    package = torch._inductor.aoti_load_package(output)
    check_similar(
        DictInputOutputWrapper(package, INPUTS, OUTPUTS), model, dict(frames[1]),
        metadata["model_dtype"], fields=OUTPUTS,
    )  # fmt: skip
