"""Tiny real campaigns: their files, and `phasewalk run` as the process that a user starts."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
from ase.build import bulk
from filelock import FileLock

from phasewalk.bias import hill_tables
from phasewalk.bias.hills import HillsRecord
from phasewalk.engines import plugin
from phasewalk.engines.discovery import EngineSettings, find
from phasewalk.labels.label import frame_from_json
from phasewalk.store.records import FILES
from phasewalk.structures.structure import fingerprint

LATTICE_A = {"NaCl": 5.64, "KCl": 6.29}
PACE, STEPS = 20, 400
PATIENCE_S = 200.0

_SYSTEM = """
  {name}:
    structure: {name}.extxyz
    walkers: 2
    ensemble: npt
    temperature_K: 100
    bonds: free
    plumed: |
      vol: VOLUME
      METAD ARG=vol SIGMA=0.002 HEIGHT=0.5 PACE={pace} LABEL=metad
      PRINT ARG=vol,metad.bias STRIDE=10 FILE=COLVAR
"""

_CAMPAIGN = """
campaign: tiny
rounds: {rounds}
systems:{systems}
bootstrap: {{count: 8, displacement_A: 0.05, strain: 0.02}}
segment: {{steps: {steps}, dump_every_steps: 20}}
validation_every: 4
policy: {{max_energy_error_meV_per_atom: null}}
reference: {{command: {command}}}
model:
  preset: tiny
  optimizer: adam  # with so few epochs the better of the two
  first: {{epochs: 20, learning_rate: 0.01}}
  warm: {{epochs: 10, learning_rate: 0.005}}
  final: {final}
  max_force_error_ratio: null
deploy: {{mode: torchscript, device: cpu}}
engines: {{plugin: {plugin}}}
"""

# Writes down each frame that the real reference has finished. The result is handed on after that:
# a kill between the two is the only moment that could be counted twice. It begins when there is no
# file "hold" beside it: the text must be the same for all, because labels depend on it.
_WRAPPER = """
import os, subprocess, sys, time
while os.path.exists(os.path.join(os.path.dirname(__file__), "hold")):
    time.sleep(0.2)
request, result, log = sys.argv[2], sys.argv[3], sys.argv[1]
code = subprocess.call([sys.executable, "-m", "phasewalk.reference", request, "inner.json"])
if code == 0:
    with open(log, "a") as stream:
        stream.write(os.path.basename(os.getcwd()) + "\\n")
    os.replace("inner.json", result)
sys.exit(code)
"""


def _as_in_a_terminal() -> None:
    """Shells start what runs in the background, and so these tests, with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def hills(root: Path, system: str) -> HillsRecord:
    """All hills of a system, from the tables of its rounds."""
    tables = sorted((root / "bias" / system).glob("round-*.tsv"), reverse=True)
    found = hill_tables.record(hill_tables.read(path) for path in tables)
    assert found is not None
    return found


@dataclass(frozen=True)
class TinyCampaign:
    """The files of a campaign; one round of two walkers for each system."""

    folder: Path
    file: Path
    root: Path
    calls: Path

    def start(self) -> subprocess.Popen[str]:
        """`phasewalk run`, in the background."""
        return subprocess.Popen(
            [*PHASEWALK, "run", str(self.file), "--dir", str(self.root)],
            preexec_fn=_as_in_a_terminal,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=self.env(),
        )

    def env(self) -> dict[str, str]:
        """A cache of its own, so that each campaign compiles its network."""
        return {**os.environ, "PHASEWALK_CACHE": str(self.folder / "cache")}

    def records(self) -> list[dict[str, Any]]:
        """The journal as it is on disk."""
        path = self.root / "journal.jsonl"
        if not path.is_file():
            return []
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]]

    def done(self, stage: str) -> int:
        """Finished tasks of a stage."""
        return sum(record["stage"] == stage for record in self.records())

    def paid(self) -> list[str]:
        """What the reference has finished, in that order: keys of frames, and isolated atoms."""
        return self.calls.read_text().split() if self.calls.is_file() else []

    def labelled(self) -> list[str]:
        """Keys of the frames that the reference has finished, in that order."""
        return [name for name in self.paid() if len(name) > 2]

    def frames(self) -> Mapping[str, Mapping[str, Any]]:
        """Frame fingerprint → label, from the label files."""
        found = {}
        for path in sorted((self.root / "labels").glob("*.json")):
            data = json.loads(path.read_text())
            found[fingerprint(frame_from_json(data["frame"]))] = data
        return found

    def processes(self) -> list[int]:
        """Processes that run in the campaign's directory."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    place = (entry / "cwd").readlink()
                except OSError:
                    continue
                if place.is_relative_to(self.root):
                    found.append(int(entry.name))
        return found


PHASEWALK = (sys.executable, "-m", "phasewalk")


def make(folder: Path, systems: Sequence[str], rounds: int, *, final: str = "null") -> TinyCampaign:
    """Write the campaign's files into a new folder, whose name may hold anything."""
    folder.mkdir(parents=True)
    for name in systems:
        atoms = bulk(name, "rocksalt", a=LATTICE_A[name], cubic=True)
        ase.io.write(folder / f"{name}.extxyz", atoms)
    wrapper, calls = folder / "reference.py", folder / "calls.txt"
    wrapper.write_text(_WRAPPER)
    file = folder / "campaign.yaml"
    file.write_text(
        _CAMPAIGN.format(
            rounds=rounds,
            systems="".join(_SYSTEM.format(name=name, pace=PACE) for name in systems),
            steps=STEPS,
            final=final,
            command=json.dumps([sys.executable, str(wrapper), str(calls)]),
            plugin=json.dumps(str(plugin.cached(find(EngineSettings(), os.environ), os.environ))),
        )
    )
    return _in(folder)


