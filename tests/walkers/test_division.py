"""Which walkers are in which launch."""

from pathlib import Path

import pytest
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st

from phasewalk.errors import InputError
from phasewalk.walkers import division
from phasewalk.walkers.segment import SegmentPlan, SegmentSettings, SystemSettings, Walker

ARGON = bulk("Ar")
METAD = "v: VOLUME\nMETAD ARG=v SIGMA=0.1 HEIGHT=1 PACE=10"


def plan(**systems: tuple[int, str]) -> SegmentPlan:
    """A segment: system → number of walkers, bias_sharing."""
    settings = {
        name: SystemSettings.model_validate(
            {
                "structure": "a",
                "walkers": n,
                "ensemble": "npt",
                "bias_sharing": how,
                "plumed": METAD,
            }
        )
        for name, (n, how) in systems.items()
    }
    walkers = tuple(
        Walker(f"{name}-{i}", name, i, ARGON, 0)
        for name, (n, _) in systems.items()
        for i in range(n)
    )
    files = Path("model.nequip.pth")
    return SegmentPlan(1, 0, walkers, settings, SegmentSettings(), {}, files, ("Ar",), 1)


def sizes(made: SegmentPlan, most: int | None) -> list[int]:
    return [len(part.walkers) for part in division.parts(made, most)]


def test_launches_are_of_about_the_same_size() -> None:
    made = plan(a=(30, "merged"))
    assert sizes(made, None) == sizes(made, 30) == [30]
    assert sizes(made, 29) == [15, 15]
    assert sizes(made, 16) == [15, 15]
    assert sizes(made, 14) == [10, 10, 10]
    assert sizes(made, 1) == [1] * 30


def test_walkers_that_share_hills_stay_together() -> None:
    made = plan(a=(3, "merged"), b=(4, "live"), c=(1, "mpi"))
    parts = division.parts(made, 4)
    assert [sorted({w.system for w in part.walkers}) for part in parts] == [["a"], ["b"], ["c"]]
    assert division.largest(made.systems, 4) == 4
    with pytest.raises(InputError, match=r"b: its 4 walkers share hills .* at most 3 fit into one"):
        division.parts(made, 3)


def test_a_segment_that_was_begun_stays_divided_if_that_still_fits() -> None:
    made = plan(a=(6, "own"))
    before = [[walker.id for walker in part.walkers] for part in division.parts(made, 2)]
    for most, expected in ((4, [2, 2, 2]), (2, [2, 2, 2]), (1, [1] * 6), (6, [6])):
        assert [len(part.walkers) for part in division.parts(made, most, before)] == expected
    other = [["a-0", "a-1"], ["a-2", "b-0"]]
    assert [len(part.walkers) for part in division.parts(made, 4, other)] == [3, 3]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from(["own", "merged", "live"])), min_size=1),
    st.integers(9, 30),
)
def test_each_walker_is_in_one_launch_and_none_is_too_large(
    given_: list[tuple[int, str]], most: int
) -> None:
    made = plan(**{f"s{i}": one for i, one in enumerate(given_)})
    parts = division.parts(made, most)
    ids = [walker.id for part in parts for walker in part.walkers]
    assert ids == [walker.id for walker in made.walkers]
    assert all(len(part.walkers) <= most for part in parts)
    assert max(len(part.walkers) for part in parts) <= division.largest(made.systems, most)
    assert all(part.members.get(name, ids) for part in parts for name in part.systems)
