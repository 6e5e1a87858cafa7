"""What Slurm's commands print, and what is made of it."""

import datetime
import sys
from pathlib import Path

import pytest

from phasewalk.batch import NotNow, QueueFull, Refused, Slurm
from phasewalk.batch.scheduler import How, State
from phasewalk.cluster.slurm import environment, seconds_of
from phasewalk.errors import InputError


def slurm(folder: Path, **programs: str) -> Slurm:
    """Slurm with programs that print this; after a "!", that fail with it."""
    for name, says in programs.items():
        text, stream, code = says.lstrip("!"), "stdout", 0
        if says.startswith("!"):
            stream, code = "stderr", 1
        body = f"import sys\nprint({text!r}, file=sys.{stream})\nsys.exit({code})\n"
        (folder / name).write_text(f"#!{sys.executable}\n{body}")
        (folder / name).chmod(0o755)
    return Slurm({"PATH": str(folder)})


@pytest.mark.parametrize(("printed", "number"), [("17", "17"), ("17;cluster2", "17")])
def test_the_number_of_a_job(tmp_path: Path, printed: str, number: str) -> None:
    assert slurm(tmp_path, sbatch=printed).submit(Path("x")) == number


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            "!sbatch: error: invalid partition specified: nowhere\n"
            "allocation failure: Invalid partition name specified",
            "invalid partition specified: nowhere; allocation failure: Invalid partition name "
            "specified",
        ),
        (
            "!allocation failure: Requested node configuration is not available",
            "Requested node configuration is not available",
        ),
        ("sbatch: Job 3 to start at 2026-11-27T19:44:10 using 2 processors on nodes n2", ""),
        ("!sbatch: error: AssocMaxSubmitJobLimit", ""),
        ("!allocation failure: Unable to contact slurm controller (connect failure)", ""),
    ],
)
def test_a_job_that_could_not_start_is_known_before(tmp_path: Path, said: str, why: str) -> None:
    """As Slurm 22.05 prints it (`--test-only`); a full queue, or none, says nothing of the job."""
    assert slurm(tmp_path, sbatch=said).refusal(Path("x")) == why


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("AssocMaxSubmitJobLimit", QueueFull),
        ("QOSMaxSubmitJobPerUserLimit", QueueFull),
        (
            "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, "
            "user's size and/or time limits)",
            QueueFull,
        ),
        ("Batch job submission failed: Resource temporarily unavailable", QueueFull),
        (
            "Batch job submission failed: Unable to contact slurm controller (connect failure)",
            NotNow,
        ),
        ("Batch job submission failed: Socket timed out on send/recv operation", NotNow),
        ("Batch job submission failed: Invalid partition name specified", Refused),
        ("Batch job submission failed: Requested node configuration is not available", Refused),
    ],
)
def test_why_a_job_is_not_accepted(tmp_path: Path, said: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as found:
        slurm(tmp_path, sbatch=f"!sbatch: error: {said}").submit(Path("x"))
    assert type(found.value) is kind
    assert said in str(found.value)


def test_an_answer_without_a_number_is_none(tmp_path: Path) -> None:
    with pytest.raises(NotNow):
        slurm(tmp_path, sbatch="welcome!").submit(Path("x"))


TEN = datetime.datetime(2026, 1, 1, 10).timestamp()  # Slurm prints local times


def test_one_call_for_all_jobs(tmp_path: Path) -> None:
    lines = [
        "7|RUNNING|1-02:03:04|None|n[1-2]|cpu|2026-01-01T10:00:00|2026-01-01T10:05:30|pw-1",
        "8|PENDING|0:00|Priority||gpu|2026-01-01T10:00:00|2026-01-02T10:00:00|my | job",
    ]
    text = "\n".join([*lines, "noise", "9_1|PENDING|0:00|x||cpu|N/A|N/A|an array"])
    assert slurm(tmp_path, squeue=text).states() == {
        "7": State("7", "pw-1", "RUNNING", "None", 93784.0, "n[1-2]", "cpu", TEN, TEN + 330),
        "8": State("8", "my | job", "PENDING", "Priority", 0.0, "", "gpu", TEN),
    }


def test_a_queue_that_does_not_answer_is_not_an_empty_one(tmp_path: Path) -> None:
    one = slurm(tmp_path, squeue="!slurm_load_jobs error: Socket timed out on send/recv operation")
    with pytest.raises(NotNow, match="squeue: slurm_load_jobs error: Socket timed out"):
        one.states()
    assert slurm(tmp_path, squeue="").states() == {}


ENDED = (
    "JobId=7 JobName=x JobState=OUT_OF_MEMORY Reason=OutOfMemory ExitCode=0:9 RunTime=00:01:00 "
    "NodeList=n2 Partition=cpu SubmitTime=2026-01-01T10:00:00 StartTime=2026-01-01T10:00:09 "
    "EndTime=2026-01-01T10:01:09 Command=/a JobState=X"
)


def test_how_a_job_ended(tmp_path: Path) -> None:
    assert slurm(tmp_path, scontrol=ENDED).ended("7") == How(
        "OUT_OF_MEMORY", "OutOfMemory", 0, 9, 60.0, "n2", "cpu", TEN, TEN + 9
    )
    running = ENDED.replace("OUT_OF_MEMORY", "RUNNING")
    with pytest.raises(NotNow, match="job 7 has not ended"):
        slurm(tmp_path, scontrol=running).ended("7")
    with pytest.raises(NotNow):
        slurm(tmp_path, scontrol="!slurm_load_jobs error: Unable to contact").ended("7")


def test_a_forgotten_job_is_asked_of_the_accounts(tmp_path: Path) -> None:
    gone = "!slurm_load_jobs error: Invalid job id specified"
    text = "CANCELLED by 0|None|0:15|75|n3|cpu|2026-01-01T10:00:00|Unknown"
    found = slurm(tmp_path, scontrol=gone, sacct=text).ended("7")
    assert found == How("CANCELLED", "None", 0, 15, 75.0, "n3", "cpu", TEN)
    none = slurm(tmp_path, scontrol=gone, sacct="!Slurm accounting storage is disabled")
    assert none.ended("7") is None


def test_a_machine_without_slurm(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="squeue not found: this machine has no commands of Slurm"):
        Slurm({"PATH": str(tmp_path)}).states()


NOT_SET_UP = (
    "!sbatch: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
    "sbatch: fatal: Could not establish a configuration source"
)


def test_what_is_said_once_if_slurm_is_missing_or_not_configured(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="sbatch not found: this machine has no commands of Slurm"):
        Slurm({"PATH": str(tmp_path)}).check()
    for text in (NOT_SET_UP, "!squeue: fatal: Unable to process configuration file"):
        with pytest.raises(InputError) as found:
            slurm(tmp_path, sbatch=text, squeue="", scontrol="", scancel="").check()
        assert "not configured for any cluster" in str(found.value)
        assert "\n" not in str(found.value)
    slurm(tmp_path, sbatch="slurm 22.05.8", squeue="", scontrol="", scancel="").check()


def test_a_configuration_that_is_gone_for_a_while_ends_no_run(tmp_path: Path) -> None:
    """On sites where it comes from the controller, that is asked again when it is back."""
    one = slurm(tmp_path, sbatch=NOT_SET_UP, squeue=NOT_SET_UP)
    with pytest.raises(NotNow):
        one.states()
    with pytest.raises(NotNow):
        one.submit(Path("x"))


def test_a_job_does_not_inherit_the_limits_of_the_drivers_own() -> None:
    mine = {"PATH": "/bin", "SLURM_CONF": "/c", "CUDA_VISIBLE_DEVICES": "1"}
    theirs = {
        "SLURM_JOB_ID": "1",
        "SLURM_MEM_PER_NODE": "1",
        "SBATCH_PARTITION": "x",
        "PMI_FD": "3",
    }
    assert environment(mine) == mine
    assert environment({**mine, **theirs}) == {"PATH": "/bin", "SLURM_CONF": "/c"}


@pytest.mark.parametrize(
    ("text", "seconds"), [("1-00:00:01", 86401), ("2:03", 123), ("1:00:00", 3600), ("INVALID", 0)]
)
def test_times(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
