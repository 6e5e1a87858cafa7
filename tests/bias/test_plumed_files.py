"""Files that PLUMED texts name: read by all walkers, written by each under its own name."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from helpers.fakes import FakeLauncher, Watcher, write_campaign
from phasewalk.bias import colvars, plumed, plumed_files
from phasewalk.campaign import config, inputs
from phasewalk.campaign.tasks import Work
from phasewalk.engines import discovery
from phasewalk.engines.discovery import EngineSettings
from phasewalk.errors import InputError
from phasewalk.rounds import loop
from phasewalk.store import directory
from phasewalk.walkers import partitions

TEXT = """UNITS LENGTH=A ENERGY=kj/mol TIME=fs
v: VOLUME
m: METAD ARG=v SIGMA=5 HEIGHT=1 PACE=50
"""
CAMPAIGN = """\
campaign: salt   # mine
rounds: 1
systems:
  salt: {structure: salt.extxyz, walkers: 2, ensemble: npt, plumed: plumed.dat}
resources: {cores: 2}
"""
WRITERS = """v: VOLUME
COMMITTOR ARG=v BASIN_LL1=0 BASIN_UL1=1 FILE=basin
PRINT_NDX ATOMS=1-4 FILE=out/index.ndx
EFFECTIVE_ENERGY_DRIFT PRINT_STRIDE=10 FILE=drift
DUMPATOMS ATOMS=1-4 FILE=traj.xyz
h: HISTOGRAM ARG=v GRID_MIN=0 GRID_MAX=9 GRID_BIN=9 BANDWIDTH=1
DUMPGRID ARG=h
PRINT ARG=v FILE=COLVAR
"""


def test_what_is_written_has_a_name_for_each_walker() -> None:
    found = partitions.plumed_text(
        WRITERS, "w-1", metad={}, temperature_K=300, flush_every_steps=50
    )
    written = {a.name: a.get("FILE") for a in plumed.parse(found) if a.get("FILE")}
    assert written == {
        "COMMITTOR": "w-1.out.basin",
        "PRINT_NDX": "w-1.out.index.ndx",
        "EFFECTIVE_ENERGY_DRIFT": "w-1.out.drift",
        "DUMPATOMS": "w-1.out.traj.xyz",
        "DUMPGRID": "w-1.out.density",
        "PRINT": "w-1.colvar",
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "DUMPATOMS ATOMS=1 FILE=x\nDUMPMASSCHARGE FILE=x",
            "line 2, DUMPMASSCHARGE: the action on",
        ),
        ("a: SOMETHING DATAFILE=x", "DATAFILE is not supported"),
    ],
)
def test_what_all_walkers_might_write_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        plumed_files.check(text)
    assert words in str(error.value)


def test_what_is_read_is_found_by_its_key() -> None:
    text = (
        "MOLINFO STRUCTURE=a.pdb\nr: RMSD REFERENCE=refs/b.pdb\nEXTERNAL ARG=r FILE=grid\n"
        "g: GROUP NDX_FILE=i.ndx\nc: CONTACTMAP ATOMS1=1,2 REFERENCE1=0.5\n"
        "e: ENVIRONMENTSIMILARITY REFERENCE_1=e1.pdb REFERENCE_2=e2.pdb\nPRINT ARG=r FILE=no\n"
        "x: EUCLIDEAN_DISTANCE ARG1=r ARG2=r REFERENCE=r\nCONSTANT FILE=c.txt\n"
    )
    assert list(plumed_files.read(text)) == [
        "a.pdb", "refs/b.pdb", "grid", "i.ndx", "e1.pdb", "e2.pdb", "c.txt"
    ]  # fmt: skip


def test_variables_of_frames_need_what_is_read_and_write_nothing(tmp_path: Path) -> None:
    text = f"r: RMSD REFERENCE=r.pdb\nDUMPATOMS ATOMS=1 FILE=x\n{TEXT}"
    (names, reduced) = colvars.variables(text)
    assert names == ("v",)
    assert "DUMPATOMS" not in reduced
    assert "REFERENCE=r.pdb" in reduced


def campaign(folder: Path, text: str = TEXT, yaml: str = CAMPAIGN) -> inputs.Campaign:
    file = write_campaign(folder, yaml)
    (folder / "plumed.dat").write_text(text)
    return inputs.load(file, os.environ)


def test_a_files_name_stands_for_its_text_which_the_campaign_keeps(tmp_path: Path) -> None:
    found = campaign(tmp_path)
    assert found.settings.systems["salt"].plumed == TEXT
    kept = config.parse(found.text, "campaign.yaml")
    assert kept == found.settings
    assert found.text.startswith("campaign: salt   # mine\n")


@pytest.mark.parametrize(
    ("text", "yaml", "words"),
    [
        (TEXT, CAMPAIGN.replace("plumed.dat", "plumd.dat"),
         "(plumd.dat): file not found in the directory"),
        ("", CAMPAIGN, "(plumed.dat): the file does not contain PLUMED"),
        ("a: VOLUME\nINCLUDE FILE=x", CAMPAIGN, "(plumed.dat): PLUMED text, line 2, INCLUDE"),
        ("r: RMSD REFERENCE=r.pdb\nPRINT ARG=r", CAMPAIGN,
         "systems.salt: PLUMED text, line 1, RMSD: r.pdb: file not found in the directory"),
        ("r: RMSD REFERENCE=../r.pdb\nPRINT ARG=r", CAMPAIGN, "r.pdb: outside the directory"),
    ],
)  # fmt: skip
def test_files_that_are_not_there(tmp_path: Path, text: str, yaml: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        campaign(tmp_path, text, yaml)
    assert words in str(error.value)


def test_files_that_plumed_reads_reach_the_campaign(tmp_path: Path) -> None:
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs/r.pdb").write_bytes(b"END\n")
    found = campaign(tmp_path, f"{TEXT}r: RMSD REFERENCE=refs/r.pdb\nPRINT ARG=r\n")
    assert found.plumed_files == {"refs/r.pdb": b"END\n"}


def test_files_that_walkers_have_read_may_not_change(tmp_path: Path) -> None:
    (tmp_path / "r.pdb").write_bytes(b"END\n")
    found = campaign(tmp_path, f"{TEXT}r: RMSD REFERENCE=r.pdb\nPRINT ARG=r\n")
    opened = directory.open_campaign(tmp_path / "run", found.identity())
    with closing(opened):
        work = Work(found, opened, FakeLauncher(), discovery.find(EngineSettings(), {}), Watcher())
        loop.check_plumed_files(work)
        opened.write(f"{directory.PLUMED_FILES}/r.pdb", b"END\n")
        loop.check_plumed_files(work)
        opened.write(f"{directory.PLUMED_FILES}/r.pdb", b"OTHER\n")
        with pytest.raises(InputError, match=r"r\.pdb: this file differs"):
            loop.check_plumed_files(work)
