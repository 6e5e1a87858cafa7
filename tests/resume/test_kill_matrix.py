"""A campaign that is killed at its journal records, and one that is not (`make test-long`).

A record is killed in the middle of its line (the task counts as not done) or right after it (it
counts): every fourth of a start, or each one in both ways. What was recorded is never started
again; both campaigns end with the same records. `test_resume.py` kills once in each stage, and
`test_kills.py` fake engines at every record and every change of the disk.
"""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers import campaigns
from helpers.campaigns import TinyCampaign

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(1500),
]
KILLED_RUN = Path(campaigns.__file__).with_name("killed_run.py")
MAX_STARTS = 80


@dataclass
class Killed:
    """The campaign, how often it was started, the log of starts and records, and the stride."""

    campaign: TinyCampaign
    codes: list[int]
    log: list[str]
    every: int = 0


def start(campaign: TinyCampaign, when: str, log: Path, nth: int = 1) -> int:
    argv = ["run", str(campaign.file), "--dir", str(campaign.root)]
    helpers = str(KILLED_RUN.parents[1])
    done = subprocess.run(
        [sys.executable, str(KILLED_RUN), when, str(nth), str(log), *argv],
        cwd=campaign.folder,
        env={**campaign.env(), "PYTHONPATH": f"{helpers}:{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, -9), done.stdout + done.stderr
    return done.returncode


@pytest.fixture(scope="module", params=[1, 4])
def killed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Killed:
    """Killed in the middle of the n-th record of a start, then after the n-th of the next …"""
    folder, every = tmp_path_factory.mktemp("killed"), int(request.param)
    campaign = campaigns.make(folder / "matrix", ["NaCl"], rounds=1)
    log, codes = folder / "log", []
    while len(codes) < MAX_STARTS and 0 not in codes:
        codes.append(start(campaign, ("middle", "after")[len(codes) % 2], log, every))
        assert campaigns.gone(campaign)
    return Killed(campaign, codes, log.read_text().splitlines(), every)


def test_it_was_killed_at_its_records_and_ended(killed: Killed) -> None:
    records = killed.campaign.records()
    assert killed.codes[-1] == 0
    assert len(records) >= 20
    # A pair of starts gets `every` records on by the second, and `every` - 1 by the first.
    assert killed.codes.count(-9) == 2 * len(records) // (2 * killed.every - 1)


def test_nothing_that_was_recorded_is_started_again(killed: Killed) -> None:
    places: dict[str, str] = {}
    finished: set[str] = set()
    starts = 0
    for line in killed.log:
        kind, _, rest = line.partition(" ")
        if kind == "place":
            task, place = rest.split("\t")
            places[task] = place
        elif kind == "journal":
            finished.add(places.get(rest, rest))
        else:
            starts += 1
            assert rest not in finished, f"{rest} was done and started again"
    assert starts > len(finished) / 2  # the log is no empty one


def test_no_label_is_paid_twice(killed: Killed) -> None:
    """Not even where the kill came after the result and before its record."""
    calls = Counter(killed.campaign.paid())
    assert set(calls.values()) == {1}
    assert len(calls) == 8 + 2 + 2  # labels, and two isolated atoms


def test_the_same_campaign_comes_out(killed: Killed, learned: TinyCampaign) -> None:
    campaigns.assert_same(killed.campaign, learned)
