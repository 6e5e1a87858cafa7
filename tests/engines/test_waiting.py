"""Which waiting job is next: as by the rule applied to all of them, for any number of them."""

import random
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from phasewalk.engines.local import Cores
from phasewalk.engines.waiting import PATIENCE, Waiting
from phasewalk.jobs import Job


def job(name: int, cores: int = 1) -> Job:
    return Job(str(name), ("x",), Path(str(name)), threads=max(1, cores), background=cores == 0)


def start(waiting: Waiting, busy: int) -> Job | None:
    """The next job while others occupy some cores."""
    assert isinstance(waiting.machines, Cores)
    waiting.machines._taken = {Path("others"): busy}
    found = waiting.start()
    return found and found[0]


@dataclass
class Plain:
    """The rule in its plainest form: all jobs are looked at each time."""

    cores: int
    jobs: list[Job] = field(default_factory=list)
    passed: dict[str, int] = field(default_factory=dict)

    def start(self, busy: int) -> Job | None:
        def size(one: Job) -> int:
            return 0 if one.background else one.cores

        overdue = [one for one in self.jobs if self.passed.get(one.name, 0) >= PATIENCE]
        fits = [
            one for one in overdue[:1] or self.jobs if not busy or busy + size(one) <= self.cores
        ]
        if not fits:
            return None
        chosen = max(fits, key=lambda one: min(size(one), self.cores))
        for one in self.jobs[: self.jobs.index(chosen)]:
            self.passed[one.name] = self.passed.get(one.name, 0) + 1
        self.jobs.remove(chosen)
        return chosen


@pytest.mark.parametrize("seed", range(20))
def test_the_order_is_that_of_the_plain_rule(seed: int) -> None:
    """Jobs of all sizes come, start, end, and are cancelled, in any order."""
    draw = random.Random(seed)
    waiting, plain, running = Waiting(Cores(4)), Plain(4), list[int]()
    number = 0
    for _ in range(400):
        what = draw.random()
        if what < 0.45:
            size = draw.choice((0, 1, 1, 1, 2, 3, 4, 6))
            waiting.add(job(number, size))
            plain.jobs.append(job(number, size))
            number += 1
        elif what < 0.5 and plain.jobs:
            gone = draw.choice(plain.jobs)
            waiting.cancel(gone.directory)
            plain.jobs.remove(gone)
        elif what < 0.7 and running:
            running.pop(draw.randrange(len(running)))
        else:
            found = start(waiting, sum(running))
            assert found == plain.start(sum(running))
            if found is not None:
                running.append(0 if found.background else found.cores)
        assert len(waiting) == len(plain.jobs)
    assert number > 100


def test_ten_thousand_waiting_jobs_start_in_their_order() -> None:
    """Two sizes on four cores: large ones first, until the patience of a small one ends."""
    waiting = Waiting(Cores(4))
    began = time.process_time()
    for number in range(10_000):
        waiting.add(job(number, 4 if number % 2 else 1))
    started = []
    while (one := start(waiting, 0)) is not None:
        started.append(int(one.name))
    assert time.process_time() - began < 5.0  # looking at all of them each time takes minutes
    large = 2 * PATIENCE + 1  # the next one after those that overtake the first small job
    turns = [n for k in range(0, 10_000 - large, 2) for n in (k, large + k)]
    assert started == [*range(1, large, 2), *turns, *range(10_000 - large + 1, 10_000, 2)]


def test_what_is_cancelled_never_starts() -> None:
    waiting = Waiting(Cores(2))
    for number in range(3):
        waiting.add(job(number))
    waiting.cancel(Path("0"))
    waiting.cancel(Path("elsewhere"))
    assert [one.name for one in iter(lambda: start(waiting, 0), None) if one] == ["1", "2"]
    waiting.add(job(3))
    waiting.clear()
    assert (start(waiting, 0), len(waiting)) == (None, 0)
