"""Moments and charges reach the reference, masses and fixed atoms the walkers; nothing is lost."""

import json
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms

from helpers.fakes import LEVEL, FakeLauncher, Watcher, crystal, label
from phasewalk.bias import colvars
from phasewalk.campaign import inputs
from phasewalk.campaign.tasks import Work
from phasewalk.checks import check
from phasewalk.engines import discovery
from phasewalk.engines.discovery import EngineSettings
from phasewalk.errors import InputError
from phasewalk.labelling import locate
from phasewalk.labels import extxyz
from phasewalk.labels import label as labels
from phasewalk.reference import __main__, programs, requests
from phasewalk.reference.settings import ReferenceSettings
from phasewalk.rounds import steer
from phasewalk.store import directory
from phasewalk.structures import carried, structure
from phasewalk.validation import accuracy
from phasewalk.walkers import decks, partitions
from phasewalk.walkers.segment import SegmentPlan, SegmentSettings, Walker

IRON = """2
Lattice="2.87 0 0 0 2.87 0 0 0 2.87" Properties=species:S:1:pos:R:3:initial_magmoms:R:1 pbc="T T T"
Fe 0 0 0 2.3
Fe 1.435 1.435 1.435 2.3
"""
SALT = """8
Lattice="5.64 0 0 0 5.64 0 0 0 5.64" Properties=species:S:1:pos:R:3:move_mask:L:1 pbc="T T T"
Na 0.0 0.0 0.0 F
Cl 2.82 0.0 0.0 T
Na 0.0 2.82 2.82 F
Cl 2.82 2.82 2.82 T
Na 2.82 0.0 2.82 F
Cl 0.0 0.0 2.82 T
Na 2.82 2.82 0.0 F
Cl 0.0 2.82 0.0 T
"""
CALCULATOR = """
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

class Spin(Calculator):
    implemented_properties = ["energy", "forces", "stress"]

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        spin, charge = (
            float(values.sum())
            for values in (atoms.get_initial_magnetic_moments(), atoms.get_initial_charges())
        )
        self.results = {
            "energy": -8.0 * len(atoms) - 0.5 * spin + charge,
            "forces": np.zeros((len(atoms), 3)),
            "stress": np.zeros(6),
        }

def spin(atoms):
    atoms.calc = Spin()
    atoms.get_potential_energy()
    return atoms.calc.results
"""
CAMPAIGN = """\
campaign: one
systems:
  one: {{structure: one.extxyz, walkers: 1, ensemble: {ensemble}}}
resources: {{cores: 2}}
bootstrap: {{count: 8}}
reference:
  {reference}
"""
EVERYTHING = {
    carried.MOMENTS: np.linspace(-1, 1, 8),
    carried.CHARGES: np.array([1.0, -1.0] * 4),
    carried.MASSES: np.array([23.5, 36.0] * 4),
    carried.FIXED: np.array([True, False] * 4),
}


def read(folder: Path, text: str) -> Atoms:
    (folder / "one.extxyz").write_text(text)
    return structure.read_structure(folder / "one.extxyz")


def loaded(
    folder: Path, text: str, reference: str = "xtb: {}", ensemble: str = "nvt"
) -> inputs.Campaign:
    read(folder, text)
    path = folder / "campaign.yaml"
    path.write_text(CAMPAIGN.format(reference=reference, ensemble=ensemble))
    return inputs.load(path)


def everything(names: Sequence[str] = tuple(EVERYTHING)) -> Atoms:
    return carried.carry(crystal(), {name: EVERYTHING[name] for name in names})


