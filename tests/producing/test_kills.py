"""`phasewalk produce` killed at random moments and in all ways: each step is in the files once."""

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from helpers.campaigns import PHASEWALK, TinyCampaign
from helpers.cases import cases
from helpers.produced import (
    DUMPED,
    FS,
    PACE,
    PRINTED,
    SETTINGS,
    STEPS,
    TABLE,
    Run,
    frames,
    kill,
    kill_all,
    kill_one,
    table,
)
from phasewalk.alarms import ALARMS
from phasewalk.engines.discovery import EngineSettings, find
from phasewalk.producing.outputs import restart_step

pytestmark = [
    pytest.mark.engine("lammps", "plumed", "plugin", "nequip", "tblite"),
    pytest.mark.timeout(900),
]
PER_PS = 1000 / FS
ATOMS = 16
METAD = f"METAD ARG=vol SIGMA=0.002 HEIGHT=0.05 PACE={PACE}"
OPES = f"OPES_METAD ARG=vol SIGMA=0.002 BARRIER=5 PACE={PACE}"


@dataclass(frozen=True)
class Kind:
    """A run: what is changed in the settings, and the files of hills of its walkers."""

    settings: str
    hills: tuple[str, ...]
    ranks: int = 1

    @property
    def walkers(self) -> tuple[str, ...]:
        return tuple(f"walker-{n}" for n in range(len(self.hills)))

    def files(self) -> Iterator[tuple[str, str, range, float]]:
        """Walker, name, steps, and steps in a unit of the first column (0 for frames)."""
        for walker, hills in zip(self.walkers, self.hills, strict=True):
            yield walker, f"{walker}.thermo", range(0, STEPS + 1, TABLE), 1.0
            yield walker, f"{walker}.colvar", range(0, STEPS + 1, PRINTED), PER_PS
            yield walker, f"{walker}.dump", range(0, STEPS + 1, DUMPED), 0.0
            yield walker, hills, range(PACE, STEPS + 1, PACE), PER_PS


KINDS = {
    "one walker": Kind(SETTINGS, ("walker-0.metad.hills",)),
    "shared hills": Kind(SETTINGS + "walkers: 2\n", ("metad.hills.0", "metad.hills.1")),
    "opes": Kind(SETTINGS.replace(METAD, OPES), ("walker-0.out.metad.kernels",)),
    "two ranks": Kind(SETTINGS + "ranks: 2\n", ("walker-0.metad.hills",), ranks=2),
}
WAYS = ("all", "program", "mpiexec", "rank", "supervisor", "SIGTERM", "SIGINT", "SIGINT twice")


def entries(kind: Kind, folder: Path) -> dict[str, dict[int, str]]:
    """Step → text of what is in each file of a run that was killed, without a torn last entry."""
    return {name: whole(folder / name, per_unit) for _, name, _, per_unit in kind.files()}


def whole(path: Path, per_unit: float) -> dict[int, str]:
    """The entries of one file."""
    text = path.read_text() if path.exists() else ""
    if per_unit:
        lines = [line for line in text.split("\n")[:-1] if not line.startswith("#")]
        return {round(float(line.split()[0]) * per_unit): line for line in lines}
    parts = text.split("ITEM: TIMESTEP\n")[1:]
    return {int(part.split("\n")[0]): part for part in parts if part.count("\n") == 8 + ATOMS}


def check_kept(kind: Kind, folder: Path, before: dict[str, dict[int, str]]) -> None:
    """What was written up to the restart file has stayed, and the cell was the same there."""
    now = entries(kind, folder)
    for walker, name, _, _ in kind.files():
        step = restart_step(folder / f"{walker}.restart", ATOMS) or 0
        for each, text in before.get(name, {}).items():
            if each < step:
                assert now[name][each] == text, (name, each)
        if name.endswith("colvar") and step in before.get(name, {}) and step in now[name]:
            assert now[name][step].split()[:2] == before[name][step].split()[:2]


def stop(run: Run, process: "subprocess.Popen[str]", way: str, draw: random.Random) -> str:
    """Stop a run in one of the ways; what it said."""
    if way == "all":
        kill_all(run, process)
        return ""
    if way == "program":
        kill(process)
        return ""
    if way in ("mpiexec", "rank", "supervisor"):
        names = {"mpiexec": "mpiexec", "rank": "lmp", "supervisor": "python"}
        return kill_one(run, process, names[way])
    number = signal.SIGTERM if way == "SIGTERM" else signal.SIGINT
    process.send_signal(number)
    if way == "SIGINT twice":
        try:
            process.wait(draw.uniform(0.0, 0.3))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    assert process.returncode in (0, 130, -number), said  # before it had begun to listen
    return said


def tear(kind: Kind, folder: Path, draw: random.Random) -> str:
    """What a lost machine leaves: the end of a file was not written."""
    names = [name for _, name, _, _ in kind.files()]
    for walker in kind.walkers:
        files = [folder / f"{walker}.restart.{one}" for one in "ab"]
        steps = sorted((step, path) for path in files if (step := restart_step(path, ATOMS)))
        if len(steps) == 2 and draw.random() < 0.5:
            path = steps[1][1]
            size = draw.randrange(path.stat().st_size)
            os.truncate(path, size)
            return f"{path.name} at {size}"
        if len(steps) < 2:
            return ""
    path = folder / draw.choice(names)
    last = path.read_bytes().splitlines(keepends=True)[-1]
    size = path.stat().st_size - draw.randint(1, len(last))
    os.truncate(path, size)
    return f"{path.name} at {size}"


