"""`phasewalk produce` as a process, what it is killed with, and its files read byte by byte."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from .campaigns import PHASEWALK, TinyCampaign

STEPS, PACE, PRINTED, TABLE, DUMPED, RESTARTS = 2000, 14, 5, 10, 20, 140
FS = 0.5
LENGTH = f"length_ps: {STEPS * FS / 1000:g}"

SETTINGS = f"""
campaign: run
structure: NaCl
supercell: [2, 1, 1]
ensemble: npt
temperature_K: 100
{LENGTH}
thermo_every_steps: {TABLE}
dump_every_steps: {DUMPED}
restart_every_steps: {RESTARTS}
plumed: |
  vol: VOLUME
  metad: METAD ARG=vol SIGMA=0.002 HEIGHT=0.05 PACE={PACE}
  PRINT ARG=vol,metad.bias STRIDE={PRINTED} FILE=COLVAR
"""


class Run:
    """A production file beside a learned campaign, and `phasewalk produce` as a process."""

    def __init__(self, learned: TinyCampaign, folder: Path, more: str = "") -> None:
        self.folder, self.file = folder, folder / "p.yaml"
        self.root = folder / "p.production"
        folder.mkdir(exist_ok=True)
        (folder / "run").symlink_to(learned.root)
        self.write(SETTINGS + more)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*PHASEWALK, "produce", "p.yaml"],
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=_as_in_a_terminal,
        )

    def to_end(self) -> str:
        process = self.start()
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said
        return said

    def refused(self) -> str:
        process = self.start()
        said, _ = process.communicate(timeout=100)
        assert process.returncode == 2, said
        return said.splitlines()[-1]

    def until(self, process: "subprocess.Popen[str]", happened: Callable[[], bool]) -> None:
        """Wait for something that a running process does."""
        end = time.monotonic() + 300
        while not happened():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < end
            time.sleep(0.002)

    def step(self, walker: str = "walker-0") -> int:
        """The last step in the table of a walker."""
        path = self.root / f"{walker}.thermo"
        lines = path.read_text().splitlines() if path.exists() else []
        return int(lines[-1].split()[0]) if lines and lines[-1][:1].isdigit() else 0

    def hills(self, name: str) -> int:
        path = self.root / name
        lines = path.read_text().splitlines() if path.exists() else []
        return sum(not line.startswith("#") for line in lines)

    def processes(self) -> dict[int, str]:
        """The processes that work in the folder of the run, and their programs."""
        found = {}
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if (entry / "cwd").readlink() == self.root:
                    found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        return found


def _as_in_a_terminal() -> None:
    """Shells start what runs in the background, and so these tests, with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def kill(process: "subprocess.Popen[str]") -> None:
    """As the system does without memory: the program, not those that it started."""
    process.kill()
    process.communicate(timeout=60)


def kill_all(run: Run, process: "subprocess.Popen[str]") -> None:
    """As a lost machine: everything at one moment."""
    processes = run.processes()
    for number in (process.pid, *processes):
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.communicate(timeout=60)


def kill_one(run: Run, process: "subprocess.Popen[str]", program: str) -> str:
    """One of the processes that the run has started, or itself; what it then says."""
    found = [n for n, words in run.processes().items() if program in words.partition(" ")[0]]
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(found[0] if found else process.pid, signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    return said


def rows(path: Path, steps: float = 1.0) -> list[int]:
    """Steps of the rows of a table, of which there are so many in a unit of its first column."""
    return [step for step, _ in table(path, steps)]


def table(path: Path, steps: float = 1.0) -> list[tuple[int, str]]:
    """Step and text of each row of a table; each has as many columns as the title."""
    text = path.read_text()
    assert text.endswith("\n") or not text, path
    found, columns = [], 0
    for line in text.splitlines():
        if line.startswith(("#! FIELDS", "# step")):
            columns = len(line.removeprefix("#!").removeprefix("#").replace("FIELDS", "").split())
        if not line.startswith("#"):
            words = line.split()
            assert len(words) == columns, (path, line)
            found.append((round(float(words[0]) * steps), line))
    return found


def frames(path: Path, atoms: int) -> list[tuple[int, str]]:
    """Step and text of each frame of a dump; each is whole."""
    first, *parts = path.read_text().split("ITEM: TIMESTEP\n")
    assert first == "", path
    found = []
    for part in parts:
        lines = part.split("\n")
        assert len(lines) == 9 + atoms, (path, part)
        assert lines[-1] == "", (path, part)
        assert [int(line.split()[0]) for line in lines[8:-1]] == list(range(1, atoms + 1))
        assert {len(line.split()) for line in lines[8:-1]} == {9}
        found.append((int(lines[0]), part))
    return found


def assert_continuous(
    folder: Path, walker: str, hills: str, *, steps: int, every: Mapping[str, int]
) -> None:
    """All that a walker wrote in steps of 0.5 fs, from its first to its last: each entry once.

    Args:
        folder: of the run.
        walker: its name.
        hills: name of its hills file.
        steps: number of steps of the run.
        every: steps between rows of thermo, dump, colvar and hills.
    """
    ends = {f"{walker}.thermo": 1.0, f"{walker}.colvar": 2000.0, hills: 2000.0}
    for (name, per_ps), kind in zip(ends.items(), ("thermo", "colvar", "hills"), strict=True):
        first = every[kind] if kind == "hills" else 0
        assert rows(folder / name, per_ps) == list(range(first, steps + 1, every[kind])), name
    lines = (folder / f"{walker}.dump").read_text().splitlines()
    marks = [int(lines[n + 1]) for n, line in enumerate(lines) if line == "ITEM: TIMESTEP"]
    assert marks == list(range(0, steps + 1, every["dump"]))