@pytest.mark.parametrize("program", ["ase", "function"])
def test_the_reference_starts_from_the_structure_s_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """The same calculator on the same file: -18.3 eV, and -16.0 without the moments."""
    (tmp_path / "spins.py").write_text(CALCULATOR)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = {"ase": "calculator", "function": "function"}[program]
    entry = {"ase": "spins.Spin", "function": "spins:spin"}[program]
    settings = ReferenceSettings.model_validate(
        {program: {name: entry, "files": ["spins.py"], "packages": ["ase"]}}
    )
    used = programs.load(settings, tmp_path, {})
    for atoms, energy in ((read(tmp_path, IRON), -18.3), (structure.bare(crystal()[:2]), -16.0)):
        job = requests.job(
            "label", atoms, reference=used, directory=tmp_path, attempt=requests.Try()
        )
        answer = __main__.compute(json.loads(job.inputs[requests.REQUEST]))
        assert answer["energy_eV"] == pytest.approx(energy, abs=1e-12)


def test_a_label_s_key_knows_moments_and_charges_and_is_otherwise_the_old_one() -> None:
    plain = "fdf824f237c36b385d814c262d3f5e3917fb31f9865934295061d7df937b6512"  # of release 0.1
    assert structure.fingerprint(crystal()) == plain
    motion = everything((carried.MASSES, carried.FIXED))
    assert structure.fingerprint(motion) == plain
    zero = carried.carry(crystal(), {carried.MOMENTS: np.zeros(8), carried.CHARGES: np.zeros(8)})
    assert structure.fingerprint(zero) == plain
    turned = everything((carried.MOMENTS,))
    turned.arrays[carried.MOMENTS] *= -1
    seen = {plain, *map(structure.fingerprint, (everything(), turned))}
    seen |= {structure.fingerprint(everything((name,))) for name in EVERYTHING}
    assert len(seen) == 5  # none, both, turned, moments, charges


def test_frames_go_through_json_and_old_ones_still_do() -> None:
    assert list(labels.frame_to_json(crystal())) == ["numbers", "positions_A", "cell_A"]
    back = labels.frame_from_json(json.loads(json.dumps(labels.frame_to_json(everything()))))
    found = carried.extras(back)
    assert set(found) == set(EVERYTHING)
    for name, values in EVERYTHING.items():
        assert np.array_equal(found[name], values)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("charges", [1.0] * 7),
        ("magnetic_moments", [[1.0, 2.0]] * 8),
        ("masses_amu", [0.0] * 8),
        ("charges", [float("nan")] * 8),
    ],
)
def test_a_frame_with_what_does_not_fit_is_none(key: str, values: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"wrong shape|not positive"):
        labels.frame_from_json({**labels.frame_to_json(crystal()), key: values})


def test_a_label_keeps_what_it_depends_on_and_is_exported_with_it(tmp_path: Path) -> None:
    made = requests.believed(
        requests.Result(-1.0, np.zeros((8, 3)), np.zeros(6), 0.1),
        everything(),
        reference=programs.load(ReferenceSettings(), tmp_path, {}),
        at=LEVEL,
        origin={},
        made={},
    )
    assert set(carried.extras(made.atoms)) == {carried.MOMENTS, carried.CHARGES}
    (tmp_path / "labels.extxyz").write_text(extxyz.to_extxyz([made], LEVEL))
    (back,) = accuracy.read_labelled(tmp_path / "labels.extxyz")
    assert labels.label_key(back.atoms, LEVEL) == made.key
    assert labels.from_json(labels.to_json(made), tmp_path).key == made.key


def test_labels_without_anything_are_exported_as_ever() -> None:
    text = extxyz.to_extxyz([label()], None)
    assert "Properties=species:S:1:pos:R:3:forces:R:3 energy" in text


def test_fixed_atoms_stay_in_the_bootstrap_and_so_does_the_cell(tmp_path: Path) -> None:
    """Their walkers' cell never changes; free atoms move as much as ever."""
    atoms = read(tmp_path, SALT)
    moved = structure.perturb(
        atoms,
        np.random.default_rng(1),
        displacement_A=0.1,
        strain=0.06,
        min_distance_fraction=0.6,
    )
    apart = np.abs(moved.positions - atoms.positions)
    assert np.array_equal(moved.cell.array, atoms.cell.array)
    assert not apart[::2].any()
    assert 0.05 < apart[1::2].max() <= 0.1
    assert carried.fixed(moved).tolist() == [True, False] * 4


