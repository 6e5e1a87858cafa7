"""Slurm's commands, as lists of words that no shell reads, and what they print.

A command that does not answer says nothing about jobs: it is asked again later.
"""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ..errors import InputError, PhasewalkError, brief

ANSWER_S = 30.0
"""Seconds after which a command is given up."""
GONE = re.compile(r"Invalid job id", re.I)
"""What is said of a job that Slurm does not know any more."""
_OF_A_JOB = re.compile(r"^(SLURM|SBATCH|SALLOC|SRUN|SQUEUE|PMI|PMIX|SLURMD)_")
_KEPT = ("SLURM_CONF", "SLURM_CLUSTERS")
_GPUS = (
    "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "GPU_DEVICE_ORDINAL",
)


class NotNow(PhasewalkError):
    """The scheduler does not answer now; what was asked is not known, or may not have been done."""


@dataclass(frozen=True)
class Answer:
    """What a command answered.

    Attributes:
        code: its exit code.
        out: what it printed.
        why: its errors, on one line, without its name.
    """

    code: int
    out: str
    why: str


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for the scheduler's commands.

    Without the variables of a job in which phasewalk itself may run: a new job would inherit its
    limits, and SBATCH_… comes before what the script says.
    """
    dropped = _GPUS if "SLURM_JOB_ID" in environ else ()
    return {
        name: value
        for name, value in environ.items()
        if name in _KEPT or not (_OF_A_JOB.match(name) or name in dropped)
    }


def run(*argv: str, environ: Mapping[str, str]) -> Answer:
    """Run one of Slurm's commands, which may fail.

    Raises:
        NotNow: no answer.
        InputError: there is no such command.
    """
    env = environment(environ)
    if argv[0] == "sbatch":  # the job inherits it
        env["PHASEWALK_PATH"] = env.get("PATH", "")
    else:
        env["LC_ALL"] = "C"
    try:
        done = subprocess.run(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=ANSWER_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotNow(f"{argv[0]}: no answer in {ANSWER_S:g} s") from error
    except FileNotFoundError as error:
        raise InputError(
            f"{argv[0]} not found: this machine has no commands of Slurm; run phasewalk on a "
            "login node, or without --site"
        ) from error
    except OSError as error:
        raise NotNow(f"{argv[0]}: {error.strerror}") from error
    return Answer(done.returncode, done.stdout, _said(done))


def value(text: str, name: str) -> str:
    """Value of NAME=VALUE in what scontrol prints; empty if it is not there or null."""
    found = re.search(rf"(?:^|\s){name}=(\S*)", text)
    return found[1] if found and found[1] != "(null)" else ""


def seconds_of(time: str) -> float:
    """Seconds of Slurm's [days-][hours:]minutes:seconds; 0 for anything else."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)", time.strip())
    if found is None:
        return 0.0
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def date(text: str) -> float | None:
    """Seconds since 1970 of a local time as Slurm prints it; None for anything else."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _said(done: "subprocess.CompletedProcess[str]") -> str:
    lines = [re.sub(r"^\w+: (error: )?", "", line) for line in done.stderr.splitlines()]
    return brief("; ".join(line for line in lines if line) or f"exit code {done.returncode}")
