"""What a labelled file says: numbers, or one line that names frame, number and limit."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones

from helpers.fakes import crystal, label
from phasewalk.errors import InputError
from phasewalk.labels import conventions, label_energies
from phasewalk.labels.label import Label
from phasewalk.validation.accuracy import read_labelled

VOLUME = 5.64**3
STRESS = 'stress="-0.01 0 0 0 0 0 0 0 0"'


def frame(header: str = f"energy=-24.0 {STRESS}", columns: str = "R:3", row: str = "0 0 0") -> str:
    places = zip(crystal().symbols, crystal().positions.tolist(), strict=True)
    rows = [f"{symbol} {x} {y} {z} {row}" for symbol, (x, y, z) in places]
    head = f'Lattice="5.64 0 0 0 5.64 0 0 0 5.64" pbc="T T T" {header}'
    return "\n".join(["8", f"{head} Properties=species:S:1:pos:R:3:forces:{columns}", *rows, ""])


def read(folder: Path, *frames: str) -> list[Label]:
    path = folder / "data.extxyz"
    path.write_text("".join(frames))
    return read_labelled(path)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (frame(f"energy=abc {STRESS}"), "frame 2: energy is not a number: 'abc'"),
        (frame(f"energy=True {STRESS}"), "frame 2: energy is not a number: True"),
        (frame(f"energy {STRESS}"), "frame 2: energy is not a number: True"),
        (frame(f'energy="-24.0 eV" {STRESS}'), "frame 2: energy is not a number"),
        (frame(f"energy=-2.4D1 {STRESS}"), "frame 2: energy is not a number"),
        (frame(f'energy="1 2" {STRESS}'), "frame 2: energy must be one number"),
        (frame(f"energy=nan {STRESS}"), "frame 2: energy contains a value that is not finite"),
        (
            frame(f"energy=-2405e-2 {STRESS}"),
            r"frame 2 \(line 12\): energy contains -2405e-2, which",
        ),
        (frame(columns="L:3", row="T F T"), r"frame 2 \(line 12\): forces is not a number"),
        (frame(columns="R:2", row="1 2"), r"frame 2: forces must be 8 × 3 number\(s\), not \(8, 2"),
        (frame(row="nan 0 0"), "frame 2: forces contains a value that is not finite"),
        (frame(row="a b c"), r"could not convert string to float: 'a'\) \(frame 2\)"),
        (frame('energy=-24.0 stress="0 1 0 0 0 0 0 0 0"'), "stress is not symmetric"),
        (
            frame('energy=-24.0 stress="0 nan 0 0 0 0 0 0 0"'),
            r"\(line 12\): stress contains a value that",
        ),
        (frame('energy=-24.0 virial="0 1 0 0 0 0 0 0 0"'), "frame 2: the virial is not symmetric"),
        (frame(f"REF_energy=-24.0 {STRESS}"), "no energy; .* found REF_energy; rename the right"),
        (frame(f"free_energy=-24.0 {STRESS}"), "no energy; .* found free_energy; rename"),
    ],
)
def test_what_is_no_label(tmp_path: Path, wrong: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as caught:
        read(tmp_path, frame(), wrong)
    assert "data.extxyz" in str(caught.value)
    assert "\n" not in str(caught.value)


def virial(xx: float) -> str:
    return f'virial="{xx * VOLUME:.6f} 0 0 0 0 0 0 0 0"'


def test_stress_and_virial_agree_or_the_frame_is_refused(tmp_path: Path) -> None:
    (both,) = read(tmp_path, frame(f"energy=-24.0 {STRESS} {virial(0.01)}"))
    (one,) = read(tmp_path, frame(f"energy=-24.0 {virial(0.01)}"))
    assert both.stress[0] == -0.01
    assert one.stress[0] == pytest.approx(-0.01)
    with pytest.raises(InputError, match="they differ in sign") as caught:
        read(tmp_path, frame(f"energy=-24.0 {STRESS} {virial(-0.01)}"))
    assert "xx of the stress is -0.01 eV/Å³, and −virial/volume is 0.01" in str(caught.value)
    with pytest.raises(InputError, match="stress and virial are inconsistent"):
        read(tmp_path, frame(f"energy=-24.0 {STRESS} {virial(0.0105)}"))


def test_energies_under_several_names_are_said(tmp_path: Path) -> None:
    found = read(tmp_path, frame(f"energy=-24.0 free_energy=-24.5 dft_energy=-24.0 {STRESS}"))
    assert label_energies.notices(found) == [
        "`energy` is used; `free_energy` is also present and differs by up to 0.5 eV"
    ]


def test_one_frame_63_ev_per_atom_off_is_refused(tmp_path: Path) -> None:
    good = [frame(f"energy={-24 - 0.01 * i} {STRESS}") for i in range(9)]
    with pytest.raises(InputError, match=r"frame 4: .* is -63 eV/atom from the others .*limit 20"):
        read(tmp_path, *good[:3], frame(f"energy={-24.03 - 63 * 8} {STRESS}"), *good[3:])


def lj(structure: str, a: float, seed: int, size: int = 1) -> Label:
    atoms = bulk("Cu", structure, a=a, cubic=True) * (size, 1, 1)
    atoms.rattle(0.05, seed=seed)
    atoms.calc = LennardJones(sigma=2.4, epsilon=0.5, rc=6.0, smooth=True)
    values = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
    return label(atoms, **values, stress=atoms.get_stress())


CELLS = (("fcc", 3.6), ("bcc", 2.9), ("sc", 2.5), ("diamond", 5.4))
PHASES = [lj(name, a * s, 3) for name, a in CELLS for s in (0.78, 0.9, 1, 1.2, 2)]
NEAR = [lj("fcc", 3.6 + 0.01 * seed, seed) for seed in range(8)]


def off(labels: Sequence[Label], at: int, eV_per_atom: float) -> list[Label]:
    one = labels[at]
    wrong = replace(one, energy=one.energy + eV_per_atom * len(one.atoms))
    return [*labels[:at], wrong, *labels[at + 1 :]]


def test_phases_strained_and_torn_apart_are_never_refused() -> None:
    """What is pressed together lies high above the others, and its forces and stress say so."""
    energies = [one.energy / len(one.atoms) for one in PHASES]
    assert max(energies) - min(energies) > 60
    label_energies.check_energies(PHASES, "data")
    with pytest.raises(InputError, match="frame 3: "):
        label_energies.check_energies(off(PHASES, 2, -63), "data")


def test_a_smaller_error_shows_beside_a_near_frame() -> None:
    label_energies.check_energies(NEAR, "data")
    with pytest.raises(InputError, match=r"frame 4: .* from the work of forces and stress"):
        label_energies.check_energies(off(NEAR, 3, 0.6), "data")


def test_elements_are_fitted_away() -> None:
    """Salts that differ by 3 keV per atom."""
    heavy = [label(crystal("KCl", 6.29), energy=-24_000.0 - i) for i in range(4)]
    mixed = [*(label(crystal(), energy=-24.0 - i) for i in range(4)), *heavy]
    label_energies.check_energies(mixed, "data")
    assert label_energies.notices(mixed) == []
    with pytest.raises(InputError, match="frame 6: "):
        label_energies.check_energies(off(mixed, 5, 63.0), "data")


def test_what_is_far_is_said() -> None:
    far = [label(crystal("NaCl", 4.6 + 1.2 * i), energy=-24.0) for i in range(4)]
    label_energies.check_energies(off(far, 2, 5.0), "data")
    (line,) = label_energies.notices(off(far, 2, 5.0))
    assert line == "frame(s) 3 differ by 5 eV/atom from all others; check them"


def test_energies_per_atom_are_noticed() -> None:
    both = [lj("fcc", 3.6, 1), lj("fcc", 3.6, 2, size=2)]
    assert label_energies.notices(both) == []
    per_atom = [replace(one, energy=one.energy / len(one.atoms)) for one in both]
    (line,) = label_energies.notices(per_atom)
    assert line.startswith("energies look like energies per atom: Cu has -")
    many = [lj("fcc", 3.7, seed, size=2) for seed in range(12)]
    with pytest.raises(InputError, match="it looks like energies per atom: multiply them by 8"):
        conventions.check_conventions([replace(o, energy=o.energy / 8) for o in many], "data")
