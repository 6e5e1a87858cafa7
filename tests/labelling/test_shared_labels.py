"""Labels that campaigns share, and labels as files: nothing is lost, nothing damaged is used."""

import contextlib
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms

from helpers.fakes import LEVEL, crystal, label
from phasewalk.errors import InputError, ParseError
from phasewalk.labels import extxyz, label_cache
from phasewalk.labels.label import Label, content_hash
from phasewalk.labels.levels import Level
from phasewalk.status import library
from phasewalk.validation.accuracy import read_labelled

CP2K = Level("CP2K", "CP2K 2023.1", {"DFT/X": 'a "quoted" \\ word', "DFT/Å": [1.5, "é"]}, {})


def odd() -> Label:
    """A label with numbers and words that a careless writer would change."""
    atoms = crystal()
    atoms.rattle(0.1, seed=1)
    atoms.set_cell(atoms.cell.array + np.random.default_rng(0).normal(size=(3, 3)) / 30)
    made = {"version": CP2K.version, "try": 2, "changes": {"SCF/X": 'it\'s "so" % \\ é'}}
    origin = {"system": "salt", "round": 3, "walker": "salt-0", "step": 400}
    return label(atoms, at=CP2K.at(4), energy=-1 / 3, made=made, origin=origin)


def test_a_label_that_is_kept_is_found(tmp_path: Path) -> None:
    label_cache.keep(tmp_path, CP2K.at(4), odd())
    found = label_cache.find(tmp_path, CP2K.at(4), odd().key)
    assert found is not None
    assert content_hash(found) == content_hash(odd())
    assert (found.made, found.origin) == (odd().made, odd().origin)
    assert label_cache.find(tmp_path, CP2K.at(8), odd().key) is None
    assert label_cache.find(tmp_path, LEVEL, odd().key) is None
    ((level, files),) = label_cache.methods(tmp_path)
    assert (level, len(files)) == (CP2K, 1)


def test_the_first_one_stays(tmp_path: Path) -> None:
    label_cache.keep(tmp_path, CP2K.at(4), odd())
    label_cache.keep(tmp_path, CP2K.at(4), replace(odd(), energy=7.0))
    found = label_cache.find(tmp_path, CP2K.at(4), odd().key)
    assert found is not None
    assert found.energy == -1 / 3


def test_a_cache_that_cannot_be_written_is_no_harm(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("a file")
    label_cache.keep(tmp_path, CP2K.at(4), odd())
    label_cache.keep_atom(tmp_path, CP2K, "O", energy_eV=-1.0, how={})
    assert label_cache.find(tmp_path, CP2K.at(4), odd().key) is None
    assert label_cache.atom_energy(tmp_path, CP2K, "O", {}) is None


def test_isolated_atoms_are_kept_with_their_level(tmp_path: Path) -> None:
    how = {"box_A": 12.0, "multiplicity": 3}
    label_cache.keep_atom(tmp_path, CP2K, "O", energy_eV=-431.5, how=how)
    assert label_cache.atom_energy(tmp_path, CP2K, "O", how) == -431.5
    assert label_cache.atom_energy(tmp_path, CP2K, "O", {**how, "box_A": 9.0}) is None
    assert label_cache.atom_energy(tmp_path, LEVEL, "O", how) is None
    assert label_cache.atom_energy(tmp_path, CP2K, "H", how) is None


def test_damaged_files_of_the_cache_are_never_used(tmp_path: Path) -> None:
    label_cache.keep(tmp_path, CP2K.at(4), odd())
    (path,) = (p for p in tmp_path.rglob("*.json") if p.name != "level.json")
    good, rng = path.read_bytes(), random.Random(3)
    for _ in range(300):
        damaged = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged[: rng.choice((len(damaged), rng.randrange(len(damaged))))])
        found = label_cache.find(tmp_path, CP2K.at(4), odd().key)
        assert found is None or content_hash(found) == content_hash(odd())
        with contextlib.suppress(InputError):
            label_cache.read(path)
    (path.parent / "level.json").write_text("{}")
    with pytest.raises(ParseError, match="not a level of theory"):
        list(label_cache.methods(tmp_path))


def bits(one: Label) -> list[Any]:
    return [
        one.energy,
        one.forces.tolist(),
        one.stress.tolist(),
        one.atoms.positions.tolist(),
        one.atoms.cell.tolist(),
        one.atoms.numbers.tolist(),
    ]


def written(folder: Path, *labels: Label, level: Level | None = CP2K) -> Path:
    path = folder / "labels.extxyz"
    path.write_text(extxyz.to_extxyz(labels, level))
    return path


def test_a_file_is_exact_to_the_last_bit_and_tells_all(tmp_path: Path) -> None:
    path = written(tmp_path, odd(), odd())
    first, second = read_labelled(path)
    assert bits(first) == bits(second) == bits(odd())
    assert first.level == CP2K.at(4).key
    assert first.origin == odd().origin
    assert first.made == {**odd().made, "level_of_theory": CP2K.as_dict()}
    atoms = ase.io.read(path, index=0)
    assert isinstance(atoms, Atoms)
    assert atoms.get_stress() == pytest.approx(odd().stress, abs=0)


def test_out_and_in_again_is_the_same_label(tmp_path: Path) -> None:
    ((found, at),) = library.read_foreign(written(tmp_path, odd()), None)
    assert (found.key, at) == (odd().key, CP2K.at(4))
    assert found.origin["walker"] == "salt-0"
    assert "level_of_theory" not in found.made


def test_a_file_without_its_level_needs_a_declaration(tmp_path: Path) -> None:
    path = written(tmp_path, replace(odd(), level=""), level=None)
    with pytest.raises(InputError, match="no level of theory given"):
        library.read_foreign(path, None)
    ((found, at),) = library.read_foreign(path, LEVEL)
    assert at.method == LEVEL.method
    assert found.level == at.key


def test_a_level_that_is_not_its_fingerprint_s_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, odd(), level=LEVEL)
    with pytest.raises(InputError, match="does not match its fingerprint"):
        library.read_foreign(path, None)


def test_a_row_of_the_list() -> None:
    row = library.row(odd())
    assert (row["walker"], row["formula"], row["try"]) == ("salt-0", "Cl4Na4", 2)
    assert json.loads(json.dumps(row)) == row


def test_a_virial_stands_for_a_stress(tmp_path: Path) -> None:
    path = written(tmp_path, odd())
    xx, yy, zz, yz, xz, xy = -odd().stress * odd().atoms.get_volume()
    virial = " ".join(map(repr, map(float, (xx, xy, xz, xy, yy, yz, xz, yz, zz))))
    text = path.read_text()
    before = text[text.index("stress=") : text.index(" key=")]
    path.write_text(text.replace(before, f'virial="{virial}"'))
    (found,) = read_labelled(path)
    assert found.stress == pytest.approx(odd().stress, rel=1e-12)


def test_numbers_without_a_decimal_point_come_back_too(tmp_path: Path) -> None:
    """ASE reads 9e-05 in a header, which is how Python writes it, as 0."""
    small = replace(odd(), energy=9e-05, stress=np.array([9e-05, 1e-20, -3e-05, 0.0, 2.5, 1e16]))
    (found,) = read_labelled(written(tmp_path, small))
    assert bits(found) == bits(small)
