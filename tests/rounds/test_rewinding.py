"""Rewind: back to the end of a round, with nothing deleted and no kill that harms."""

import os
import re
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from helpers import fake_campaign
from helpers.disk import Disk, Killed
from phasewalk.errors import InputError, PhasewalkError, StoreError
from phasewalk.rounds.rewinding import Rewound, last_finished, rewind
from phasewalk.store import directory, locking
from phasewalk.store.directory import Store
from phasewalk.store.records import Record

IDENTITY = {"name": "salt"}
ROUNDS = 3


def record(task: str, stage: str, round_: int, **outputs: Any) -> Record:
    return Record(task, stage, round_, "x", outputs, 1.0, 1e9)


def learned(number: int) -> list[Record]:
    """What the journal says of a generation."""
    name = f"generation {number}"
    return [
        record(f"train {name}", "train", number),
        record(f"deploy {name}", "deploy", number),
        *([record(f"evaluate generation {number - 1} on round {number}", "evaluate", number)]
          if number else []),
        record(f"evaluate {name} on round {number}", "evaluate", number),
    ]  # fmt: skip


def walked(number: int, labels: int, failed: int = 0) -> list[Record]:
    """What the journal says of a segment and of the labels of its candidates."""
    walkers = [{"candidate_step": 200} for _ in range(labels + failed)] + [{"candidate_step": None}]
    made = [record(f"label {number}{n} of round {number}", "label", number) for n in range(labels)]
    bad = [
        record(f"label x{n} of round {number}", "label", number, failed="no SCF")
        for n in range(failed)
    ]
    return [record(f"segment {number}", "segment", number, walkers=walkers), *made, *bad]


def finals(number: int, rounds: int) -> list[Record]:
    return [
        record("train generation final", "train", number),
        record("compile generation final abc", "compile", number),
        record("deploy generation final", "deploy", number),
        record(f"evaluate generation final on round {number}", "evaluate", number),
        record(f"end after round {rounds}", "end", rounds),
    ]


BOOTSTRAP = [
    record("bootstrap", "bootstrap", 0),
    record("label a of round 0", "label", 0),
    record("compile torchscript abc", "compile", 0),
    *learned(0),
]
RECORDS = [
    *BOOTSTRAP,
    *(r for number in range(1, ROUNDS + 1) for r in (*walked(number, 2), *learned(number))),
    *finals(ROUNDS, ROUNDS),
]


def fill(opened: Store) -> None:
    """The files of a campaign of three rounds and a final model."""
    for number in range(ROUNDS + 1):
        opened.write(f"rounds/{number:03d}/walkers.json", b"[]")
        opened.write(f"rounds/{number:03d}/train/log", b"x")
        opened.write(f"models/gen-{number:03d}/checkpoint.ckpt", b"x")
        for system in ("salt", "pepper"):
            if number:
                opened.write(f"bias/{system}/round-{number:03d}.tsv", b"x")
    opened.write("rounds/002.interrupted-1/log", b"x")
    opened.write("rounds/002/train.failed-1/log", b"x")
    opened.write("rounds/003/train-final/log", b"x")
    opened.write("rounds/003/evaluate-final.interrupted-1/log", b"x")
    opened.write("models/final/torchscript-cpu/model.nequip.pth", b"x")
    opened.write("models/compiled/abc/template.json", b"x")
    opened.write("fes/gen-003/fes.json", b"{}")
    opened.write("fes/final/fes.json", b"{}")
    opened.write("labels/a.json", b"{}")
    opened.write("labels/b.json", b"{}")
    opened.write("campaign.yaml", b"x")


def make(root: Path, records: list[Record] = RECORDS) -> Path:
    with closing(directory.open_campaign(root, IDENTITY)) as opened:
        fill(opened)
        for made in records:
            opened.append(made)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make(tmp_path / "salt.run")


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def tasks(root: Path) -> list[str]:
    return [made.task for made in directory.read_campaign(root).records()]