def test_selective_dynamics_fix_atoms(tmp_path: Path) -> None:
    atoms = read(tmp_path, SALT)
    (tmp_path / "POSCAR").write_text(
        "salt\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa Cl\n1 1\nSelective\nDirect\n"
        "0 0 0 F F F\n.5 .5 .5 T T T\n"
    )
    found = structure.read_structure(tmp_path / "POSCAR")
    assert carried.fixed(found).tolist() == [True, False]
    three = SALT.replace("move_mask:L:1", "move_mask:L:3")
    three = three.replace(" F\n", " F F F\n").replace(" T\n", " T T T\n")
    assert carried.fixed(read(tmp_path, three)).tolist() == carried.fixed(atoms).tolist()


def test_masses_reach_every_deck_also_after_a_round(tmp_path: Path) -> None:
    heavy = '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:masses:R:1\n'
    atoms = read(tmp_path, f"{heavy}H 0 0 0 2.014\nCl 2 2 2 35.45\n")
    kept = steer.state_json(
        Walker("one-0", "one", 0, atoms, 0), next_step=10, frames=[(10, atoms)], broke=False
    )
    (tmp_path / "walkers.json").write_text(json.dumps([kept]))
    (state,) = steer.read_states(tmp_path / "walkers.json")
    for frame in (atoms, decks.lammps_frame(atoms), state.frames[0][1], state.came_from[1]):
        text = decks.data_file(structure.bare(frame), ("Cl", "H"), velocities=False)
        assert "1 35.45  # Cl\n2 2.014  # H\n" in text


@pytest.mark.parametrize("thermostat", ["langevin", "csvr", "nose-hoover"])
def test_a_deck_moves_what_is_not_fixed(tmp_path: Path, thermostat: str) -> None:
    campaign = loaded(tmp_path, SALT)
    system = campaign.settings.systems["one"].model_copy(update={"thermostat": thermostat})
    (tmp_path / "m.nequip.pth").touch()
    plan = SegmentPlan(
        round=1,
        generation=0,
        walkers=(Walker("one-0", "one", 0, campaign.structures["one"], 0),),
        systems={"one": system},
        settings=SegmentSettings(),
        histories={},
        model=tmp_path / "m.nequip.pth",
        type_names=campaign.types,
        seed=1,
    )
    deck = partitions.files(plan)["one-0.lmp"].decode()
    assert "group fixed id 1 3 5 7\n" in deck
    for line in deck.splitlines():  # nothing that integrates, heats or draws acts on all
        assert not re.match(r"(fix (integrate|thermostat)|velocity) all", line)


def test_plumed_finds_centres_of_mass_of_labelled_frames_with_the_structure_s_masses(
    tmp_path: Path,
) -> None:
    heavy = SALT.replace("move_mask:L:1", "masses:R:1").replace(" F\n", " 22.9898\n")
    campaign = loaded(tmp_path, heavy.replace(" T\n", " 37\n"))
    text = "c: COM ATOMS=1-4\nd: DISTANCE ATOMS=5,c\nMETAD ARG=d SIGMA=1 HEIGHT=1 PACE=9\n"
    settings = campaign.settings
    one = settings.systems["one"].model_copy(update={"plumed": text})
    campaign = replace(campaign, settings=settings.model_copy(update={"systems": {"one": one}}))
    opened = directory.open_campaign(tmp_path / "run", campaign.identity())
    with closing(opened):
        work = Work(
            campaign, opened, FakeLauncher(), discovery.find(EngineSettings(), {}), Watcher()
        )
        plain = label(structure.bare(crystal()), origin={"system": "one"})
        (task,) = locate.tasks(work, 0, [plain])
        request = json.loads(task.job(tmp_path).inputs[colvars.REQUEST])
    assert request["masses"] == {"Cl": 37.0, "Na": pytest.approx(22.9898, abs=1e-3)}


