"""How the driver grows: seconds and memory per round, resume, status and report, over fake engines.

`python tests/bench/growth.py` prints a table: one row for each pair of walkers and labels. A cell
begins with a campaign directory that holds its labels as those of a bootstrap; its first round lays
as many hills as there are labels (one for each walker at least), and is followed by rounds of
`--hills` hills for each walker. Then the same command is given again with nothing left to do
(resume), and `phasewalk status` and `phasewalk report`. Engines are fakes
(`helpers/fake_engines`); their time is taken out, and those that read all labels run in a process
of their own, as engines do, so that their memory is not the driver's. Numbers are CPU seconds of
the driver (of a round: the last one), wall seconds in brackets, and the peak of its memory. What
takes more CPU seconds than `--limit` shows as `> limit`.
"""

import argparse
import importlib.metadata
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).absolute()
PACE, STRIDE, BASE = 10, 50, 8
ALL_WALKERS, ALL_LABELS = (10, 100, 1000), (100, 1000, 10_000, 100_000)
QUICK_WALKERS, QUICK_LABELS = (10, 100), (100, 1000)
LIMIT = "GROWTH_LIMIT_S"
COLUMNS = ("round", "resume", "status", "report")
CAMPAIGN = """\
campaign: growth
rounds: {rounds}
systems:
  salt:
    structure: salt.extxyz
    walkers: {walkers}
    ensemble: npt
    plumed: |
      vol: VOLUME
      metad: METAD ARG=vol SIGMA=0.002 HEIGHT=0.5 PACE={pace}
      PRINT ARG=vol STRIDE={stride} FILE=COLVAR
segment: {{steps: {steps}, dump_every_steps: {steps}, thermo_every_steps: {steps}}}
bootstrap: {{count: {labels}}}
reference: {{share: false, isolated_atoms: false}}
model: {{preset: tiny, r_max_A: 4.0, max_force_error_ratio: null, final: null}}
resources: {{walkers_per_core: 2000}}
deploy: {{mode: torchscript, device: cpu}}
engines: {{plugin: {plugin}}}
"""