def expected(root: Path, round_: int, number: int = 1) -> dict[str, bytes]:
    """All files after the rewind, from those before it."""
    later = {
        0: ("rounds/001", "rounds/002", "rounds/003", "bias/", "models/gen-001", "models/gen-002",
            "models/gen-003", "models/final", "fes/gen-003",
            "fes/final"),
        1: ("rounds/002", "rounds/003", "bias/salt/round-002", "bias/pepper/round-002",
            "bias/salt/round-003", "bias/pepper/round-003", "models/gen-002", "models/gen-003",
            "models/final", "fes/gen-003", "fes/final"),
        2: ("rounds/003", "bias/salt/round-003", "bias/pepper/round-003", "models/gen-003",
            "models/final", "fes/gen-003", "fes/final"),
        3: ("rounds/003/train-final", "rounds/003/evaluate-final", "models/final", "fes/final"),
    }[round_]  # fmt: skip
    before = files(root)
    place = f"rewound-{number}"
    moved = {
        f"{place}/{n.replace('003/', '003-') if round_ == 3 else n}"
        if n.startswith(later)
        else n: c
        for n, c in before.items()
    }
    return {**moved, f"{place}/{directory.JOURNAL}": before[directory.JOURNAL]}


def kept(round_: int) -> list[str]:
    found = [r for r in RECORDS if r.round <= round_]
    return [r.task for r in found if "final" not in r.task and r.stage != "end"]


@pytest.mark.parametrize("round_", range(ROUNDS + 1))
def test_what_came_later_is_set_aside_whole(root: Path, round_: int) -> None:
    want = expected(root, round_)
    found = rewind(root, round_)
    journal = files(root).pop(directory.JOURNAL)
    assert files(root) == {**want, directory.JOURNAL: journal}
    assert tasks(root) == kept(round_)
    assert (found.place, found.labels, found.took_over) == (root / "rewound-1", 2, "")
    assert {directory.JOURNAL, "models/final"} < set(found.moved)
    assert not locking.locked(root)
    with closing(directory.open_campaign(root, IDENTITY)) as opened:  # `run` goes on
        opened.append(record("segment 9", "segment", 9))
    assert tasks(root) == [*kept(round_), "segment 9"]


def test_the_journal_as_it_was_is_kept(root: Path) -> None:
    before = (root / directory.JOURNAL).read_bytes()
    rewind(root, 1)
    assert (root / "rewound-1" / directory.JOURNAL).read_bytes() == before


def test_rewinds_count_up_and_a_second_one_has_nothing_to_do(root: Path) -> None:
    assert rewind(root, 2).place == root / "rewound-1"
    again = rewind(root, 2)
    assert (again.place, again.moved) == (None, ())
    assert (
        "nothing to move: the campaign is already in the state right after round 2" in again.lines()
    )
    assert rewind(root, 0).place == root / "rewound-2"
    assert "right after the bootstrap" in rewind(root, 0).lines()[0]
    assert tasks(root) == kept(0)


def test_the_beginning_of_the_next_round_is_set_aside(tmp_path: Path) -> None:
    root = make(tmp_path / "run", [*BOOTSTRAP, *walked(1, 2)])
    with pytest.raises(InputError, match="--round 1: the campaign has finished the bootstrap"):
        rewind(root, 1)
    assert "rounds/001" in rewind(root, 0).moved
    assert tasks(root) == [made.task for made in BOOTSTRAP]


def test_a_final_model_counts_to_the_last_generation(tmp_path: Path) -> None:
    """Round 2 gave no label: the final model's records carry round 1, and yet they go."""
    records = [*BOOTSTRAP, *walked(1, 2), *learned(1), *walked(2, 0, failed=2), *finals(1, 2)]
    root = make(tmp_path / "run", records)
    rewind(root, 2)
    want = [r.task for r in records[: -len(finals(1, 2))]]
    assert tasks(root) == want
    rewind(root, 1)
    assert tasks(root) == [r.task for r in records[: len(BOOTSTRAP) + 3 + 4]]


