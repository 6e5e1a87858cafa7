"""PLUMED's messages (of 2.11, as it prints them) in words of the user's text."""

import numpy as np
import pytest
from ase import Atoms

from phasewalk.checks import plumed_words

TEXT = """UNITS LENGTH=A
v: VOLUME
m: METAD ARG=v SIGMA=1,2 HEIGHT=x PACE=5 BIASFACTOR=0.5
LOWER_WALLS ARG=v AT=1,2 KAPPA=1
c: CUSTOM ARG=v FUNC=x+*1 PERIODIC=NO
PRINT ARG=v STRIDE=10
PRINT ARG=c STRIDE=10
v: VOLUME"""
M = "ERROR in input to action METAD with label m : "


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            "terminate called after throwing an instance of 'PLMD::Plumed::ExceptionError'\n"
            "  what():  \n(core/Action.cpp:251) void PLMD::Action::error(const string&) const\n"
            f"{M}something is wrong\n(core/PlumedMain.cpp:1) at x\n",
            "line 3, METAD: something is wrong",
        ),
        (
            "+++ PLUMED error\n+++ at tools/Tools.h:172, function static void PLMD::x\n"
            "+++ message follows +++\n(tools/Tools.h:172) static void PLMD::Tools::convert(x)\n"
            "Error converting x\n",
            "line 3, METAD: Error converting x",
        ),
        (
            f"{M}cannot understand the following words from the input line : FOO",
            "line 3, METAD: FOO: not known to PLUMED (check spelling; keywords are written "
            "KEY=value, without blanks)",
        ),
        (
            f"{M}keyword PACE is compulsory for this action",
            "line 3, METAD: PACE is missing; add PACE=…",
        ),
        (
            f"{M}keyword HEIGHT could not be read correctly",
            "line 3, METAD: HEIGHT=x cannot be read; check its value",
        ),
        (
            f"{M}number of arguments does not match number of SIGMA parameters",
            "line 3, METAD: SIGMA=1,2: give one value for each variable in ARG",
        ),
        (
            f"{M}well tempered bias factor is nonsensical",
            "line 3, METAD: BIASFACTOR=0.5: must be greater than 1",
        ),
        (
            "ERROR in input to action LOWER_WALLS_SCALAR with label @1 : vector read in for "
            "keyword AT has the wrong size",
            "line 4, LOWER_WALLS: AT=1,2: give one value for each variable in ARG",
        ),
        (
            "ERROR in input to action VOLUME with label v : label v has been already used",
            "line 8, VOLUME: the label v is used twice; rename one",
        ),
        (
            'Parse error in expression "x+*1": unexpected token: *',
            'line 5, CUSTOM: Parse error in expression "x+*1": unexpected token: *',
        ),
        (
            "problem with setting the length unit, either use a numerical value",
            "line 1, UNITS: problem with setting the length unit, either use a numerical value",
        ),
        ("length unit should be positive", "line 1, UNITS: length unit should be positive"),
        ("Error converting  x+*1", "line 5, CUSTOM: Error converting  x+*1"),
        ("maximum in grid must be larger than minimum",) * 2,  # no action has a grid
        (
            'Action "VOLUME" is not known.',
            "line 2: the action VOLUME is not known to this PLUMED; check spelling and modules",
        ),
        (  # of one of two, and it is not known which
            "ERROR in input to action PRINT with label @3 : keyword STRIDE could not be read",
            "ERROR in input to action PRINT with label @3 : keyword STRIDE could not be read",
        ),
    ],
)
def test_what_plumed_says(said: str, words: str) -> None:
    assert plumed_words.complaint(said, TEXT) == words


def test_atoms_are_numbered_as_in_the_file() -> None:
    assert plumed_words.numbering(Atoms("AlAlOHHAl")) == "1-2 Al, 3 O, 4-5 H, 6 Al"
    many = Atoms(["Na", "Cl"] * 10, positions=np.zeros((20, 3)))
    assert plumed_words.numbering(many).endswith("12 Cl, … (8 more runs)")
