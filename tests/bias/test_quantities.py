"""Units of PLUMED's variables on axes: by the UNITS line and the kind of each action."""

import pytest

from phasewalk.bias import quantities

METAL = "UNITS LENGTH=A ENERGY=eV TIME=fs\n"


@pytest.mark.parametrize(
    ("text", "name", "unit"),
    [
        ("v: VOLUME", "v", "nm³"),
        (f"{METAL}v: VOLUME", "v", "Å³"),
        ("UNITS LENGTH=0.1\nv: VOLUME", "v", "(0.1 nm)³"),
        ("UNITS LENGTH=Bohr\nc: CELL", "c.ax", "bohr"),
        (f"{METAL}d: DISTANCE ATOMS=1,2", "d", "Å"),
        (f"{METAL}d: DISTANCE ATOMS=1,2 COMPONENTS", "d.x", "Å"),
        (f"{METAL}d: DISTANCE ATOMS=1,2 SCALED_COMPONENTS", "d.a", ""),
        (f"{METAL}r: RMSD REFERENCE=x.pdb SQUARED", "r", "Å²"),
        ("t: TORSION ATOMS=1,2,3,4", "t", "rad"),
        ("t: TORSION ATOMS=1,2,3,4 COSINE", "t", ""),
        ("a: ANGLE ATOMS=1,2,3", "a", "rad"),
        ("c: COORDINATION GROUPA=1 GROUPB=2 R_0=0.3", "c", ""),
        (f"{METAL}e: ENERGY", "e", "eV"),
        (f"{METAL}v: VOLUME\nm: METAD ARG=v SIGMA=1 HEIGHT=1 PACE=1", "m.bias", "eV"),
        ("d: DISTANCE ATOMS=1,2\nb: DISTANCE ATOMS=3,4\ns: COMBINE ARG=d,b PERIODIC=NO", "s", "nm"),
        ("d: DISTANCE ATOMS=1,2\ns: COMBINE ARG=d POWERS=2 PERIODIC=NO", "s", None),
        ("d: DISTANCE ATOMS=1,2\nt: TORSION ATOMS=1,2,3,4\ns: COMBINE ARG=d,t PERIODIC=NO", "s",
         None),
        ("d: DISTANCE ATOMS=1,2\ns: CUSTOM ARG=d FUNC=x^3 PERIODIC=NO", "s", None),
        ("g: GYRATION ATOMS=1-9 TYPE=KAPPA2", "g", ""),
        ("g: GYRATION ATOMS=1-9 TYPE=TRACE", "g", None),
        ("v: VOLUME {", "v", None),
        (None, "v", None),
    ],
)  # fmt: skip
def test_units(text: str | None, name: str, unit: str | None) -> None:
    assert quantities.of(name, quantities.units(text)) == unit


def test_axes() -> None:
    assert quantities.axis("v", "Å³") == "v, Å³"
    assert quantities.axis("c", "") == "c"
    assert quantities.axis("s", None) == "s (unit of the PLUMED text)"


@pytest.mark.parametrize(
    ("text", "unit"),
    [("", "kJ/mol"), ("UNITS ENERGY=kcal/mol", "kcal/mol"), ("UNITS ENERGY=1.0", "kJ/mol"),
     ("UNITS ENERGY=4.184", "4.184 kJ/mol"), ("UNITS NATURAL", "natural units")],
)  # fmt: skip
def test_energies(text: str, unit: str) -> None:
    assert quantities.energy(text) == unit
