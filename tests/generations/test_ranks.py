"""Walkers of several MPI ranks: a second model, made beside the first, and proved before use."""

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from helpers import fake_campaign, fake_engines
from helpers.fake_campaign import FakeCampaign
from helpers.fakes import FakeLauncher
from phasewalk.campaign.tasks import Work
from phasewalk.errors import EngineFailed, GateFailed, Interrupted, ParseError
from phasewalk.generations import deploy, refit
from phasewalk.jobs import Finished, Job
from phasewalk.models import model
from phasewalk.status import verifying
from phasewalk.store import directory
from phasewalk.store.directory import read_campaign

RANKS = "resources: {ranks_per_walker: 2}"
COMPILE = "compile torchscript for several ranks"
PROVE = "generation 0 on several ranks, torchscript"
FILE = "models/gen-000/torchscript-cpu/model.exchange.nequip.pth"


def make(folder: Path, more: str = RANKS, **settings: object) -> FakeCampaign:
    return fake_campaign.make(folder, rounds=2, walkers=2, more=more, **settings)  # type: ignore[arg-type]


def with_ranks(made: FakeCampaign, count: int) -> FakeCampaign:
    """The same campaign, of which the number of ranks was changed."""
    file = made.folder / "campaign.yaml"
    text = re.sub("ranks_per_walker: [0-9]+", f"ranks_per_walker: {count}", file.read_text())
    file.write_text(text)
    return FakeCampaign(made.folder, made.programs, cores=8)


def segments(launcher: FakeLauncher) -> list[Job]:
    return [job for job in launcher.jobs if job.kind == "segment"]


def test_the_walkers_of_all_rounds_have_their_ranks_and_the_model_for_them(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    launcher = FakeLauncher(made.programs)
    jobs = made.run(launcher=launcher)
    assert jobs.index("compile torchscript") < jobs.index(PROVE) < jobs.index("segment of round 1")
    assert jobs.count(COMPILE) == 1  # weights of the next generation are written into it
    for number, job in enumerate(segments(launcher)):
        assert job.argv[1:3] == ("-partition", "2x2")
        assert (job.ranks, job.cores) == (4, 4)
        assert job.links["model.exchange.nequip.pth"] == made.root / FILE.replace(
            "000", f"00{number}"
        )
    (proof,) = [job for job in launcher.jobs if job.name == PROVE]
    assert (proof.ranks, proof.kind) == (3, "check")  # those of a walker, and one to compare with
    stamp = model.read_stamp(made.root / f"{FILE}.json")
    assert stamp.for_ranks
    one = model.read_stamp((made.root / FILE).with_name("stamp.json"))
    assert (stamp.checkpoint, stamp.graph) == (one.checkpoint, one.graph)
    assert any("ok: 2 MPI ranks = 1 rank: 0 of the limits" in line for line in made.watcher.lines)
    assert verifying.verify(made.root).passed
    assert made.run() == []


def test_one_rank_needs_no_second_model(tmp_path: Path) -> None:
    made = make(tmp_path / "a", "")
    launcher = FakeLauncher(made.programs)
    assert COMPILE not in made.run(launcher=launcher)
    assert all(job.argv[1:3] == ("-partition", "2x1") for job in segments(launcher))
    assert not list(made.root.rglob("*.exchange.*"))


def test_another_number_of_ranks_is_proved_again_and_nothing_walked_is_repeated(
    tmp_path: Path,
) -> None:
    made = make(tmp_path / "a")

    def play(job: Job) -> int:
        if job.name == "segment of round 2":
            raise Interrupted("Ctrl-C")
        return made.programs(job)

    with pytest.raises(Interrupted):
        made.run(launcher=FakeLauncher(play))
    more = with_ranks(made, 4)
    launcher = FakeLauncher(made.programs, cores=8)
    jobs = more.run(launcher=launcher)
    assert jobs[:2] == [PROVE.replace("0", "1"), "segment of round 2"]
    assert segments(launcher)[0].argv[1:3] == ("-partition", "2x4")
    one = with_ranks(made, 1)
    assert one.run() == []


def spoiled(made: FakeCampaign, spoil: Callable[[Path], object]) -> FakeLauncher:
    def play(job: Job) -> int:
        code = made.programs(job)
        if job.name == PROVE:
            spoil(job.directory / "several.json")
        return code

    return FakeLauncher(play)


def test_other_numbers_on_several_ranks_end_the_campaign_before_a_walker(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    launcher = spoiled(
        made, lambda file: file.write_text(file.read_text().replace('_eV": -', '_eV": -1'))
    )
    with pytest.raises(GateFailed, match=r"generation 0 failed .*FAILED: 2 MPI ranks = 1 rank"):
        made.run(launcher=launcher)
    assert segments(launcher) == []
    assert not (made.root / FILE).exists()
    assert made.run()[0] == PROVE  # tried again


def test_a_network_that_cannot_be_compiled_for_ranks(tmp_path: Path) -> None:
    made = make(tmp_path / "a")

    def play(job: Job) -> int:
        if job.name != COMPILE:
            return made.programs(job)
        (job.directory / Finished.STDERR).write_text("this network has no layers of NequIP\n")
        return 1

    launcher = FakeLauncher(play)
    with pytest.raises(EngineFailed, match=r"cannot run on several MPI ranks .*no layers"):
        made.run(launcher=launcher)
    assert segments(launcher) == []


def test_the_final_model_has_it_in_both_modes(tmp_path: Path) -> None:
    made = make(tmp_path / "a", mode="auto", final="{budget: {epochs: 2, learning_rate: 0.01}}")
    made.run()
    found = sorted(
        path.name for path in (made.root / "models/final").rglob("*.exchange.nequip.pt?")
    )
    assert found == ["model.exchange.nequip.pt2", "model.exchange.nequip.pth"]
    records = [r for r in read_campaign(made.root).records() if r.stage == "ranks"]
    assert [r.outputs["ranks"] for r in records if "final" in r.task] == [2, 2]


def test_a_free_energy_has_its_own_and_compiles_nothing(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    made.run()
    root, identity = made.root, made.campaign.identity()
    with (
        closing(directory.open_campaign(root, identity)) as opened,
        closing(directory.open_campaign(root / "fes/gen-001", identity)) as frozen,
    ):
        launcher = FakeLauncher(made.programs)
        found = fake_engines.engines(made.folder, made.programs.machine)
        campaign, free = (
            Work(made.campaign, store, launcher, found, made.watcher) for store in (opened, frozen)
        )
        trained = opened.find("train generation 1")
        assert trained is not None
        one = deploy.made(campaign, 1, "1", trained.outputs)
        assert one is not None
        assert refit.refit(campaign, free, one, 0) is one
        for _ in range(2):  # the second time it is there
            ready = refit.refit(campaign, free, one, 10)
            assert ready.ranks == 2
            assert ready.for_ranks == root / "fes/gen-001" / FILE.replace("000", "001")
        assert [job.name for job in launcher.jobs] == [PROVE.replace("0", "1")]
        ready.for_ranks.write_bytes(b"damaged")
        with pytest.raises(ParseError):
            refit.refit(campaign, free, one, 10)
