"""What a campaign needs of the machine where its segments run, before anything is started."""

from dataclasses import replace
from pathlib import Path

import pytest

from helpers import fake_engines, slurm
from helpers.elsewhere import GPU_NODE, answer, asks
from helpers.fake_slurm import FakeSlurm
from helpers.fakes import SALT, FakeLauncher, write_campaign
from phasewalk.batch import JobsLauncher
from phasewalk.campaign import config, inputs
from phasewalk.checks import check
from phasewalk.cluster import SiteSettings
from phasewalk.cluster.nodes import Node
from phasewalk.cluster.workstation import WorkstationLauncher
from phasewalk.engines import Machine
from phasewalk.engines.machine import RESULT
from phasewalk.errors import InputError
from phasewalk.jobs import Job, Launcher
from phasewalk.settings_files import parse

NO_GPU = replace(GPU_NODE, host="node8", has_gpu=False)
PLAIN = SALT[: SALT.index("    plumed:")]
CUDA = PLAIN + "deploy: {device: cuda}\n"


def preflight(folder: Path, text: str, machine: Machine, cores: int = 2) -> list[Job]:
    """The jobs that it starts."""
    launcher = FakeLauncher(cores=cores)
    engines = replace(fake_engines.engines(folder), machine=machine)
    check.preflight(inputs.load(write_campaign(folder, text)), engines, launcher)
    return launcher.jobs


@pytest.mark.parametrize("device", ["cuda", "auto", "cpu"])
@pytest.mark.parametrize("machine", [GPU_NODE, NO_GPU], ids=lambda one: one.host)
def test_a_gpu_is_looked_for_where_segments_run(
    tmp_path: Path, device: str, machine: Machine
) -> None:
    text = PLAIN + f"deploy: {{device: {device}}}\n"
    if device == "cuda" and not machine.has_gpu:
        with pytest.raises(InputError) as caught:
            preflight(tmp_path, text, machine)
        assert str(caught.value) == (
            f"{tmp_path}/campaign.yaml: deploy.device: cuda, but no NVIDIA driver was found on "
            "node8, where segments run (no nvidia-smi); use auto or cpu"
        )
    else:
        assert preflight(tmp_path, text, machine) == []


def test_walkers_are_counted_by_the_cores_of_the_launcher(tmp_path: Path) -> None:
    """Not by those of this process, unless the settings say how many there are."""
    text = PLAIN.replace("walkers: 2", "walkers: 5")
    assert preflight(tmp_path, text, NO_GPU, cores=3) == []
    with pytest.raises(InputError, match=r"5 walkers, but 2 core\(s\) × 2 .* allow 4; use fewer"):
        preflight(tmp_path, text, NO_GPU, cores=2)
    many = text.replace("walkers: 5", "walkers: 5000")
    assert preflight(tmp_path, many, NO_GPU, cores=2500) == []
    with pytest.raises(InputError, match=r"5 walkers, but 2 core\(s\) × 2 .* allow 4; use fewer"):
        preflight(tmp_path, text + "resources: {cores: 2}\n", NO_GPU, cores=64)


def test_a_queue_does_not_limit_walkers_by_its_number_of_jobs(tmp_path: Path) -> None:
    """A segment is one job, with a core for each walker; if that is too many, Slurm refuses it."""
    site = SiteSettings(site="lab", max_jobs=1)
    launcher = JobsLauncher(site, FakeSlurm(), tmp_path / "slurm")
    text = PLAIN.replace("walkers: 2", "walkers: 60")
    campaign = inputs.load(write_campaign(tmp_path, text))
    check.check_machine(campaign, NO_GPU, launcher)
    with pytest.raises(InputError, match="60 walkers, but 1 core"):
        check.check_machine(campaign, NO_GPU, FakeLauncher(cores=1))


SHARED = SALT.replace("    plumed:", "    bias_sharing: live\n    plumed:", 1)


@pytest.mark.parametrize("mode", ["steps", "workstation", "jobs"])
def test_on_a_site_too_many_walkers_are_several_launches(tmp_path: Path, mode: str) -> None:
    """Unless they must run together, which is said before anything is started."""
    text = "segment: {walkers: 6}"
    launcher: Launcher = JobsLauncher(
        parse(f"site: x\n{text}", "s", SiteSettings), FakeSlurm(), tmp_path / "slurm"
    )
    if mode == "steps":
        launcher = slurm.fake_steps(tmp_path, Node("n1", 2), Node("n2", 2), text="poll_s: 15")
    if mode == "workstation":
        site = parse("site: x\nscheduler: none", "s", SiteSettings)
        launcher = WorkstationLauncher(site, 4, (), {})
    most = 6 if mode == "jobs" else 8
    for number in (most, most + 1, 1000):
        for plain in (PLAIN, SHARED):
            made = inputs.load(
                write_campaign(tmp_path, plain.replace("walkers: 2", f"walkers: {number}"))
            )
            assert config.most_walkers(made.settings, launcher) == most
            if plain is PLAIN or number <= most:
                check.check_machine(made, NO_GPU, launcher)
                continue
            with pytest.raises(InputError, match=f"salt: its {number} walkers share hills") as said:
                check.check_machine(made, NO_GPU, launcher)
            assert f"at most {most} fit into one here" in str(said.value)


def rows(folder: Path, text: str, launcher: FakeLauncher) -> list[check.Row]:
    """The first two rows of the check; the others are not asked for."""
    found = check.check(inputs.load(write_campaign(folder, text)), launcher, {})
    return [row for row, _ in zip(found, range(2), strict=False)]


def remote(text: str) -> FakeLauncher:
    def play(job: Job) -> int:
        if asks(job):
            (job.directory / RESULT).write_text(text)
        return 0

    return FakeLauncher(play, here=False)


@pytest.mark.engine("lammps")
@pytest.mark.parametrize(
    ("text", "machine", "state", "found"),
    [
        (CUDA, GPU_NODE, "ok", "node7: x86_64, a GPU, 2 core(s)"),
        (PLAIN, NO_GPU, "ok", "node8: x86_64, no GPU (no nvidia-smi or rocm-smi), 2 core(s)"),
        (CUDA, NO_GPU, "wrong", "deploy.device: cuda, but no NVIDIA driver was found on node8"),
    ],
)
def test_the_check_shows_the_machine(
    tmp_path: Path, text: str, machine: Machine, state: str, found: str
) -> None:
    """If it is wrong, the rows below it are shown all the same."""
    row, next_ = rows(tmp_path, text, remote(answer(machine)))
    assert (row.what, row.state, found in row.found) == ("machine", state, True)
    assert next_.what == "LAMMPS"


@pytest.mark.engine("lammps")
def test_a_check_ends_if_no_job_can_ask(tmp_path: Path) -> None:
    launcher = remote("{")
    (row,) = rows(tmp_path, PLAIN, launcher)
    assert (row.what, row.state) == ("machine", "missing")
    assert "cannot be asked for its GPU" in row.found
    assert len(launcher.jobs) == 1
