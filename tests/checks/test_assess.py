"""Which frames a model can read, and which of them it has learned from."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from helpers.fakes import crystal, label
from helpers.recorded import RECORDED
from phasewalk.checks import assess
from phasewalk.errors import InputError
from phasewalk.labels.label import Label
from phasewalk.status import library

EXTRA = {
    "model.nequip.pth": ("model/extra/type_names", b"Cl Na"),
    "model.nequip.pt2": ("model/data/a.wrapper_metadata.json", b'{"type_names": "Cl Na"}'),
}


def archive(path: Path, name: str, content: bytes) -> Path:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("model/other.json", b"{}")
        made.writestr(name, content)
    path.write_bytes(stream.getvalue())
    return path


@pytest.mark.parametrize("file", EXTRA)
def test_elements_that_a_model_does_not_know(tmp_path: Path, file: str) -> None:
    """A model without a stamp tells its elements itself; LAMMPS is not started to hear of it."""
    model = archive(tmp_path / file, *EXTRA[file])
    assert assess.species(model) == ("Cl", "Na")
    assess.check_species(model, [crystal()], "mine.extxyz")
    with pytest.raises(InputError) as caught:
        assess.check_species(model, [crystal(), crystal("KBr")], "mine.extxyz")
    assert f"mine.extxyz, frame 2: contains Br, K, which {model} does not support" in str(
        caught.value
    )
    assert "its elements: Cl, Na" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"{"])
def test_a_model_that_tells_nothing_is_left_to_lammps(tmp_path: Path, content: bytes) -> None:
    model = archive(tmp_path / "m.nequip.pt2", "model/a_metadata.json", content)
    assert assess.species(model) == ()
    model.write_bytes(content)
    assess.check_species(model, [crystal("KBr")], "mine.extxyz")


def model_in(root: Path, generation: str) -> Path:
    return root / f"models/{generation}/torchscript-cpu/model.nequip.pth"


def test_the_campaign_of_a_model() -> None:
    assert assess.campaign_of(model_in(RECORDED, "gen-001")) == (RECORDED, "1")
    assert assess.campaign_of(model_in(RECORDED, "final")) == (RECORDED, "final")
    assert assess.campaign_of(Path("/somewhere/else/model.nequip.pth")) is None
    assert assess.learned(Path("/somewhere/else/model.nequip.pth"), []) is None


def known() -> list[Label]:
    return library.campaign_labels(RECORDED)[0]


@pytest.mark.parametrize("noise_A", [0.0, 5e-4])
def test_a_model_on_its_own_labels(noise_A: float) -> None:
    """Also from a file with three digits; each generation has learned those that came before."""
    rng = np.random.default_rng(1)
    mine = known()
    for one in mine:
        one.atoms.positions += rng.uniform(-noise_A, noise_A, one.atoms.positions.shape)
    counts = []
    for generation in ("gen-000", "gen-001", "final"):
        found = assess.learned(model_in(RECORDED, generation), [*mine, label()])
        assert found is not None
        assert found.frames == len(mine) + 1
        counts.append((found.training, found.validation))
    assert counts[0][0] < counts[1][0] < counts[2][0] == len(mine)
    assert counts[0][1] > 0 == counts[2][1]
    first = assess.learned(model_in(RECORDED, "gen-000"), mine)
    assert first is not None
    assert "are the model's own training labels" in first.says


def test_frames_that_it_never_saw() -> None:
    moved = known()
    for one in moved:
        one.atoms.positions[0] += 0.01
    found = assess.learned(model_in(RECORDED, "final"), moved)
    assert found is not None
    assert (found.training, found.says) == (0, "")
    assert found.as_dict() == {"training_labels": 0, "validation_labels": 0}
