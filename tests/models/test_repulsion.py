"""The repulsion of short range in networks: its formula, its end, and what it leaves alone."""

from itertools import combinations_with_replacement
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

TYPES = ["H", "O", "Al"]
FRACTION = 0.8

pytestmark = [pytest.mark.engine("nequip"), pytest.mark.slow]


def formula(pair: tuple[str, str], distance: float) -> float:
    """ZBL (eV) × DimeNet's polynomial of p = 6; Ziegler, Biersack, Littmark 1985."""
    a, b = (atomic_numbers[symbol] for symbol in pair)
    x = distance * (a**0.23 + b**0.23) / 0.46850
    weights, rates = [0.02817, 0.28022, 0.50986, 0.18175], [0.20162, 0.40290, 0.94229, 3.19980]
    screened = sum(w * np.exp(-r * x) for w, r in zip(weights, rates, strict=True))
    u = distance / (FRACTION * (covalent_radii[a] + covalent_radii[b]))
    switch = 1 - 28 * u**6 + 48 * u**7 - 21 * u**8 if u < 1 else 0.0
    return float(14.399645 * a * b / distance * screened * switch)


def energies(range_fraction: float, frames: list[Atoms]) -> list[float]:
    """Sum over atoms of what the module adds, eV."""
    import torch
    from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase
    from nequip.data.transforms import ChemicalSpeciesToAtomTypeMapper
    from nequip.nn import with_edge_vectors_

    from phasewalk.models.repulsion import ShortZBL

    cutoff = 4.0
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        fields: dict[str, Any] = {AtomicDataDict.NORM_LENGTH_KEY: "0e"}
        module = ShortZBL(TYPES, TYPES, "metal", range_fraction, irreps_in=fields)
        found = []
        for atoms in frames:
            data = ChemicalSpeciesToAtomTypeMapper(model_type_names=TYPES)(from_ase(atoms))
            data = compute_neighborlist_(data, r_max=cutoff)
            data = with_edge_vectors_(data, with_lengths=True)
            relative = data[AtomicDataDict.EDGE_LENGTH_KEY].view(-1, 1) / cutoff
            data[AtomicDataDict.NORM_LENGTH_KEY] = relative
            out = module(dict(data))
            assert torch.equal(out[AtomicDataDict.NORM_LENGTH_KEY], relative)
            found.append(float(out[AtomicDataDict.PER_ATOM_ENERGY_KEY].sum()))
        return found
    finally:
        torch.set_default_dtype(before)


def test_each_pair_follows_the_formula_and_ends_at_its_range() -> None:
    pairs = list(combinations_with_replacement(TYPES, 2))
    cases = [(pair, d) for pair in pairs for d in (0.3, 0.5, 0.7, 0.9, 1.2, 1.5, 2.5)]
    frames = [
        Atoms(pair, positions=[[0, 0, 0], [d, 0, 0]], cell=[20.0] * 3, pbc=True)
        for pair, d in cases
    ]
    expected = [formula(pair, d) for pair, d in cases]
    assert 0.0 in expected
    assert max(expected) > 100.0
    assert energies(FRACTION, frames) == pytest.approx(expected, rel=1e-6, abs=1e-12)