def check_alarms(folder: Path) -> None:
    """The alarms are those of the frames that are there, each once, also if looked at anew."""
    lines = (folder / ALARMS).read_text().splitlines()
    found = [json.loads(line) for line in lines]
    keys = [(one["walker"], one["step"], one["kind"], one["what"]) for one in found]
    assert len(set(keys)) == len(keys)
    for one in found:
        with (folder / f"{one['walker']}.dump").open() as stream:
            stream.seek(one["start"])
            assert stream.read(40).startswith(f"ITEM: TIMESTEP\n{one['step']}\n")
    anew = folder.with_name("anew")
    shutil.copytree(folder, anew)
    (anew / ALARMS).unlink()
    (anew / "alarms.seen.json").unlink()
    subprocess.run([*PHASEWALK, "alarms", str(anew)], check=True, capture_output=True)
    again = (anew / ALARMS).read_text().splitlines()
    assert sorted(again) == sorted(lines)
    shutil.rmtree(anew)


def check_analysed(folder: Path) -> None:
    """What there is can be analysed, or one line says why not."""
    ended = subprocess.run([*PHASEWALK, "analyse", str(folder)], capture_output=True, text=True)
    assert ended.returncode in (0, 2), ended.stderr
    assert ended.stderr.count("\n") == (ended.returncode == 2), ended.stderr


def check_all(kind: Kind, folder: Path) -> None:
    """Each step once in all files; the alarms are those of the frames; restart files are whole."""
    for _, name, steps, per_unit in kind.files():
        path = folder / name
        found = table(path, per_unit) if per_unit else frames(path, ATOMS)
        assert [step for step, _ in found] == list(steps), name
    for walker in kind.walkers:
        assert restart_step(folder / f"{walker}.restart.end", ATOMS) == STEPS
        read_by_lammps(folder / f"{walker}.restart.end")
    assert not list(folder.glob("bck.*"))
    check_alarms(folder)


def read_by_lammps(path: Path) -> None:
    """The restart file has all atoms, at the last step."""
    engines = find(EngineSettings(), os.environ)
    deck = path.with_name("read.lmp")
    what = 'variable n equal atoms\nvariable s equal step\nprint "read: $n $s"\n'
    deck.write_text(f"read_restart {path.name}\n{what}")
    said = subprocess.run(
        [str(engines.lmp), "-in", deck.name, "-log", "none"],
        cwd=path.parent,
        env={**os.environ, **engines.env},
        capture_output=True,
        text=True,
    )
    deck.unlink()
    assert f"read: {ATOMS} {STEPS}" in said.stdout, said.stdout + said.stderr


@pytest.mark.long
@pytest.mark.parametrize("seed", range(cases(4, 40)))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.replace(" ", "-"))
def test_killed_at_random(learned: TinyCampaign, tmp_path: Path, kind: str, seed: int) -> None:
    one, draw = KINDS[kind], random.Random(f"{kind} {seed}")
    run = Run(learned, tmp_path)
    run.write(one.settings)
    if one.ranks > 1:
        exchange(learned, tmp_path)
    before: dict[str, dict[int, str]] = {}
    for _ in range(draw.randint(3, 4)):
        process = run.start()
        wait(run, process, draw)
        way, reached = draw.choice(WAYS), run.step()
        said = stop(run, process, way, draw)
        assert "Traceback" not in said, said
        torn = ""
        if run.root.is_dir():
            check_kept(one, run.root, before)
            torn = tear(one, run.root, draw) if way == "all" else ""
            before = entries(one, run.root)
            if draw.random() < 0.3:
                check_analysed(run.root)
        print(f"at {reached}: {way}; torn: {torn}; {said.splitlines()[-1:]}")
    print(run.to_end())
    check_kept(one, run.root, before)
    check_all(one, run.root)


def wait(run: Run, process: "subprocess.Popen[str]", draw: random.Random) -> None:
    """Until a moment of its start, or of its way."""
    begin = run.step()
    if draw.random() < 0.3:
        with suppress(subprocess.TimeoutExpired):
            process.wait(draw.uniform(0.0, 10.0))
        return
    target = min(STEPS, begin + draw.randint(0, STEPS // 4))
    what = draw.choice(("step", "hill", "restart"))
    files = {"step": "walker-0.thermo", "hill": "*hills*", "restart": "*.restart.[ab]"}

    def times() -> list[int]:
        return [path.stat().st_mtime_ns for path in run.root.glob(files[what])]

    while process.poll() is None and run.step() < target:
        time.sleep(0.01)
    first = times()
    while process.poll() is None and times() == first:
        time.sleep(0.001)


def exchange(learned: TinyCampaign, folder: Path) -> None:
    """The model's file for several ranks, made once."""
    made = learned.folder / "model.exchange.nequip.pth"
    if not made.exists():
        checkpoint = learned.root / "models/gen-001/checkpoint.ckpt"
        words = f"deploy {checkpoint} --mode torchscript --target ranks -o {made}"
        subprocess.run([*PHASEWALK, *words.split()], check=True, timeout=300)
    for path in made.parent.glob(f"{made.name}*"):
        shutil.copy(path, folder)