def main() -> None:
    """Measure all cells and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, prog="growth.py")
    parser.add_argument("--walkers", nargs="*", type=int, default=QUICK_WALKERS)
    parser.add_argument("--labels", nargs="*", type=int, default=QUICK_LABELS)
    parser.add_argument("--all", action="store_true", help="10 to 1000 walkers, 10² to 10⁵ labels")
    parser.add_argument("--rounds", type=int, default=3, help="of each cell (3)")
    parser.add_argument("--hills", type=int, default=10, help="of a walker in a round (10)")
    parser.add_argument("--limit", type=float, default=120.0, help="CPU seconds of a command (120)")
    parser.add_argument("--keep", type=Path, help="folder to work in, which is kept")
    parser.add_argument("--output", type=Path, help="also write the numbers as JSON")
    parser.add_argument("--profile", action="store_true", help="write cProfile files beside it")
    parser.add_argument("--inside", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.inside:
        inside(given.inside)
        return
    walkers, labels = (ALL_WALKERS, ALL_LABELS) if given.all else (given.walkers, given.labels)
    print(_line("walkers", "labels", *COLUMNS, "memory, GB"), flush=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="phasewalk-growth-") as temporary:
        for count in labels:
            for number in walkers:
                folder = (given.keep or Path(temporary)) / f"{number}-{count}"
                rows.append(cell(folder, number, count, given))
                print(shown(rows[-1], given.limit), flush=True)
    if given.output:
        given.output.write_text(json.dumps(rows, indent=1) + "\n")


def _line(*words: str) -> str:
    return "| " + " | ".join(f"{word:>16}" for word in words) + " |"


def shown(row: dict[str, Any], limit: float) -> str:
    """A row of the table."""
    cells = []
    for name in COLUMNS:
        found = row.get(name)
        cells.append(f"{found['cpu']:.1f} ({found['wall']:.1f})" if found else f"> {limit:g}")
    measured = (one for one in row.values() if isinstance(one, dict))
    memory = max((one.get("memory_GB", 0.0) for one in measured), default=0.0)
    return _line(str(row["walkers"]), str(row["labels"]), *cells, f"{memory:.2f}")


def cell(folder: Path, walkers: int, labels: int, given: argparse.Namespace) -> dict[str, Any]:
    """The numbers of one pair; what took longer than the limit is missing."""
    folder.mkdir(parents=True)
    row: dict[str, Any] = {"walkers": walkers, "labels": labels}
    hills = max(1, labels // walkers)
    write(folder, walkers=walkers, labels=labels, steps=PACE * hills, rounds=1)
    if child(folder, "prepare", None, str(labels)) is None:
        return row
    first = child(folder, "run", given, limit=given.limit * 2)
    if first is None:
        return row
    row["first"] = first
    write(folder, walkers=walkers, labels=labels, steps=PACE * given.hills, rounds=given.rounds)
    more = child(folder, "run", given, limit=given.limit * given.rounds)
    if more is not None:
        row["each_round"] = {**first["rounds"], **more["rounds"]}
        row["round"] = {**more["rounds"][str(given.rounds)], "memory_GB": more["memory_GB"]}
        row["resume"] = child(folder, "run", given, limit=given.limit)
    row["status"] = child(folder, "status", given, limit=given.limit)
    row["report"] = child(folder, "report", given, limit=given.limit)
    return row


def write(folder: Path, *, walkers: int, labels: int, steps: int, rounds: int) -> None:
    """The campaign file, its structure, and what stands for the plugin."""
    from ase.build import bulk
    from ase.io import write as write_atoms

    from phasewalk.engines.plugin import VERSION

    write_atoms(folder / "salt.extxyz", bulk("NaCl", "rocksalt", a=5.64, cubic=True))
    plugin = folder / "plugin" / "fake.so"
    plugin.parent.mkdir(exist_ok=True)
    plugin.touch()
    stamp = {"plugin": VERSION, "torch": 0, "lammps": 0}
    plugin.with_name("phasewalk_stamp.json").write_text(json.dumps(stamp))
    (folder / "growth.yaml").write_text(
        CAMPAIGN.format(
            rounds=rounds, walkers=walkers, steps=steps, labels=labels, pace=PACE, stride=STRIDE,
            plugin=json.dumps(str(plugin)),
        )
    )  # fmt: skip


def child(
    folder: Path, what: str, given: argparse.Namespace | None, *more: str, limit: float = 3600.0
) -> dict[str, Any] | None:
    """What a process of its own measures; None if it ran past the limit (CPU seconds)."""
    result = folder / f"{what}.json"
    result.unlink(missing_ok=True)
    profile = folder / f"{what}-{time.time_ns()}.prof"
    options = ["-m", "cProfile", "-o", str(profile)] if given and given.profile else []
    argv = [sys.executable, *options, str(HERE), "--inside", what, str(folder), *more]
    env = {**os.environ, "PHASEWALK_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1",
           LIMIT: str(round(limit))}  # fmt: skip
    with (folder / f"{what}.log").open("wb") as log:
        try:
            subprocess.run(
                argv, check=True, timeout=10 * limit, env=env, stdout=log, stderr=subprocess.STDOUT
            )
        except subprocess.TimeoutExpired:
            return None
        except subprocess.CalledProcessError as error:
            if error.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
                return None
            print(f"{what} in {folder} failed:", (folder / f"{what}.log").read_text()[-3000:])
            raise
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def inside(words: list[str]) -> None:
    """In the child: do it, and write what it took."""
    what, folder = words[0], Path(words[1])
    limit = int(os.environ[LIMIT])
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    started = time.perf_counter()
    told: dict[str, Any] = {}
    if what == "prepare":
        prepare(folder, int(words[2]))
    elif what == "run":
        told = run(folder, ["run", str(folder / "growth.yaml"), "--dir", str(folder / "run")])
    else:
        run(folder, [what, str(folder / "run")])
    told.setdefault("cpu", time.process_time())
    told["wall"] = time.perf_counter() - started - told.pop("fakes_wall", 0.0)
    told["memory_GB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    (folder / f"{what}.json").write_text(json.dumps(told))


def run(folder: Path, argv: list[str], stop_at: str = "\0") -> dict[str, Any]:
    """`phasewalk` with these words over fake engines, in this process."""
    sys.path.insert(0, str(HERE.parents[1]))
    from helpers.fake_engines import FakeEngines
    from helpers.fakes import FakeLauncher, FakeSession

    (script,) = importlib.metadata.entry_points(group="console_scripts", name="phasewalk")
    command = script.load()
    from phasewalk.engines.local import LocalLauncher

    began = time.process_time(), time.perf_counter()
    fake = Timed(FakeEngines(remembers=False), stop_at)
    launcher = FakeLauncher(fake, jobs=fake.jobs)
    LocalLauncher.session = lambda self: FakeSession(launcher)  # type: ignore[method-assign]
    sys.argv = ["phasewalk", *argv]
    try:
        command()
    except SystemExit as error:
        if error.code not in (0, None) and stop_at == "\0":
            raise
    return {
        "cpu": time.process_time() - fake.cpu,
        "rounds": rounds_of(fake.marks, began),
        "fakes_wall": fake.wall,
    }


class Timed:
    """Fake engines that take their own time out.

    Attributes:
        cpu, wall: seconds that the fakes took so far.
        marks: (name of a job, CPU and wall seconds of the driver when it had ended).
        jobs: started by the launcher; emptied, since their files in memory are no part of the
            driver's.
    """

    def __init__(self, play: Callable[[Any], int], stop_at: str) -> None:
        self.play, self.stop_at = play, stop_at
        self.cpu = self.wall = 0.0
        self.marks: list[tuple[str, float, float]] = []
        self.jobs: list[Any] = []

    def __call__(self, job: Any) -> int:
        """Play the job; KeyboardInterrupt if its name begins with `stop_at`."""
        if job.name.startswith(self.stop_at):
            raise KeyboardInterrupt
        cpu, wall = time.process_time(), time.perf_counter()
        if job.name.startswith("plumed"):  # PLUMED's check of a text
            code = 0
        elif job.kind in ("label", "atom"):  # as many as there are labels, and small
            code = self.play(job)
        else:
            code = apart(self.play, job)
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall
        now = time.process_time() - self.cpu, time.perf_counter() - self.wall
        self.marks.append((job.name, *now))
        self.jobs.clear()
        return code


def apart(play: Callable[[Any], int], job: Any) -> int:
    """What a job returns when it is played in a process of its own."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = play(job)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def rounds_of(
    marks: list[tuple[str, float, float]], began: tuple[float, float]
) -> dict[str, dict[str, float]]:
    """What each round took: from the last job of the round before to its own last one.

    The report after a round so counts to the next one; and the start of a command to the first
    round that it walks.
    """
    ends: dict[int, tuple[float, float]] = {}
    last = began
    for name, cpu, wall in marks:
        words = name.split()
        if name.startswith("segment") and int(words[-1]) - 1 not in ends:
            ends[int(words[-1]) - 1] = last
        last = (cpu, wall)
        if name.startswith("evaluate generation") and words[2] == words[-1]:
            ends[int(words[2])] = last
    return {
        str(n): {"cpu": ends[n][0] - ends[n - 1][0], "wall": ends[n][1] - ends[n - 1][1]}
        for n in ends
        if n and n - 1 in ends
    }


