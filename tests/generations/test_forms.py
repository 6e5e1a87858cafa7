"""The last model in both modes: compiled at the end, validated, and used by a free energy."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from helpers import fake_campaign, fake_engines
from helpers.fake_campaign import FakeCampaign
from helpers.fake_engines import FakeEngines
from helpers.fakes import FakeLauncher
from phasewalk import status
from phasewalk.campaign.tasks import Work
from phasewalk.checks import deployment
from phasewalk.engines import here
from phasewalk.errors import Interrupted, ParseError
from phasewalk.generations import deploy, forms, refit
from phasewalk.jobs import Finished, Job
from phasewalk.models import model
from phasewalk.status import summary, verifying
from phasewalk.store import directory
from phasewalk.store.directory import read_campaign

FINAL = "{budget: {epochs: 2, learning_rate: 0.01}}"
FAST = "models/final/aotinductor-cpu/model.nequip.pt2"
SLOW = "models/final/torchscript-cpu/model.nequip.pth"
FORM = "other form of generation final"


def make(
    folder: Path, mode: str = "auto", *, final: str = FINAL, compiler: bool = True
) -> FakeCampaign:
    """A campaign on a machine with or without a C++ compiler."""
    programs = FakeEngines(machine=replace(here(), has_compiler=compiler))
    return fake_campaign.make(folder, mode=mode, final=final, programs=programs)


def files(made: FakeCampaign) -> list[str]:
    return [one["file"] for one in summary.collect(made.root)["deployed_models"]]


def test_the_final_model_has_both_forms_the_fast_one_first(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    jobs = made.run()
    assert jobs.index("compile aotinductor") < jobs.index(FORM) == len(jobs) - 1
    assert files(made) == [FAST, SLOW]
    fast, slow = summary.collect(made.root)["deployed_models"]
    assert (fast["mode"], fast["device"], fast["generation"]) == ("aotinductor", "cpu", "final")
    assert slow["ms_per_step"] == fast["ms_per_step"] == 1.0
    stamps = [model.read_stamp((made.root / one).with_name("stamp.json")) for one in (FAST, SLOW)]
    assert stamps[0].checkpoint == stamps[1].checkpoint
    assert (made.root / FAST).with_name("proof.json").is_file()
    assert verifying.verify(made.root).passed
    assert any(FAST in line for line in made.watcher.lines)


def test_it_is_compiled_beside_the_final_training_and_once(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    jobs = made.run()
    assert jobs.count("compile aotinductor") == 1
    assert jobs.index("compile aotinductor") < jobs.index("evaluate generation final on round 1")
    assert made.run() == []


def test_the_last_generation_has_both_forms_if_there_is_no_final_training(tmp_path: Path) -> None:
    made = make(tmp_path / "a", final="null")
    made.run()
    assert [Path(one).parts[1:3] for one in files(made)] == [
        ("gen-001", "aotinductor-cpu"), ("gen-001", "torchscript-cpu"),
    ]  # fmt: skip


def test_with_aotinductor_torchscript_is_added(tmp_path: Path) -> None:
    made = make(tmp_path / "a", "aotinductor")
    made.run()
    assert files(made) == [FAST, SLOW]


def test_a_free_energy_uses_the_fast_form_as_it_is(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    made.run()
    with closing(directory.open_campaign(made.root, made.campaign.identity())) as opened:
        found = fake_engines.engines(made.folder, made.programs.machine)
        work = Work(made.campaign, opened, FakeLauncher(made.programs), found, made.watcher)
        trained = opened.find("train generation final")
        assert trained is not None
        slow = deploy.made(work, 1, "final", trained.outputs)
        assert slow is not None
        assert slow.deployed == made.root / SLOW
        fast = refit.refit(work, work, slow, 10)  # nothing is written where it walks
        assert (fast.deployed, fast.stamp.mode) == (made.root / FAST, "aotinductor")
        assert refit.refit(work, work, slow, 0) is slow
        other = replace(found.machine, processor="another")
        assert (
            forms.in_mode(replace(work, engines=replace(found, machine=other)), slow, "aotinductor")
            is None
        )
        (made.root / FAST).write_bytes(b"damaged")
        with pytest.raises(ParseError):
            refit.refit(work, work, slow, 10)


def test_status_shows_how_the_fast_one_is_used(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    made.run()
    lines = deployment.of_campaign(made.root, {}, summary.collect(made.root))
    assert lines[0] == "the last model, generation final:"
    assert lines[1].startswith(f"  {FAST}: 1.0 ms/step; LAMMPS, this type of processor, torch ")
    assert lines[2] == f"  {SLOW}: 1.0 ms/step; LAMMPS and ASE, any machine"
    assert f"  pair_coeff * * {made.root / FAST} Cl Na" in lines
    assert str(made.root / SLOW) in lines[-1]
    assert "NequIPCalculator" in lines[-1]
    ((title, rows),) = status.deployed.groups(summary.collect(made.root)["deployed_models"])
    assert title == "Deployed models of generation final"
    assert rows[0] == ("aotinductor, cpu", f"{FAST}: 1.0 ms/step")


def test_who_asks_for_torchscript_gets_that_alone(tmp_path: Path) -> None:
    made = make(tmp_path / "a", "torchscript")
    assert "compile aotinductor" not in made.run()
    assert files(made) == [SLOW]


def test_without_a_compiler_the_campaign_ends_and_says_what_to_do(tmp_path: Path) -> None:
    made = make(tmp_path / "a", compiler=False)
    made.run()
    assert files(made) == [SLOW]
    (line,) = [one for one in made.watcher.lines if "torchscript only" in one]
    assert "needs a C++ compiler" in line
    assert "phasewalk deploy" in line
    made.programs.machine = replace(here(), has_compiler=True)
    assert made.run() == ["compile aotinductor", FORM]
    assert files(made) == [FAST, SLOW]


def failing(made: FakeCampaign, name: str) -> FakeLauncher:
    """A launcher on which one job fails."""

    def play(job: Job) -> int:
        if job.name != name:
            return made.programs(job)
        (job.directory / Finished.STDERR).write_text("c++: no memory\n")
        return 1

    return FakeLauncher(play)


@pytest.mark.parametrize("name", ["compile aotinductor", FORM])
def test_a_failure_does_not_end_the_campaign(tmp_path: Path, name: str) -> None:
    made = make(tmp_path / "a")
    made.run(launcher=failing(made, name))
    assert files(made) == [SLOW]
    assert summary.collect(made.root)["finished"]
    (line,) = [one for one in made.watcher.lines if "torchscript only" in one]
    assert "no memory" in line
    assert verifying.verify(made.root).passed


def test_a_model_that_fails_its_validation_is_not_there(tmp_path: Path) -> None:
    made = make(tmp_path / "a")

    def play(job: Job) -> int:
        code = made.programs(job)
        if job.name == FORM:  # as if compiled code computed something else
            file = job.directory / "result.json"
            file.write_text(file.read_text().replace('"energy_eV": -', '"energy_eV": -1'))
        return code

    made.run(launcher=FakeLauncher(play))
    assert not (made.root / FAST).exists()
    assert files(made) == [SLOW]
    assert any("failed its validation" in line for line in made.watcher.lines)
    assert made.run() == [FORM]  # tried again
    assert files(made) == [FAST, SLOW]


@pytest.mark.parametrize("name", ["compile aotinductor", FORM])
def test_stopped_there_it_goes_on_there(tmp_path: Path, name: str) -> None:
    made = make(tmp_path / "a")

    def play(job: Job) -> int:
        if job.name == name:
            raise Interrupted("Ctrl-C")
        return made.programs(job)

    with pytest.raises(Interrupted):
        made.run(launcher=FakeLauncher(play))
    assert not (made.root / FAST).exists()
    assert not summary.collect(made.root)["finished"]
    jobs = made.run()
    assert jobs[-1] == FORM
    assert name in jobs
    assert files(made) == [FAST, SLOW]


def test_a_final_model_that_is_trained_again_has_both_forms_of_the_new_one(tmp_path: Path) -> None:
    made = make(tmp_path / "a")
    made.run()
    before = (made.root / FAST).read_bytes()
    file = made.folder / "campaign.yaml"
    file.write_text(file.read_text().replace(FINAL, FINAL.replace("epochs: 2", "epochs: 3")))
    made.programs.spoils = {"train generation final": 2.0}
    again = FakeCampaign(made.folder, made.programs)
    jobs = again.run()
    assert jobs[0] == "train generation final"
    assert jobs[-1] == FORM
    assert files(again) == [FAST, SLOW]
    checkpoints = {
        record.outputs["stamp"]["checkpoint"]
        for record in read_campaign(again.root).records()
        if record.task in (FORM, "deploy generation final")
    }
    assert len(checkpoints) == 1
    assert (made.root / FAST).read_bytes() != before
