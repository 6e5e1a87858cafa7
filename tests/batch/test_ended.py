"""What Slurm says of an end, and what follows."""

import pytest

from phasewalk.batch.ended import of_failure, too_often, verdict
from phasewalk.batch.scheduler import How
from phasewalk.cluster import Need

NEED = Need(memory_MB=300, minutes=30)
# Printed by Slurm 22.05 into batch.out, and by srun into the errors of a program.
MEMORY = [
    "slurmstepd-n2: error: StepId=2.batch exceeded memory limit (554663936 > 314572800), being "
    "killed",
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.batch.",
    "srun: error: n2: task 0: Out Of Memory",
    "slurmstepd-n2: error: Exceeded job memory limit",
]


@pytest.mark.parametrize("printed", MEMORY)
def test_memory(printed: str) -> None:
    for how in (
        How("FAILED", "JobLaunchFailure", 0, 9),
        How("OUT_OF_MEMORY", "OutOfMemory", 0, 125),
    ):
        found = verdict(how, printed, NEED, "label")
        assert (found.again, found.returncode) == (False, 137)
        assert found.why.startswith("killed for memory")
        assert found.why.endswith("; raise memory_GB of label in the site file")
    assert of_failure(1, printed, NEED, "label") == found.why


def test_how_much_memory() -> None:
    why = verdict(How("FAILED"), MEMORY[0], NEED, "label").why
    assert "killed for memory: 0.529 of 0.3 GB;" in why
    assert "(limit: 0.3 GB)" in verdict(How("OUT_OF_MEMORY"), "", NEED, "label").why


@pytest.mark.parametrize(
    ("how", "printed", "again", "words"),
    [
        (None, "", True, "lost: it is no longer in Slurm's queue, and has left no result"),
        (How("NODE_FAIL", nodes="n2"), "", True, "lost with its node (n2)"),
        (How("PREEMPTED"), "", True, "preempted by a job of higher priority"),
        (How("COMPLETED"), "", True, "lost: its batch job has ended without a result"),
        (How("FAILED", "JobLaunchFailure", 0, 53, nodes="n1"), "", True, "not started by its node"),
        (
            How("TIMEOUT"),
            "",
            False,
            "stopped at the time limit of its batch job, 30 min; raise time",
        ),
        (How("CANCELLED"), "", False, "cancelled by hand (scancel)"),
        (
            How("FAILED", "NonZeroExitCode", 1, nodes="n2"),
            "\nphasewalk: module load cp2k failed\n",
            False,
            "ended with its batch script, which failed with code 1 (n2): phasewalk: module load "
            "cp2k failed",
        ),
        (How("FAILED", "None", 0, 6), "", False, "ended with its batch script, by signal 6"),
    ],
)
def test_what_follows(how: How | None, printed: str, again: bool, words: str) -> None:
    found = verdict(how, printed, NEED, "label")
    assert found.again is again
    assert found.why.startswith(words)
    assert found.why in too_often(found)


def test_a_program_that_failed_by_itself_is_not_explained() -> None:
    assert of_failure(1, "SCF not converged", NEED, "label") == ""
    assert of_failure(137, "", NEED, "train") == (
        "killed (signal 9), perhaps for memory: raise memory_GB of train in the site file"
    )
