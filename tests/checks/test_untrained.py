"""The proof of an untrained network: what `phasewalk check` says of it."""

from pathlib import Path
from typing import Any

import pytest

from helpers.fakes import write_campaign
from phasewalk.campaign import inputs
from phasewalk.checks import check, untrained
from phasewalk.errors import InputError
from phasewalk.validation.gate import Check, Proof


def proof(stress: float) -> Proof:
    found = [
        ("parity of the energy", 7e-9, 2e-6, "eV/atom"),
        ("parity of atomic energies", 1e-8, 2e-5, "eV"),
        ("parity of the forces", 9e-8, 1e-4, "eV/Å"),
        ("parity of the stress", stress, 1e-3, "GPa"),
    ]
    return Proof(tuple(Check(n, v, limit, u, 0, v <= limit) for n, v, limit, u in found))


def test_in_words() -> None:
    assert untrained.in_words(proof(9e-8)) == (
        "7e-09 eV/atom, 9e-08 eV/Å (of 0.3 rms), 9e-08 GPa, 4 checks"
    )
    assert untrained.in_words(Proof(())) == "0 checks"


def test_what_the_gate_refuses_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = inputs.load(write_campaign(tmp_path), {})
    nothing: Any = None
    found = [proof(9e-8), proof(0.2)]
    monkeypatch.setattr(untrained, "deployed", lambda *_, **__: (tmp_path, {"cuda": False}))
    monkeypatch.setattr(untrained, "proof", lambda *_, **__: found.pop(0))
    assert check._parity(campaign, nothing, nothing, tmp_path) == (
        "LAMMPS − ASE, float32: 7e-09 eV/atom, 9e-08 eV/Å (of 0.3 rms), 9e-08 GPa, 4 checks; "
        "model on cpu"
    )
    with pytest.raises(InputError) as caught:
        check._parity(campaign, nothing, nothing, tmp_path)
    assert "FAILED: parity of the stress (frame 1): 0.2 GPa, limit 0.001" in str(caught.value)
    assert str(caught.value).endswith("rebuild the plugin")
