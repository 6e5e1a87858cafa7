"""Where jobs fit: on one node or several, with GPUs and memory, and before whom."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from phasewalk.cluster import Need
from phasewalk.cluster.nodes import Node, Nodes, Placement, largest_share

CPU = Node("c", 4, 0, 4000)
GPU = Node("g", 4, 2, 4000)


def nodes(*given: Node) -> Nodes:
    return Nodes(given)


def need(ranks: int, threads: int = 1, **how: object) -> Need:
    return Need(ranks, threads, on=(0, 1, 2), **how)  # type: ignore[arg-type]


def where(placement: Placement | None) -> list[tuple[int, int]]:
    return [(share.node, share.cores) for share in placement.shares] if placement else []


def occupied(made: Nodes, name: str, wanted: Need) -> None:
    placement = made.place(wanted)
    assert placement is not None
    made.take(Path(name), placement.shares)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (need(1), [(0, 1)]),
        (need(4), [(0, 4)]),
        (need(1, 5), []),
        (need(5, spread=True), [(0, 3), (1, 3)]),  # as few nodes as possible, in equal parts
        (need(12, spread=True), [(0, 4), (1, 4), (2, 4)]),
        (need(13, spread=True), []),
        (need(13, spread=True, crowd=True), [(0, 4), (1, 4), (2, 4)]),
        (need(6, spread=True, nodes=3), [(0, 2), (1, 2), (2, 2)]),
        (need(1, 9, crowd=True), [(0, 4)]),
        (need(2, gpus=1), [(2, 2)]),
        (need(2, gpus=3), []),
        (need(1, memory_MB=5000), []),
        (need(9, background=True), [(0, 0)]),
    ],
)
def test_where_a_job_fits_if_nothing_runs(wanted: Need, expected: list[tuple[int, int]]) -> None:
    made = nodes(CPU, CPU, GPU)
    assert where(made.place(wanted)) == expected
    assert made.fits_ever(wanted) == bool(expected)


def test_small_jobs_fill_the_fullest_node_so_that_large_ones_find_room() -> None:
    made = nodes(CPU, CPU, GPU)
    for number in range(3):
        occupied(made, f"{number}", need(1))
    assert where(made.place(need(4))) == [(1, 4)]
    assert where(made.place(need(2, gpus=2))) == [(2, 2)]


def test_memory_and_gpus_are_counted_like_cores() -> None:
    made = nodes(GPU, GPU, GPU)
    occupied(made, "a", need(1, gpus=2, memory_MB=3000))
    assert where(made.place(need(1, gpus=1))) == [(1, 1)]
    assert where(made.place(need(1, memory_MB=1500))) == [(1, 1)]
    assert where(made.place(need(1, memory_MB=500))) == [(0, 1)]
    made.release(Path("a"))
    assert made.free() == (GPU, GPU, GPU)


def test_room_is_kept_for_a_job_that_waits_but_the_rest_is_used() -> None:
    """It waits for GPUs: cores that it does not need are not idle meanwhile."""
    made = nodes(replace(GPU, cores=8))
    only = {"on": (0,)}
    walkers, training = replace(need(2, gpus=2), **only), replace(need(1, 3, gpus=1), **only)
    occupied(made, "walkers", walkers)
    assert made.place(training) is None
    labels = 0
    while (found := made.place(replace(need(1), **only), training)) is not None:
        made.take(Path(f"label {labels}"), found.shares)
        labels += 1
    assert labels == 3  # 8 - 2 of the walkers - 3 that are kept
    made.release(Path("walkers"))
    assert where(made.place(training)) == [(0, 3)]


def test_jobs_stay_in_one_part_of_a_heterogeneous_allocation() -> None:
    made = nodes(CPU, replace(CPU, group=1), replace(CPU, group=1))
    assert where(made.place(need(5, spread=True))) == [(1, 3), (2, 3)]
    assert made.place(need(9, spread=True)) is None


def test_a_narrowed_job_leaves_its_cores_but_not_its_gpus() -> None:
    made = nodes(CPU, CPU, GPU)
    occupied(made, "a", need(4, gpus=2))
    made.narrow(Path("a"), 1)
    assert (made.free()[2].cores, made.free()[2].gpus) == (3, 0)
    made.narrow(Path("unknown"), 1)


@pytest.mark.parametrize("seed", range(10))
def test_no_more_is_ever_taken_than_there_is(seed: int) -> None:
    draw = random.Random(seed)
    made, running = nodes(CPU, GPU, replace(GPU, cores=7, memory_MB=9000)), list[Path]()
    for number in range(300):
        if running and draw.random() < 0.4:
            made.release(running.pop(draw.randrange(len(running))))
            continue
        wanted = need(
            *(draw.randint(1, 6), draw.randint(1, 3)),
            gpus=draw.choice((0, 0, 1, 2)), memory_MB=draw.choice((0.0, 500.0, 3000.0)),
            spread=draw.random() < 0.5, crowd=draw.random() < 0.2,
        )  # fmt: skip
        before = need(4, gpus=2) if draw.random() < 0.3 else None
        placement = made.place(wanted, before)
        if placement is not None:
            made.take(Path(str(number)), placement.shares)
            running.append(Path(str(number)))
            if not placement.crowded:
                cores = sum(share.cores for share in placement.shares)
                assert cores >= wanted.ranks * wanted.threads
        for one in made.free():
            assert min(one.cores, one.gpus, one.memory_MB) >= 0


def test_the_size_of_a_job_is_its_largest_share() -> None:
    made = nodes(CPU, CPU, GPU)
    assert largest_share(need(1), made.place(need(1)), made.nodes) == pytest.approx(1 / 12)
    assert largest_share(need(1, gpus=1), made.place(need(1, gpus=1)), made.nodes) == 0.5
    assert largest_share(need(99), None, made.nodes) == float("inf")
