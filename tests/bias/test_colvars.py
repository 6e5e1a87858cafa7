"""What the METAD actions of a PLUMED text bias; the job, and what comes back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.fakes import crystal
from phasewalk.bias import colvars
from phasewalk.bias.colvars import Values
from phasewalk.bias.plumed import parse
from phasewalk.errors import EngineFailed, InputError, ParseError
from phasewalk.jobs import Finished, Job

SIMPLE = "v: VOLUME\nm: METAD ARG=v SIGMA=1 HEIGHT=1 PACE=5\nPRINT ARG=v,m.bias FILE=C\n"


def printed(arguments: str, number: int = 0) -> str:
    return f"PRINT ARG={arguments} STRIDE=1 FILE=printed.{number} FMT=%.15g"


@pytest.mark.parametrize(
    ("text", "names", "lines"),
    [
        (SIMPLE, ("v",), ["v: VOLUME", printed("v")]),
        (  # blocks, comments, LABEL=, white space in braces
            "# a comment with METAD ARG=x\nUNITS LENGTH=A # and { here\n"
            "VOLUME LABEL=v\nd: DISTANCE ...\n  ATOMS={1,\n   2}  # two\n... DISTANCE\n"
            "METAD ...\n LABEL=m ARG=v,d\n SIGMA={1\n 2} HEIGHT=1 PACE=5 # METAD\n...\n",
            ("v", "d"),
            ["UNITS LENGTH=A", "VOLUME LABEL=v", "d: DISTANCE ATOMS={1, 2}", printed("v,d")],
        ),
        (  # functions of functions
            "v: VOLUME\nr: MATHEVAL ARG=v FUNC=x^(1/3) PERIODIC=NO\n"
            "s: CUSTOM ARG=r,v VAR=a,b FUNC={a * b} PERIODIC=NO\n"
            "METAD ARG=s SIGMA=1 HEIGHT=1 PACE=5",
            ("s",),
            [
                "v: VOLUME", "r: MATHEVAL ARG=v FUNC=x^(1/3) PERIODIC=NO",
                "s: CUSTOM ARG=r,v VAR=a,b FUNC={a * b} PERIODIC=NO", printed("s"),
            ],
        ),
        (  # several METADs: in their order, each name once
            "v: VOLUME\nd: DISTANCE ATOMS=1,2 COMPONENTS\nMETAD ARG=d.x,v SIGMA=1,1 HEIGHT=1 PACE=5"
            "\nb: METAD ARG=v,d.z SIGMA=1,1 HEIGHT=1 PACE=5\n",
            ("d.x", "v", "d.z"),
            [
                "v: VOLUME", "d: DISTANCE ATOMS=1,2 COMPONENTS", printed("d.x,v"),
                printed("v,d.z", 1),
            ],
        ),
        (  # patterns stay where they are: what follows must not come in
            "d: DISTANCE ATOMS=1,2 COMPONENTS\nMETAD ARG=d.* SIGMA=1,1,1 HEIGHT=1 PACE=5\n"
            "e: DISTANCE ATOMS=1,3\nMETAD ARG=(d\\.[x,y]),e SIGMA=1,1,1 HEIGHT=1 PACE=5\n"
            "METAD ARG=* SIGMA=1 HEIGHT=1 PACE=5\nf: DISTANCE ATOMS=1,4\n",
            ("d.*", "(d\\.[x,y])", "e", "*"),
            [
                "d: DISTANCE ATOMS=1,2 COMPONENTS", printed("d.*"), "e: DISTANCE ATOMS=1,3",
                printed("(d\\.[x,y]),e", 1), printed("*", 2),
            ],
        ),
        (  # biases, output, and what depends on them; also through others
            "v: VOLUME\nw: RESTRAINT ARG=v AT=1 KAPPA=1\nRESTART\nFLUSH STRIDE=1\n"
            "UPPER_WALLS ARG=v AT=1 KAPPA=1 LABEL=u\nLOWER_WALLS ARG=v AT=1 KAPPA=1\n"
            "c: COMBINE ARG=w.bias,u.bias PERIODIC=NO\nPRINT ARG=*\n"
            "k: CUSTOM ARG=c FUNC=x+1 PERIODIC=NO\nBIASVALUE ARG=k\n"
            "MOVINGRESTRAINT ARG=v STEP0=0 AT0=1 KAPPA0=1\nEXTERNAL ARG=v FILE=x LABEL=z\n"
            "w2: CUSTOM ARG=v FUNC=w+x VAR=x PERIODIC=NO\n"
            "METAD ARG={v w2} SIGMA=1,1 HEIGHT=1 PACE=5\n",
            ("v", "w2"),
            [
                "v: VOLUME", "w2: CUSTOM ARG=v FUNC=w+x VAR=x PERIODIC=NO", printed("{v w2}"),
            ],
        ),
        ("e: ENERGY\nv: VOLUME\nMETAD ARG=v SIGMA=1 HEIGHT=1 PACE=5\nPRINT ARG=e FILE=E", ("v",),
         ["e: ENERGY", "v: VOLUME", printed("v")]),
        ("v: VOLUME\nRESTRAINT ARG=v AT=1 KAPPA=1\nPRINT ARG=v", (), []),
        ("", (), []),
    ],
)  # fmt: skip
def test_what_is_biased(text: str, names: tuple[str, ...], lines: list[str]) -> None:
    found, reduced = colvars.variables(text)
    assert found == names
    assert reduced.splitlines() == lines
    assert len(parse(reduced)) == len(lines)
    assert colvars.variables(reduced) == ((), "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("METAD SIGMA=1 HEIGHT=1 PACE=5", "line 1, METAD: no ARG"),
        ("v: VOLUME\nm: METAD ARG=v PACE=5\nMETAD ARG=m.bias PACE=5", "line 3, METAD: m depends"),
        (
            "v: VOLUME\nw: RESTRAINT ARG=v\nc: COMBINE ARG=w.bias\nMETAD ARG=c PACE=5",
            "line 4, METAD: c depends on a bias",
        ),
        ("e: ENERGY\nMETAD ARG=e PACE=5", r"it needs ENERGY \(line 1\), which cannot be computed"),
        ("e: ENERGY\nc: COMBINE ARG=e\nMETAD ARG=c PACE=5", r"needs ENERGY \(line 1\)"),
        ("e: ENERGY\nMETAD ARG=* PACE=5", r"needs ENERGY \(line 1\)"),
        ("e: ENERGY\nc: COMBINE ARG=(.*)\nMETAD ARG=c PACE=5", r"needs ENERGY \(line 1\)"),
        ("PBMETAD ARG=v FILE=x", "cannot be continued"),
        ("METAD ARG=v PACE=5 ...", "is not closed"),
    ],
)
def test_what_no_frame_tells(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        colvars.variables(text)
    assert str(caught.value).isprintable()


def make(text: str, frames: Any, directory: Path = Path("d")) -> Job:
    return colvars.job("cv", text, frames=frames, directory=directory, env={"A": "b"})


def test_the_job_holds_all_that_plumed_needs() -> None:
    atoms = crystal()
    atoms.set_masses([25.0 if symbol == "Na" else 35.5 for symbol in atoms.symbols])
    job = make(SIMPLE, [atoms, atoms])
    request = json.loads(job.inputs[colvars.REQUEST])
    assert request["masses"] == {"Cl": 35.5, "Na": 25.0}
    assert request["arguments"] == [["v"]]
    assert len(request["frames"]) == 2
    assert job.inputs[colvars.PLUMED].decode() == f"v: VOLUME\n{printed('v')}\n"
    assert job.env == {"A": "b"}


def test_jobs_that_cannot_be() -> None:
    with pytest.raises(InputError, match="no METAD, so there is no variable"):
        make("v: VOLUME", [crystal()])
    with pytest.raises(InputError, match="no frames"):
        make(SIMPLE, [])
    with pytest.raises(InputError, match="the elements of frame 2 or their order differ"):
        make(SIMPLE, [crystal(), crystal("KCl")])


def finished(directory: Path, text: str | None, returncode: int = 0) -> Finished:
    if text is not None:
        (directory / colvars.RESULT).write_text(text)
    return Finished(make(SIMPLE, [crystal()], directory), returncode, 1.0)


def test_variables_are_read(tmp_path: Path) -> None:
    found = colvars.read(finished(tmp_path, '{"names": ["v", "w"], "values": [[1, 2], [3, 4]]}'))
    assert found.names == ("v", "w")
    assert np.array_equal(found.values, [[1.0, 2.0], [3.0, 4.0]])


@pytest.mark.parametrize(
    "text",
    [
        None, "", "{", "[]", '{"names": [], "values": []}', '{"names": ["v"], "values": [[1, 2]]}',
        '{"names": ["v"], "values": [1]}', '{"names": ["v"], "values": [[NaN]]}',
    ],
)  # fmt: skip
def test_variables_that_are_none(tmp_path: Path, text: str | None) -> None:
    with pytest.raises(ParseError, match="not a valid result of PLUMED"):
        colvars.read(finished(tmp_path, text))


def test_a_plumed_that_failed(tmp_path: Path) -> None:
    (tmp_path / "stderr.txt").write_text("frame 2 of 3: PLUMED says no\n")
    with pytest.raises(EngineFailed, match="frame 2 of 3: PLUMED says no"):
        colvars.read(finished(tmp_path, None, 1))


def test_a_variable_is_shown_with_how_it_changes() -> None:
    found = Values(("v", "d"), np.array([[100.0, 1.0], [104.0, 1.2], [97.0, 0.9]]))
    text = "v: VOLUME\nd: DISTANCE ATOMS=1,2\nMETAD ARG=v,d SIGMA=12,500 PACE=5"
    told = colvars.moved(found, text)
    assert "v = 100 (97 to 104 with atoms displaced), d = 1 (0.9 to 1.2" in told
    assert "d changes by less than 0.005 × SIGMA=500" in told
    assert "v hardly" not in told


def test_a_variable_that_does_not_change_is_an_error() -> None:
    """As one that counts atoms by a function that is 1 (or 0) everywhere."""
    found = Values(("v", "c"), np.array([[100.0, 32.0], [104.0, 32.0]]))
    with pytest.raises(InputError, match="c is 32 in the start structure and in 1 frames"):
        colvars.moved(found, "v: VOLUME\nMETAD ARG=v,c SIGMA=12,1 PACE=5")
