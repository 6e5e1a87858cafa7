"""What `phasewalk check --site` runs where a kind of work runs: it looks around, and says it.

`python probe_child.py REQUEST` is started as a job of this kind, once for each of its ranks. The
first rank writes `probe.json`, the others `rank-N.json`. `python probe_child.py --answer FOLDER…`
runs beside phasewalk meanwhile, and answers the files by which the first rank measures how long a
file that it writes is on its way. It imports only the standard library, so that it also works
where packages are missing.
"""

import contextlib
import json
import os
import runpy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ANSWER = "--answer"
PROBE, RANK = "probe.json", "rank-{}.json"
PING, PONG = "ping-{}", "pong-{}"
PINGS = 4
"""Number of files that are answered; the first only shows that somebody does."""
UNSEEN_S = 90.0
"""Time after which a file that is not seen is given up; NFS may take a minute."""
SLOW_S = 5.0
"""Time of an answer after which no other is waited for."""
LOOK_S = 0.5
"""Time between two looks at whether a probe has begun, to spare its file system."""
FILES = 20
"""Number of small files whose writing is timed."""
RANKS = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID")
"""Variables with the number of a rank; mpiexec in a job of Slurm does not change the last one."""
VISIBLE = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
OF_MPI = ("PMI", "OMPI_", "MPI_LOCAL", "HYDRA", "HYDI", "MPIR_CVAR")
"""Starts of the names of variables by which a program would take itself for a rank of this job."""
MACHINE = Path(__file__).parents[1] / "engines/machine_child.py"


def main(argv: list[str]) -> int:
    """Look around, or answer."""
    if argv[1] == ANSWER:
        answer([Path(folder) for folder in argv[2:]])
        return 0
    started, machine = time.time(), runpy.run_path(str(MACHINE))
    number = rank()
    if number:
        write(Path(RANK.format(number)), json.dumps(place(machine)))
        return 0
    request = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    found = {"started": started, "machine": machine["facts"](), "place": place(machine)}
    found["missing"] = [name for name in request["programs"] if not there(machine, name)]
    found["file_ms"] = file_ms(Path("small"))
    found.update(pinged(Path()))
    found["steps"] = steps(request["steps"])
    write(Path(PROBE), json.dumps(found))
    return 0


def rank() -> int:
    """Number of this rank; 0 without MPI."""
    numbers = [os.environ[name] for name in RANKS if os.environ.get(name, "").isdigit()]
    return int(numbers[0]) if numbers else 0


def place(machine: Mapping[str, Any]) -> dict[str, Any]:
    """Host, cores and GPUs of this process.

    `cores` names physical cores, each by its hardware threads; `given` is Slurm's number.
    """
    given = os.environ.get("SLURM_CPUS_ON_NODE", "")
    return {
        "host": os.uname().nodename,
        "node": os.environ.get("SLURMD_NODENAME", ""),
        "cores": sorted({core(cpu) for cpu in os.sched_getaffinity(0)}),
        "given": int(given) if given.isdigit() else None,
        "gpus": gpus(machine),
        "gpu_names": sorted({name for (name,) in machine["nvidia"]("name")}),
    }


def core(cpu: int) -> str:
    """The hardware threads of the core of a logical processor."""
    file = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return str(cpu)


def gpus(machine: Mapping[str, Any]) -> list[str]:
    """Names of the GPUs that this process may use."""
    for name in VISIBLE:
        if name in os.environ:
            words = (word.strip() for word in os.environ[name].split(","))
            return [word for word in words if word not in ("", "-1", "NoDevFiles")]
    amd = [file for file in machine["KFD"].glob("*/gpu_id") if _text(file) not in ("", "0")]
    return [index for (index,) in machine["nvidia"]("index")] or [str(n) for n in range(len(amd))]


def _text(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text(encoding="utf-8").strip()
    return ""


def there(machine: Mapping[str, Any], name: str) -> bool:
    """Whether a file exists, or a program is on the path."""
    return Path(name).is_file() if "/" in name else machine["which"](name) is not None


def write(file: Path, text: str) -> None:
    """Write a file so that it appears with all of its content."""
    part = file.with_name(f"{file.name}.part")
    with part.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)


def file_ms(file: Path) -> float:
    """Time to make a small file that is safe on the disk, ms: the median of several."""
    times = []
    for number in range(FILES):
        begun = time.monotonic()
        write(file, f"{number}\n" * 100)
        times.append(time.monotonic() - begun)
        file.unlink()
    return 1000.0 * statistics.median(times)


def pinged(folder: Path) -> dict[str, float | None]:
    """How long files are on their way to phasewalk and back.

    Returns:
        `seen_s`, the median time until the answer to a file is seen here, None if none came; and
        `clock_s`, by how much this clock is ahead of the other.
    """
    times: list[float] = []
    clock = None
    for number in range(PINGS):
        begun, at = time.monotonic(), time.time()
        write(folder / PING.format(number), "ping")
        text = _awaited(folder / PONG.format(number))
        if text is None:
            break
        took = time.monotonic() - begun
        if not times or took <= min(times):
            clock = at + took / 2 - float(text)
        times.append(took)
        if number and took > SLOW_S:
            break
    # The first is looked for less often.
    return {"seen_s": statistics.median(times[1:] or times) if times else None, "clock_s": clock}


def _awaited(file: Path, every_s: float = 0.005) -> str | None:
    until = time.monotonic() + UNSEEN_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError):
            return file.read_text(encoding="utf-8")
        time.sleep(every_s)
    return None


def steps(asked: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Run programs, one after another, up to the first that fails; how each has ended."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(OF_MPI)}
    found: list[dict[str, Any]] = []
    for step in asked:
        begun = time.monotonic()
        code, said = _run(step, {**ours, **step["env"]})
        found.append({"name": step["name"], "code": code, "said": said})
        found[-1]["seconds"] = time.monotonic() - begun
        if code:
            break
    return found


def _run(step: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and last line of a program."""
    try:
        done = subprocess.run(
            [step["argv"][0] or sys.executable, *step["argv"][1:]],
            cwd=step["directory"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=step["limit_s"],
        )
    except (OSError, subprocess.SubprocessError) as error:
        return 127, str(error)
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return done.returncode, lines[-1] if lines else ""


def answer(folders: Sequence[Path], sleep: Callable[[float], None] = time.sleep) -> None:
    """Answer the files of probes with the time here, until all have been answered.

    A folder is looked at rarely until its probe has begun.
    """
    left, next_look = set(folders), 0.0
    begun: set[Path] = set()
    while left:
        all_ = time.monotonic() >= next_look
        next_look = time.monotonic() + LOOK_S if all_ else next_look
        for folder in list(left if all_ else begun):
            last = _answered(folder)
            begun |= {folder} if last >= 0 else set()
            if last == PINGS - 1:
                left.discard(folder)
                begun.discard(folder)
        sleep(0.005 if begun else 0.25)


def _answered(folder: Path) -> int:
    """Answer what is there; the number of the last file that was answered, −1 if none was."""
    last = -1
    for number in range(PINGS):
        if not (folder / PING.format(number)).exists():
            break
        pong = folder / PONG.format(number)
        if not pong.exists():
            with contextlib.suppress(OSError):  # the folder is deleted
                write(pong, repr(time.time()))
        last = number
    return last


if __name__ == "__main__":
    sys.exit(main(sys.argv))