def prepare(folder: Path, labels: int) -> None:
    """A campaign directory with so many labels of its bootstrap, and nothing else.

    The first `BASE` come from a run that is interrupted before its training; the others are made
    from these as files and lines of the journal, without a process for each.
    """
    import numpy as np

    text = (folder / "growth.yaml").read_text()
    (folder / "growth.yaml").write_text(text.replace(f"count: {labels}}}", f"count: {BASE}}}"))
    where = ["run", str(folder / "growth.yaml"), "--dir", str(folder / "run")]
    run(folder, where, stop_at="train")
    (folder / "growth.yaml").write_text(text)
    if labels > BASE:
        multiply(folder / "run", labels, np.random.default_rng(7))


def multiply(root: Path, labels: int, random: Any) -> None:
    """Let a bootstrap's labels be so many: frames, label files, and the journal's lines."""
    from dataclasses import replace

    from phasewalk.files import hash_bytes
    from phasewalk.labels.label import content_key, frame_to_json, from_json, to_json

    journal = root / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    frames = json.loads((root / "rounds/000/frames.json").read_text())
    records = [line for line in lines if line["stage"] == "label"]
    paths = [root / f"labels/{record['outputs']['key']}.json" for record in records]
    bases = [from_json(path.read_text(), path) for path in paths]
    for index in range(len(frames), labels):
        base = bases[index % BASE]
        atoms = base.atoms.copy()
        atoms.positions += random.normal(scale=0.04, size=atoms.positions.shape)
        origin = {**frames[0]["origin"], "index": index}
        key = content_key(atoms, base.level)
        label = replace(base, key=key, atoms=atoms, origin=origin)  # of about these numbers
        content = to_json(label).encode()
        (root / f"labels/{key}.json").write_bytes(content)
        frames.append({"origin": origin, "frame": frame_to_json(atoms)})
        place = records[0]["outputs"]["place"].replace(records[0]["outputs"]["key"], key)
        told = {"key": key, "origin": origin, "place": place,
                "files": {f"labels/{key}.json": hash_bytes(content)}}  # fmt: skip
        task = records[0]["task"].replace(records[0]["outputs"]["key"], key)
        outputs = {**records[0]["outputs"], **told}
        lines.append({**records[0], "task": task, "inputs": key, "outputs": outputs})
    content = json.dumps(frames).encode()
    (root / "rounds/000/frames.json").write_bytes(content)
    for line in lines:
        if line["task"] == "bootstrap":
            line["outputs"]["frames"] = labels
            line["outputs"]["drawn_with"]["count"] = labels
            line["outputs"]["files"]["rounds/000/frames.json"] = hash_bytes(content)
    crc, written = 0, []
    for line in lines:
        line.pop("crc")
        crc = zlib.crc32(json.dumps(line).encode(), crc)
        written.append(json.dumps({**line, "crc": crc}))
    journal.write_text("".join(f"{line}\n" for line in written))


if __name__ == "__main__":
    main()