def test_a_mass_that_is_only_rounded_is_the_element_s() -> None:
    mass = carried.extras(
        carried.carry(Atoms("HO", pbc=True), {carried.MASSES: [2.014, 15.9990001]})
    )
    assert mass[carried.MASSES].tolist() == [2.014, 15.999]  # what is rounded is the element's


def test_moments_that_are_vectors_turn_with_the_crystal() -> None:
    atoms = crystal()
    atoms.set_cell(atoms.cell.array[[1, 2, 0]], scale_atoms=False)
    moments = np.random.default_rng(1).normal(size=(8, 3))
    carried.carry(atoms, {carried.MOMENTS: moments})
    turned = decks.lammps_frame(atoms)
    found = turned.arrays[carried.MOMENTS]
    for along in range(3):  # their components along the cell vectors are what they were
        before, after = moments @ atoms.cell.array[along], found @ turned.cell.array[along]
        assert after == pytest.approx(before, abs=1e-9)


@pytest.mark.parametrize(
    ("text", "reference", "ensemble", "reason"),
    [
        (SALT, "xtb: {}", "npt", r"systems.one: 4 atoms of the structure are fixed.*ensemble: nvt"),
        (IRON, "cp2k: {input: x.inp, command: [cp2k]}", "nvt", "MAGNETIZATION"),
        (
            IRON.replace("magmoms", "charges"),
            "cp2k: {input: x.inp, command: [cp2k]}",
            "nvt",
            r"sum of charges .* 4\.6 e.*write CHARGE",
        ),
        (
            IRON.replace("magmoms", "charges"),
            "xtb: {}",
            "nvt",
            r"sum of charges .* 4\.6 e.*integer",
        ),
        (
            IRON.replace("magmoms:R:1", "magmoms:R:3").replace(" 2.3", " 0 0 2.3"),
            "xtb: {}",
            "nvt",
            "non-collinear moments, which xTB",
        ),
    ],
)
def test_what_neither_walkers_nor_the_reference_can_use_is_refused(
    tmp_path: Path, text: str, reference: str, ensemble: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        loaded(tmp_path, text, reference, ensemble)


def test_the_campaign_s_identity_and_words_know_what_is_carried(tmp_path: Path) -> None:
    plain = loaded(tmp_path, SALT.replace(":move_mask:L:1", ""))
    held = loaded(tmp_path, SALT)
    assert plain.identity()["structures"] == {
        "one": structure.fingerprint(plain.structures["one"])[:16]
    }
    assert plain.identity() != held.identity()
    assert plain.remarks() == []
    assert held.remarks() == ["one has 4 of 8 atoms fixed"]
    row = next(iter(check._structures(held)))
    assert row.found.endswith("; 4 of 8 atoms fixed")


def test_two_magnetic_states_of_one_crystal_are_told(tmp_path: Path) -> None:
    (tmp_path / "two.extxyz").write_text(IRON.replace("1.435 2.3", "1.435 -2.3"))
    (tmp_path / "one.extxyz").write_text(IRON)
    text = CAMPAIGN.format(reference="xtb: {}", ensemble="nvt")
    other = "  two: {structure: two.extxyz, walkers: 1}\nresources"
    (tmp_path / "two.yaml").write_text(text.replace("resources", other, 1))
    *both, last = inputs.load(tmp_path / "two.yaml").remarks()
    assert len(both) == 2
    assert last.startswith("one and two start from different magnetic moments")


def test_what_ase_itself_has_written_is_carried(tmp_path: Path) -> None:
    atoms = everything((carried.MOMENTS, carried.CHARGES))
    ase.io.write(tmp_path / "salt.traj", atoms)
    found = structure.read_structure(tmp_path / "salt.traj")
    assert structure.fingerprint(found) == structure.fingerprint(atoms)