@pytest.mark.parametrize(
    ("records", "last"),
    [
        ([], -1),
        (BOOTSTRAP[:1], -1),
        (BOOTSTRAP[:-1], -1),
        (BOOTSTRAP, 0),
        ([*BOOTSTRAP, *walked(1, 2)], 0),
        ([*BOOTSTRAP, *walked(1, 0)], 0),
        ([*BOOTSTRAP, *walked(1, 0, failed=2)], 0),
        ([*BOOTSTRAP, *walked(1, 0, failed=2), *walked(2, 1)[:1]], 1),
        ([*BOOTSTRAP, *walked(1, 1, failed=1)], 0),
        ([*BOOTSTRAP, *walked(1, 0, failed=2)[:-1]], 0),
        ([*BOOTSTRAP, *walked(1, 2), *learned(1)[:-1]], 0),
        ([*BOOTSTRAP, *walked(1, 2), *learned(1)], 1),
        ([*BOOTSTRAP, *walked(1, 2), *learned(1), *walked(2, 2)[:1]], 1),
        (RECORDS, ROUNDS),
    ],
)
def test_which_round_was_finished_last(records: list[Record], last: int) -> None:
    assert last_finished(records) == last


@pytest.mark.parametrize(
    ("round_", "reason"),
    [
        (-1, "--round -1: use 0"),
        (4, "--round 4: the campaign has finished round 3; give an earlier round"),
        (99, "has finished round 3"),
    ],
)
def test_rounds_that_there_are_not(root: Path, round_: int, reason: str) -> None:
    before = files(root)
    with pytest.raises(InputError, match=reason) as caught:
        rewind(root, round_)
    assert "\n" not in str(caught.value)
    assert files(root) == before


