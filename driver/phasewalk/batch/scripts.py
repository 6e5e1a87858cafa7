"""What a job needs on a site, its words for srun, and the text of batch scripts: all pure.

Nothing of a settings file reaches a shell unquoted, and no value can begin a new line.
"""

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..cluster import Need, PlaceSettings
from ..cluster import needs as shared
from ..cluster import words as common
from ..errors import InputError
from ..jobs import Job

OUTPUT = "batch.out"
"""File in the folder of a batch script with what it prints itself."""
COMPILE_CORES = 8
"""Most cores of a compilation, which takes as many as there are on one machine."""
_THREADS = ("--hint", "--threads-per-core", "--ntasks-per-core", "--extra-node-info", "-B")
"""Options of sbatch that say whether hardware threads are counted."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./*\[\]&|!-]+")


def needs(job: Job, place: PlaceSettings) -> Need:
    """What the batch job of a job occupies, to itself; the site file comes before the job."""
    need, threads = shared.need_of(job, place), _threads(job)
    nodes, ranks = need.nodes or job.nodes, need.ranks
    if not need.spread:  # one process for Slurm, which starts the others
        nodes, ranks, threads = 1, 1, ranks * threads
    own = replace(need, ranks=ranks, threads=threads, nodes=min(nodes, ranks))
    return replace(own, spread=False, crowd=False, background=False)


def words(job: Job, place: PlaceSettings, *, step: bool = True) -> tuple[str, ...]:
    """The words that start a job's program inside a job of Slurm.

    Args:
        job: the job.
        place: where it runs.
        step: also for a program on one node without MPI: a step of its own, with its share of the
            cores, GPUs and memory; else it has all of the batch job's.
    """
    need = needs(job, place)
    own = common.own_mpiexec(job, place)
    # MPS's daemon is that of the node, also for programs in a container.
    program = (*shared.mps_words(job, place), *common.program(job, place, mpiexec=own))
    alone = need.nodes == 1 and (not job.mpiexec or own)
    if alone and not step:
        return program
    return (*srun(need, place, mpi="none" if alone else common.mpi_of(place)), *program)


def _threads(job: Job) -> int:
    """Number of cores of each rank; the number of jobs in the queue is not that of cores."""
    return min(job.threads, COMPILE_CORES) if job.kind in ("compile", "build") else job.threads


def variables(job: Job, place: PlaceSettings) -> dict[str, str]:
    """The variables of a job, with those that its words rely on."""
    own = common.mpi_variables(job, place)
    fewer = {"OMP_NUM_THREADS": str(_threads(job))} if _threads(job) < job.threads else {}
    return {**own, **job.env, **fewer}


def srun(need: Need, place: PlaceSettings, *, mpi: str = "none") -> tuple[str, ...]:
    """`srun` with the resources of one job step, which shares no core with others."""
    memory = f"{need.memory_MB}M" if need.memory_MB else "0"  # all of the job's, which steps share
    return (
        "srun",
        "--exact",
        f"--nodes={need.nodes or 1}",
        f"--ntasks={need.ranks}",
        *need.evenly,
        f"--cpus-per-task={need.threads}",  # which srun does not inherit since Slurm 22.05
        *whole_cores(place),
        f"--gres={need.gres}",
        f"--mem={memory}",
        f"--mpi={mpi}",
        "--kill-on-bad-exit=1",
        "--unbuffered",
        "--export=ALL",  # a batch job that was submitted with --export=NONE would hand on nothing
    )


def whole_cores(place: PlaceSettings) -> tuple[str, ...]:
    """The option for which Slurm counts cores, not hardware threads, unless the place has its own.

    Otherwise a rank has half a core on many machines, and since Slurm gives no core to two steps,
    labels that share a batch job there wait for each other.
    """
    own = any(word.startswith(_THREADS) for word in place.options or ())
    return () if own else ("--threads-per-core=1",)


def batch_script(
    argv: Sequence[str],
    place: PlaceSettings,
    *,
    name: str,
    folder: Path,
    need: Need,
    options: Sequence[str] = (),
) -> str:
    """The text of a batch script.

    Args:
        argv: what it runs, in place of its shell, so that it receives Slurm's signals.
        place: partition, account, modules, environment and further options.
        name: of the job.
        folder: in which it runs and where its output goes.
        need: what it occupies.
        options: further options of sbatch; those of the place come after them.

    Raises:
        InputError: a value has more than one line, or an option of the place is none.
    """
    given = [*_options(name, folder, need, place), *options, *_further(place)]
    # A login shell knows `module`, but may replace PATH, which `Slurm.submit` hands on.
    shell = "#!/bin/bash -l" if place.modules else "#!/bin/bash"
    lines = [
        shell,
        *(f"#SBATCH {_option(word)}" for word in given),
        "",
        *(('export PATH="${PHASEWALK_PATH:+$PHASEWALK_PATH:}$PATH"',) if place.modules else ()),
        *(_load(module) for module in place.modules or ()),
        *(f"export {key}={quoted(value)}" for key, value in (place.environment or {}).items()),
        f"exec {' '.join(quoted(word) for word in argv)}",
    ]
    return "\n".join(lines) + "\n"


def quoted(word: str) -> str:
    """A word for bash; InputError if it has more than one line."""
    return shlex.quote(_one_line(word))


def _options(name: str, folder: Path, need: Need, place: PlaceSettings) -> list[str]:
    optional = [
        ("partition", place.partition),
        ("account", place.account),
        ("qos", place.qos),
        ("constraint", place.constraint),
        ("gres", need.gres if need.gpus else None),
        ("mem", f"{need.memory_MB}M" if need.memory_MB else None),
    ]
    return [
        f"--job-name={name}",
        *(f"--{key}={value}" for key, value in optional if value is not None),
        f"--nodes={need.nodes or 1}",
        f"--ntasks={need.ranks}",
        *need.evenly,
        f"--cpus-per-task={need.threads}",
        f"--time={math.ceil(need.minutes)}",
        f"--chdir={folder}",
        f"--output={_pattern(folder)}/{OUTPUT}",
        "--open-mode=append",
        "--requeue",
    ]


def _further(place: PlaceSettings) -> list[str]:
    """The place's own options; InputError for a word that is none: sbatch would read no further."""
    for word in place.options or ():
        if not re.match(r"--?[A-Za-z]", word):
            raise InputError(
                f"options: {word!r} is not an option of sbatch; give each as one word: --exclusive"
            )
    return list(place.options or ())


def _pattern(folder: Path) -> str:
    """A folder in a file name of sbatch, where % begins a replacement and no backslash can be."""
    if "\\" in str(folder):
        raise InputError(f"{folder}: Slurm cannot write to a folder with a backslash in its name")
    return str(folder).replace("%", "%%")


def _option(word: str) -> str:
    """An option in a line of a script, by sbatch's own rules of quoting."""
    _one_line(word)
    if _PLAIN.fullmatch(word):
        return word
    inner = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def _load(module: str) -> str:
    word = quoted(module)
    failed = quoted(f"phasewalk: module load {module} failed")
    return f"module load {word} || {{ echo {failed} >&2; exit 1; }}"


def _one_line(word: str) -> str:
    if _CONTROL.search(word):
        raise InputError(f"{word!r}: a line break or control character cannot stand in a script")
    return word
