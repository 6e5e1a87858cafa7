"""Prove and measure everything on one device: a table at the end, and JSON beside it.

    tests/gpu/run --device cuda --out results
    tests/gpu/run --device cpu --out results        small sizes: the same code, before it is needed

Each step is a process of its own with its own time limit, so that one that fails hides nothing:
the plugin is built, a network trained, compiled, compared with the CPU, and proved; a campaign of
two rounds runs beside that; then, with nothing beside, steps, forward calls, walkers and epochs are
timed. FOLDER/results.json has every number, FOLDER/table.txt what is printed, FOLDER/logs.txt the
ends of the output of each step. What they make is in --work.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
LIMIT_S = 470.0
LOG_CHARACTERS = 6000


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: of its function in steps.py.
        limit_s: after which it is ended.
        beside: the next steps do not wait for it.
        alone: not before all steps that were beside others are done: it measures times.
        first: without it no other makes sense.
    """

    name: str
    limit_s: float
    beside: bool = False
    alone: bool = False
    first: bool = False


STEPS = (
    Step("device", 60, first=True),
    Step("plugin", 150),
    Step("campaign", 330, beside=True),
    Step("train", 90),
    Step("compile", 200),
    Step("parity", 60, beside=True),
    Step("gate", 100, beside=True),
    Step("refusals", 60, beside=True),
    Step("batch", 60, alone=True),
    Step("walkers", 100, alone=True),
    Step("steps", 130, alone=True),
    Step("epochs", 90, alone=True),
)


@dataclass(eq=False)
class Running:
    """A step at work."""

    step: Step
    process: subprocess.Popen[bytes]
    started: float
    limit_s: float
    seconds: float = 0.0
    state: str = "running"

    def look(self) -> bool:
        """Whether it has ended; past its limit it is ended."""
        self.seconds = time.monotonic() - self.started
        code = self.process.poll()
        if code is None and self.seconds < self.limit_s:
            return False
        self.state = "ok" if code == 0 else "failed"
        if code is None:
            self.state = f"stopped after {self.limit_s:.0f} s"
        self.end()
        return True

    def end(self) -> None:
        """End it and whatever it has started: its process group is its own."""
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            time.sleep(0.2)
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


@dataclass
class Order:
    """All steps, one after the other or beside each other, until the time is up."""

    asked: argparse.Namespace
    deadline: float
    done: list[Running] = field(default_factory=list)
    beside: list[Running] = field(default_factory=list)

    def run(self) -> None:
        """Run them."""
        try:
            for step in STEPS:
                if step.name in self.asked.steps and not self._one(step):
                    break
            self._wait(self.beside)
        finally:
            for running in self.done:
                if running.state == "running":
                    running.state = "stopped"
                    running.end()

    def _one(self, step: Step) -> bool:
        """Run it, or start it; whether another makes sense."""
        if step.alone:
            self._wait(self.beside)
        running = self._start(step)
        if running is None:
            return False
        self.done.append(running)
        if step.beside and not self.asked.one_by_one:
            self.beside.append(running)
        else:
            self._wait([running])
        return not (step.first and running.state == "failed")

    def _start(self, step: Step) -> Running | None:
        now = time.monotonic()
        left = self.deadline - now
        if left < 5:
            print(f"no time is left for {step.name}", flush=True)
            return None
        argv = [sys.executable, "-B", str(HERE / "steps.py"), step.name, self.asked.device]
        argv += [str(self.asked.work), *(("--full",) if self.asked.full else ())]
        with (self.asked.work / f"{step.name}.log").open("wb") as log:
            process = subprocess.Popen(
                argv, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return Running(step, process, now, min(step.limit_s * self.asked.patience, left))

    def _wait(self, some: list[Running]) -> None:
        """For these, with an eye on the others."""
        while some:
            time.sleep(0.1)
            at_work = [*some, *(one for one in self.beside if one not in some)]
            ended = [running for running in at_work if running.look()]
            for running in ended:
                state = self._result(running)["state"]
                print(f"{running.step.name}: {state}, {running.seconds:.0f} s", flush=True)
            self.beside = [one for one in self.beside if one not in ended]
            some = [one for one in some if one not in ended]
            if ended:
                self.write()

    def write(self) -> None:
        """The results so far: what is killed leaves what was known."""
        found = {
            "command": ["tests/gpu/run", *sys.argv[1:]],
            "steps": {one.step.name: self._result(one) for one in self.done},
        }
        out = self.asked.out
        (out / "results.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        (out / "table.txt").write_text(table(found), encoding="utf-8")
        logs = [f"=== {one.step.name}\n{self._log(one)}\n" for one in self.done]
        (out / "logs.txt").write_text("".join(logs), encoding="utf-8")

    def _result(self, running: Running) -> dict[str, Any]:
        path = self.asked.work / f"{running.step.name}.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        rows = [json.loads(line) for line in lines]
        state = running.state
        if state == "ok" and not all(row["ok"] for row in rows):
            state = "wrong"
        last = self._log(running).strip().splitlines()[-1:] if state not in ("ok", "wrong") else []
        return {"state": state, "seconds": round(running.seconds, 1), "rows": rows, "says": last}

    def _log(self, running: Running) -> str:
        path = self.asked.work / f"{running.step.name}.log"
        return path.read_text(errors="replace", encoding="utf-8")[-LOG_CHARACTERS:]


def table(found: dict[str, Any]) -> str:
    """Every row of every step."""
    lines = []
    for name, step in found["steps"].items():
        lines.append(f"{name}: {step['state']}, {step['seconds']:.0f} s")
        for row in step["rows"]:
            value = row["value"]
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            limit = "" if row["limit"] is None else f" (limit {row['limit']:g})"
            verdict = "" if row["ok"] else "  WRONG"
            lines.append(f"  {row['what']:<58} {shown} {row['unit']}{limit}{verdict}".rstrip())
        lines += [f"  {line}" for line in step["says"]]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the steps; 0 if all are right."""
    names = [step.name for step in STEPS]
    parser = argparse.ArgumentParser(prog="tests/gpu/run", description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--work", type=Path, help="folder of all else; default: OUT/work")
    parser.add_argument("--steps", nargs="+", choices=names, default=names, metavar="STEP")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds in all")
    parser.add_argument("--patience", type=float, default=1.0, help="factor of each step's limit")
    parser.add_argument("--full", action="store_true", help="on the CPU too: as on a GPU")
    parser.add_argument("--one-by-one", action="store_true", help="nothing beside the campaign")
    asked = parser.parse_args()
    asked.out = asked.out.absolute()
    asked.work = (asked.work or asked.out / "work").absolute()
    asked.out.mkdir(parents=True, exist_ok=True)
    asked.work.mkdir(parents=True, exist_ok=True)
    order = Order(asked, time.monotonic() + asked.limit)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        order.run()
    finally:
        order.write()
    print((asked.out / "table.txt").read_text(encoding="utf-8"), end="")
    results = json.loads((asked.out / "results.json").read_text(encoding="utf-8"))["steps"]
    wrong = [name for name in asked.steps if results.get(name, {}).get("state") != "ok"]
    print(f"not ok: {', '.join(wrong)}" if wrong else f"all {len(asked.steps)} steps are ok")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
