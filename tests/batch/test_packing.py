"""Which labels share a batch job."""

from pathlib import Path
from typing import Any

import pytest

from phasewalk.batch.packing import Line, Times, Wait, plan
from phasewalk.cluster import SiteSettings
from phasewalk.jobs import Job


def label(number: int) -> Job:
    return Job(f"label {number}", ("x",), Path(f"/w/{number}"), "label")


def packs(count: int, *, mean_s: float | None = None, free: int = 50, **given: Any) -> list[int]:
    """Number of labels of each batch job."""
    site, line, times = SiteSettings(site="x", **given), Line(), Times()
    if mean_s is not None:
        times.add(label(0), mean_s)
    for number in range(count):
        line.add(Wait(label(number)))
    found = []
    while line:
        members = line.next(site, times, free=max(1, free - len(found)))
        assert plan(members, site).at_a_time == min(given.get("pack_cores", 1), len(members))
        found.append(len(members))
    return found


@pytest.mark.parametrize("mean_s", [None, 60.0, 3600.0])
def test_a_whole_node_is_filled(mean_s: float | None) -> None:
    """It costs the same with one label as with all that fit, however long they take."""
    assert packs(10, mean_s=mean_s, pack_cores=4) == [4, 4, 2]


def test_more_labels_than_jobs_follow_each_other_on_a_node() -> None:
    assert packs(40, mean_s=60.0, pack_cores=4, free=2) == [20, 20]
    assert max(packs(40, mean_s=900.0, pack_cores=4, free=2)) == 8  # half an hour


def test_where_nodes_are_shared_no_core_waits_for_another() -> None:
    assert packs(5, mean_s=60.0) == [1] * 5
    assert packs(9, mean_s=60.0, free=3) == [3, 3, 3]
    assert packs(5, free=1) == [1] * 5  # nobody knows how long they take


def test_each_may_be_a_job_of_its_own() -> None:
    assert packs(3, mean_s=60.0, pack_min=0, pack_cores=4) == [1, 1, 1]
