"""What several MPI ranks compute is compared with one: energy, forces, six components of stress."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phasewalk.errors import InputError
from phasewalk.units import GPA_PER_EV_PER_A3
from phasewalk.validation import ranks
from phasewalk.validation.accuracy import Prediction

ONE = Prediction(
    -8.0, np.full(4, -2.0), np.linspace(-1.0, 1.0, 12).reshape(4, 3), np.linspace(-0.01, 0.01, 6)
)


def moved(name: str, index: Any, value: float) -> Prediction:
    values = np.array(getattr(ONE, name), dtype=float)
    values[index] += value
    return replace(ONE, **{name: float(values) if name == "energy" else values})


CHANGES = [
    ("energy", (), 4 * 2e-6),
    *(("forces", (atom, axis), 1e-4) for atom, axis in ((0, 0), (3, 2))),
    *(("stress", component, 1e-3 / GPA_PER_EV_PER_A3) for component in range(6)),
]


@pytest.mark.parametrize(("name", "index", "limit"), CHANGES)
def test_each_number_has_its_limit(name: str, index: Any, limit: float) -> None:
    for part, ok in ((0.9, True), (1.1, False)):
        other = moved(name, index, part * limit)
        check = ranks.judge([ONE, ONE], [ONE, other], ranks=2, dtype="float32")
        assert check.ok is ok
        assert check.value == pytest.approx(part, rel=1e-6)
        exact = ranks.judge([ONE], [other], ranks=2, dtype="float64")
        assert not exact.ok


def test_it_is_one_line() -> None:
    check = ranks.judge([ONE], [moved("forces", (1, 1), 3e-3)], ranks=4, dtype="float32")
    assert str(check) == (
        "FAILED: 4 MPI ranks = 1 rank: 30 of the limits of parity, limit 1; "
        "energy 0.0e+00 eV/atom, forces 3.0e-03 eV/Å, stress 0.0e+00 GPa"
    )
    nan = ranks.judge([ONE], [moved("forces", (1, 1), np.nan)], ranks=4, dtype="float32")
    assert not nan.ok


def test_the_file_beside_a_model(tmp_path: Path) -> None:
    model = tmp_path / "my.nequip.pt2"
    checkpoint = tmp_path / "my last.ckpt"
    with pytest.raises(InputError, match=r"my\.exchange\.nequip\.pt2: no such file") as caught:
        ranks.beside(model, checkpoint)
    words = shlex.split(str(caught.value).partition("make it: ")[2])
    assert words == [
        *("phasewalk", "deploy", str(checkpoint), "--mode", "aotinductor", "--target", "ranks"),
        *("-o", str(tmp_path / "my.exchange.nequip.pt2")),
    ]
    (tmp_path / "my.exchange.nequip.pt2").touch()
    assert ranks.beside(model, checkpoint) == tmp_path / "my.exchange.nequip.pt2"
    with pytest.raises(InputError, match=r"its name must end with .nequip.pth or .nequip.pt2"):
        ranks.beside(tmp_path / "model.pt2", checkpoint)
