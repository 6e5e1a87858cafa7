"""The short-range repulsion of a network: ZBL between atoms that are closer than bonds are.

NequIP's ZBL acts up to the cutoff of the network. Between bonded atoms it has energies of several
eV, which the network must learn to cancel; with a few hundred labels it does so badly. Here it
ends at a distance that bonds do not reach.
"""

from typing import Any

import torch
from ase.data import atomic_numbers, covalent_radii
from nequip.data import AtomicDataDict
from nequip.nn import GraphModuleMixin, with_edge_vectors_
from nequip.nn.pair_potential import ZBL


class ShortZBL(GraphModuleMixin, torch.nn.Module):  # type: ignore[misc]
    """ZBL, multiplied by a polynomial that is 0 beyond a fraction of the sum of covalent radii.

    Args:
        type_names: types of the network.
        chemical_species: the element of each type.
        units: of the network, metal or real.
        range_fraction: range, as a fraction of the sum of `ase.data.covalent_radii` (Cordero et
            al., Dalton Trans. 2008).
        irreps_in: of the fields that the network has at this place.
    """

    def __init__(
        self,
        type_names: list[str],
        chemical_species: list[str],
        units: str,
        range_fraction: float,
        irreps_in: Any = None,
    ) -> None:
        super().__init__()
        self.zbl = ZBL(type_names, chemical_species, units, irreps_in=irreps_in)
        self._init_irreps(irreps_in=self.zbl.irreps_in, irreps_out=self.zbl.irreps_out)
        radii = covalent_radii[[atomic_numbers[symbol] for symbol in chemical_species]]
        ranges = torch.as_tensor(range_fraction * (radii[:, None] + radii[None, :]))
        self.register_buffer("ranges", ranges.to(torch.get_default_dtype()))

    def forward(self, data: AtomicDataDict.Type) -> AtomicDataDict.Type:
        """Add the energy of each atom."""
        data = with_edge_vectors_(data, with_lengths=True)
        types = data[AtomicDataDict.ATOM_TYPE_KEY].view(-1)
        first, second = (
            data[AtomicDataDict.EDGE_INDEX_KEY][0],
            data[AtomicDataDict.EDGE_INDEX_KEY][1],
        )
        ranges = self.ranges[types[first], types[second]].unsqueeze(-1)
        relative = data[AtomicDataDict.NORM_LENGTH_KEY]
        data[AtomicDataDict.NORM_LENGTH_KEY] = (
            data[AtomicDataDict.EDGE_LENGTH_KEY].view(-1, 1) / ranges
        )
        data = self.zbl(data)
        data[AtomicDataDict.NORM_LENGTH_KEY] = relative
        return data