def learned(folder: Path) -> TinyCampaign:
    """A campaign of one round that has run to its end: to be copied, never to be changed.

    Args:
        folder: that all workers of pytest share: the first one runs it, and the others wait.
    """
    place = folder / "learned"
    with FileLock(folder / "learned.lock"):
        if not (folder / "learned.done").is_file():
            shutil.rmtree(place, ignore_errors=True)
            process = make(place, ["NaCl"], rounds=1).start()
            out, err = process.communicate(timeout=600)
            assert (process.returncode, err) == (0, ""), out + err
            (folder / "learned.done").touch()
    return _in(place)


def copied(campaign: TinyCampaign, folder: Path) -> TinyCampaign:
    """A copy that may be changed."""
    shutil.copytree(campaign.folder, folder, symlinks=True)
    return _in(folder)


def _in(folder: Path) -> TinyCampaign:
    return TinyCampaign(folder, folder / "campaign.yaml", folder / "run", folder / "calls.txt")


def _essence(record: dict[str, Any]) -> dict[str, Any]:
    """What of a record does not depend on the clock, and on how often it was tried."""
    outputs = record["outputs"]
    if record["stage"] != "segment":  # hashes of files that hold times
        outputs = {k: v for k, v in outputs.items() if k != FILES}
    if record["stage"] == "segment":
        walkers = [{**w, "seconds": 0} for w in outputs["walkers"]]
        outputs = {**outputs, "walkers": walkers}
    if record["stage"] == "evaluate":
        outputs = {**outputs, "seconds_per_step": 0}
    if record["stage"] == "train":
        last = {**outputs["last_epoch"], "seconds": 0, "at": 0}
        outputs = {**outputs, "last_epoch": last, "sha256": ""}
    if record["stage"] == "compared":
        outputs = {**outputs, "checkpoint": ""}
    if record["stage"] == "import":  # a name for the cache: the campaign's, and what is drawn
        outputs = {"name": str(outputs["name"]).partition(" (")[0]}
    if record["stage"] == "label":
        outputs = {k: v for k, v in outputs.items() if k not in ("try", "guess", "reused")}
    if record["stage"] in ("deploy", "form", "ranks"):
        outputs = {**outputs, "seconds_per_step": 0} if record["stage"] == "form" else outputs
        stamp = {**outputs["stamp"], "seconds": 0, "checkpoint": ""}
        outputs = {**outputs, "stamp": stamp, "seconds": 0, "sha256": ""}
    return {"task": record["task"], "stage": record["stage"], "outputs": outputs}


def assert_same(one: TinyCampaign, other: TinyCampaign) -> None:
    """Bit for bit: labels, hills, walkers, errors of each generation."""
    mine, theirs = (
        sorted((_essence(r) for r in made.records()), key=lambda r: str(r["task"]))
        for made in (one, other)
    )
    assert [record["task"] for record in mine] == [record["task"] for record in theirs]
    for record, wanted in zip(mine, theirs, strict=True):
        assert json.dumps(record, sort_keys=True) == json.dumps(wanted, sort_keys=True)
    numbers = ("key", "energy_eV", "forces_eV_per_A", "stress_eV_per_A3", "level", "origin")
    frames, others = one.frames(), other.frames()
    assert frames.keys() == others.keys()
    for frame, label in frames.items():
        assert [label[name] for name in numbers] == [others[frame][name] for name in numbers]
    bias = "bias/NaCl/round-001.tsv"
    assert (one.root / bias).read_bytes() == (other.root / bias).read_bytes()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Until the condition holds; AssertionError with the output where the process ends first."""
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, "".join(process.communicate())
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.02)


def gone(campaign: TinyCampaign, within_s: float = 2.0) -> bool:
    """Whether all processes of the campaign end in time."""
    limit = time.monotonic() + within_s
    while campaign.processes():
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal; exit code, output and error output."""
    os.kill(process.pid, number)
    out, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, out, err


def resume_command(campaign: TinyCampaign) -> str:
    """What the user is told to type."""
    return (
        f"phasewalk run {shlex.quote(str(campaign.file))} --dir {shlex.quote(str(campaign.root))}"
    )
