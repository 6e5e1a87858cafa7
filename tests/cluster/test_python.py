"""The Python of a place, in each mode: our own programs run with it, all others are left alone."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_engines, slurm
from helpers.fakes import SALT, write_campaign
from helpers.probed import asked
from phasewalk.batch import driver, scripts
from phasewalk.campaign import inputs
from phasewalk.cluster import PlaceSettings, SiteSettings, words
from phasewalk.cluster.nodes import Node
from phasewalk.cluster.workstation import WorkstationLauncher
from phasewalk.jobs import Finished, Job, Launcher, run
from phasewalk.settings_files import parse
from phasewalk.sites import probe
from phasewalk.store import JOURNAL, LOCK

WITHIN = PlaceSettings(prefix=["in", "image"], python="/opt/python")


def job(*argv: str, **how: Any) -> Job:
    return Job("one", argv, Path("/w/one"), how.pop("kind", "train"), **how)


def test_only_our_own_programs_get_it() -> None:
    ours, theirs = job(sys.executable, "-m", "x"), job("lmp", sys.executable)
    assert words.program(ours, WITHIN, mpiexec=False) == ("in", "image", "/opt/python", "-m", "x")
    assert words.program(theirs, WITHIN, mpiexec=False) == ("in", "image", *theirs.argv)
    assert words.program(ours, PlaceSettings(), mpiexec=True) == ours.argv
    ranks = job(sys.executable, "x", mpiexec=("/opt/mpiexec",), ranks=2)
    found = words.program(ranks, WITHIN, mpiexec=True)
    assert found == ("in", "image", "/opt/mpiexec", "-n", "2", "/opt/python", "x")


def test_in_the_queue_it_is_in_the_container_and_mps_outside_of_it() -> None:
    assert scripts.words(job(sys.executable, "x"), WITHIN, step=False) == (
        *("in", "image", "/opt/python", "x"),
    )
    place = WITHIN.model_copy(update={"mps": True, "gpus": 1})
    found = scripts.words(job("lmp", kind="segment", mpiexec=("mpiexec",), ranks=2), place)
    assert found[-7:-3] == (
        sys.executable,
        "-I",
        "-S",
        str(words.__file__).replace("words", "mps_child"),
    )
    assert found[-3:] == ("in", "image", "lmp")


@pytest.mark.parametrize("mode", ["steps", "workstation"])
def test_a_job_runs_it(tmp_path: Path, mode: str) -> None:
    own = tmp_path / "own python"
    own.write_text(f'#!/bin/sh\nexec {sys.executable} -c "print(4)" "$@"\n')
    own.chmod(0o755)
    text = f"train: {{python: {json.dumps(str(own))}}}"
    launcher: Launcher = slurm.fake_steps(tmp_path, Node("n1", 2), text=text)
    if mode == "workstation":
        found = parse(f"site: x\nscheduler: none\n{text}", "s", SiteSettings)
        launcher = WorkstationLauncher(found, 2, (), os.environ)
    for kind, printed in (("train", "4\n"), ("label", "5\n")):
        one = Job(kind, (sys.executable, "-c", "print(5)"), tmp_path / kind, kind)
        ended = run(launcher, one).require_success()
        assert (ended.directory / Finished.STDOUT).read_text() == printed


@pytest.mark.parametrize(
    ("more", "first"), [("", sys.executable), ("driver: {python: /opt/driver}", "/opt/driver")]
)
def test_phasewalk_itself_has_one_of_its_own(tmp_path: Path, more: str, first: str) -> None:
    """As its prefix: it is outside of the container."""
    site = parse(f"site: x\ndefault: {{python: /opt/python}}\n{more}", "s", SiteSettings)
    argv = (sys.executable, "-m", "phasewalk", "run")
    line = driver.Driver(tmp_path, site, argv, LOCK, JOURNAL).script().splitlines()[-1]
    assert line.startswith(f"exec {first} -P -m phasewalk.batch")
    assert line.endswith(f"{first} -m phasewalk run")


def test_a_check_of_the_site_asks_it(tmp_path: Path) -> None:
    """The tiny model is made by the Python that runs the probe; it looks for no other one."""
    made = inputs.load(write_campaign(tmp_path, SALT))
    engines = fake_engines.engines(tmp_path)
    for kind in ("label", "train"):
        request = json.loads(probe.job(asked(kind), made, engines, tmp_path).inputs[probe.REQUEST])
        assert sys.executable not in request["programs"]
        assert all(step["argv"][0] == "" for step in request["steps"])
    assert words.at_python(probe.job(asked("train"), made, engines, tmp_path).argv, WITHIN)[0] == (
        "/opt/python"
    )