def test_what_is_no_campaign(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(StoreError, match="not a campaign directory"):
            rewind(path, 0)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_campaign_has_finished_nothing(tmp_path: Path) -> None:
    directory.open_campaign(tmp_path, IDENTITY).close()
    with pytest.raises(InputError, match="--round 0: the campaign has finished nothing"):
        rewind(tmp_path, 0)


def test_a_run_that_works_there_is_left_alone(root: Path) -> None:
    with closing(directory.open_campaign(root, IDENTITY)):
        before = files(root)
        with pytest.raises(StoreError, match="in use by another run"):
            rewind(root, 0)
        assert files(root) == before


def test_a_stale_lock_is_told_of(root: Path) -> None:
    lock = root / locking.LOCK
    lock.write_text('{"who": "pid 7 on elsewhere", "machine": "m", "id": "i", "since": ""}')
    then = lock.stat().st_mtime - 90
    os.utime(lock, (then, then))
    assert rewind(root, 0).lines()[0].startswith("the lock of pid 7 on elsewhere is stale")


def test_a_folder_of_the_users_stays(root: Path) -> None:
    for name in ("rounds/my 4th notes", "models/older", "bias/salt/thoughts"):
        (root / name).mkdir(parents=True)
    rewind(root, 0)
    for name in ("rounds/my 4th notes", "models/older", "bias/salt/thoughts"):
        assert (root / name).is_dir()


def killed_at(disk: Disk, budget: int, act: Callable[[], object]) -> bool:
    """Whether the act was cut off."""
    with disk.under():
        disk.arm(budget, None)
        try:
            act()
        except Killed:
            return True
        finally:
            disk.mend()
    return False


def costs(root: Path, round_: int, where: Path) -> int:
    """What a whole rewind writes."""
    shutil.copytree(root, where)
    disk = Disk()
    with disk.under():
        rewind(where, round_)
    return disk.spent


@pytest.mark.parametrize(("round_", "final"), [(0, 0), (2, 2), (3, 3), (2, 1), (3, 1)])
def test_a_kill_anywhere_leaves_a_campaign_or_one_clear_error(
    root: Path, tmp_path: Path, round_: int, final: int
) -> None:
    """After it the same rewind ends as if nothing had been; one to an earlier round works too."""
    want = expected(root, final)
    total = costs(root, round_, tmp_path / "whole")
    moves = 50  # the renames at the end, and the lock's release
    for budget in [*range(0, total - moves, 401), *range(total - moves, total)]:
        copy = tmp_path / f"{budget}"
        shutil.copytree(root, copy)
        assert killed_at(Disk(), budget, lambda copy=copy: rewind(copy, round_))
        standing = tasks(copy)
        assert standing in ([r.task for r in RECORDS], kept(round_))
        ended = (copy / "rewound-1").exists()
        if (copy / directory.REWINDING).exists():
            reason = f"a rewind was interrupted; complete it with phasewalk rewind {copy}"
            with pytest.raises(StoreError, match=re.escape(reason)):
                directory.open_campaign(copy, IDENTITY)
        else:
            assert ended == (standing == kept(round_))
            directory.open_campaign(copy, IDENTITY).close()
        rewind(copy, final)
        assert tasks(copy) == kept(final)
        if round_ == final:
            assert files(copy) == {
                **want,
                directory.JOURNAL: (copy / directory.JOURNAL).read_bytes(),
            }
        elif not ended:
            names = sorted(Path(name).name for name in files(copy))
            assert names == sorted(Path(name).name for name in want)  # nothing is lost
        shutil.rmtree(copy)


@pytest.mark.parametrize("number", [28, 30])
def test_a_disk_that_fails_is_named_and_the_rewind_can_be_finished(
    root: Path, tmp_path: Path, number: int
) -> None:
    want = expected(root, 1)
    total = costs(root, 1, tmp_path / "whole")
    for budget in [*range(0, total, 601), *range(total - 40, total - 4)]:
        copy, disk = tmp_path / f"{budget}", Disk()
        shutil.copytree(root, copy)
        with disk.under():
            disk.arm(budget, number, again=5)
            with pytest.raises(PhasewalkError) as caught:
                rewind(copy, 1)
        assert str(caught.value).startswith(str(copy))
        assert caught.value.exit_code == 2
        rewind(copy, 1)
        found = files(copy)
        assert tasks(copy) == kept(1)
        assert set(found) == set(want)
        shutil.rmtree(copy)


def test_the_rounds_that_an_interrupted_rewind_took_are_not_there_any_more(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Store, "move", stop)
        with pytest.raises(KeyboardInterrupt):
            rewind(root, 1)
    with pytest.raises(InputError, match="--round 2: the campaign has finished round 1"):
        rewind(root, 2)
    assert rewind(root, 1).place == root / "rewound-1"


def test_it_says_what_was_done(root: Path) -> None:
    done, labels = rewind(root, 2).lines()
    assert done == (
        f"restored the state right after round 2; moved to {root / 'rewound-1'}: "
        "bias/pepper/round-003.tsv, bias/salt/round-003.tsv, fes/final, fes/gen-003, "
        "journal.jsonl, models/final, models/gen-003, rounds/003"
    )
    assert labels == "2 labels are kept and will be reused"
    assert Rewound(0, None, (), 5, "").lines()[1].startswith("5 labels are kept")


def test_a_campaign_that_was_finished_twice_can_be_rewound_and_run(tmp_path: Path) -> None:
    """Its journal has records of files of the final model that were written again."""
    final = "{budget: {epochs: 2, learning_rate: 0.01}}"
    for rounds in (1, 2):
        made = fake_campaign.make(tmp_path / f"{rounds}", rounds=rounds, final=final)
        made.run(tmp_path / "c")
    before = files(tmp_path / "c/run/models")
    rewind(tmp_path / "c/run", 1)
    assert not (tmp_path / "c/run/models/final").exists()
    made.run(tmp_path / "c")
    found = files(tmp_path / "c/run/models")
    assert {n: c for n, c in found.items() if n.endswith(".ckpt")} == {
        n: c for n, c in before.items() if n.endswith(".ckpt")
    }
