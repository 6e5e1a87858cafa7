"""Which frame of a walker goes to the reference, and why."""

from collections.abc import Callable

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from helpers.fakes import crystal
from phasewalk.structures import bonds
from phasewalk.walkers.candidates import Candidate, CandidateSettings, redundant, screen, select
from phasewalk.walkers.near_frames import NearFrames


def bad(change: Callable[[Atoms], object]) -> Atoms:
    atoms = crystal()
    change(atoms)
    return atoms


TOO_NEAR = bad(lambda a: a.positions.__setitem__(0, a.positions[1] + [0.3, 0, 0]))
TOO_LARGE = bad(lambda a: a.set_cell(a.cell * 1.3, scale_atoms=True))
TOO_SMALL = bad(lambda a: a.set_cell(a.cell * 0.7, scale_atoms=True))
NOT_FINITE = bad(lambda a: a.positions.__setitem__((0, 0), np.nan))


def chosen(*frames: tuple[int, Atoms], **settings: float) -> Candidate:
    return select(
        "salt-1",
        "salt",
        frames=frames,
        start=crystal(),
        settings=CandidateSettings.model_validate(settings),
        timestep_fs=0.5,
    )


def test_the_last_frame_where_it_is_good() -> None:
    last = crystal()
    found = chosen((50, TOO_NEAR), (100, last))
    assert (found.walker, found.system) == ("salt-1", "salt")
    assert (found.step, found.reason) == (100, "last frame")
    assert found.atoms is last


def test_the_last_good_frame_and_what_was_wrong_with_the_last() -> None:
    found = chosen((50, crystal()), (100, crystal()), (150, TOO_LARGE), (200, TOO_NEAR))
    assert found.step == 100
    assert found.reason.startswith("last good frame (a later one: step 200: ")
    assert "0.30 Å apart" in found.reason


def test_no_good_frame() -> None:
    found = chosen((50, TOO_NEAR), (100, NOT_FINITE))
    assert (found.atoms, found.step) == (None, -1)
    assert found.reason == "step 100: positions or cell are not finite"


def test_no_frame() -> None:
    assert chosen() == Candidate("salt-1", "salt", -1, None, "the walker wrote no frame")


@pytest.mark.parametrize(
    ("atoms", "fault"),
    [
        (NOT_FINITE, "not finite"),
        (TOO_LARGE, "394 Å³ is 2.20 × the start structure's (limits 0.4 to 2)"),
        (TOO_SMALL, "62 Å³ is 0.34 × the start structure's"),
        (TOO_NEAR, "Å apart (limit"),
    ],
)
def test_faults_name_value_and_limit(atoms: Atoms, fault: str) -> None:
    assert fault in str(screen(atoms, start=crystal(), settings=CandidateSettings()))


def test_a_good_frame_has_no_fault() -> None:
    assert screen(crystal(), start=crystal(), settings=CandidateSettings()) is None


def test_older_good_frames_stand_by_for_a_label_that_fails() -> None:
    frames = [(step, TOO_NEAR if step == 300 else crystal()) for step in range(50, 501, 50)]
    found = chosen(*frames)  # 50 fs apart are 100 steps
    assert (found.step, [step for step, _ in found.older]) == (500, [400, 250])
    assert [step for step, _ in chosen(*frames, tries=2).older] == [400]
    assert chosen(*frames, tries=1).older == ()
    assert [step for step, _ in chosen(*frames, tries_apart_fs=200).older] == [100]


def moved(shift: float, strain: float = 0.0) -> Atoms:
    atoms = crystal()
    rng = np.random.default_rng(1)
    directions = rng.normal(size=atoms.positions.shape)
    directions -= directions.mean(axis=0)
    atoms.positions += shift * directions / np.sqrt((directions**2).sum(axis=1).mean())
    atoms.set_cell(atoms.cell.array * (1 + strain), scale_atoms=True)
    return atoms


@pytest.mark.parametrize(
    ("atoms", "known"),
    [
        (moved(0.0), True),
        (moved(0.015), True),
        (moved(0.025), False),
        (moved(0.0, 0.001), True),
        (moved(0.0, 0.003), False),
    ],
)
def test_what_hardly_differs_from_a_labelled_frame_is_not_new(atoms: Atoms, known: bool) -> None:
    others = [moved(0.5), crystal()]
    found = redundant(atoms, NearFrames.of(others), CandidateSettings())
    assert (found is not None) == known
    if found:
        assert "from labelled frame 2" in found


def test_other_crystals_are_no_copies() -> None:
    others = NearFrames.of([crystal("KCl"), crystal() * (2, 1, 1)])
    assert redundant(crystal(), others, CandidateSettings()) is None
    same = NearFrames.of([crystal()])
    assert redundant(crystal(), same, CandidateSettings(min_rmsd_A=0)) is None


def test_a_frame_with_other_bonds_is_not_chosen() -> None:
    """It passes all other screens; without a guard it would be labelled."""
    start = molecule("CH3OH", cell=[9, 9, 9], pbc=True)
    broken = start.copy()
    broken.positions[3:] += 0.45 * (start.positions[3] - start.positions[0])
    frames = [(50, start), (100, broken), (150, broken)]
    guard = bonds.guard(start, break_ratio=1.4, form_ratio=1.2)

    def selected(frames: list[tuple[int, Atoms]], guard: bonds.Guard | None = guard) -> Candidate:
        return select(
            "a-0", "a", frames=frames, start=start, settings=CandidateSettings(), timestep_fs=0.5,
            guard=guard,
        )  # fmt: skip

    broke = guard.fault(broken)
    assert broke is not None
    found = selected(frames)
    assert (found.step, found.older) == (50, ())
    assert found.reason == f"last good frame (a later one: step 150: {broke})"
    assert selected(frames[1:]).reason == f"step 150: {broke}"
    assert selected(frames[1:]).atoms is None
    assert selected(frames, None).step == 150
