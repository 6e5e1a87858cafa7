"""Look at the new frames of a run; keep its alarms and the frames that are most unlike.

In the folder of the run:

trained.npz      what the model was trained on
alarms.jsonl     one line for each alarm
alarms.seen.json how far each walker's files have been looked at
alarms.extxyz    the frames that are most unlike, the most unlike one first
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from heapq import nlargest
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ..bias import dumps
from ..errors import UNREADABLE, InputError, ParseError, named
from ..files import marked, write_file
from ..store import take
from .environments import Array
from .looking import Alarm, look
from .trained import Trained, read

TRAINED, ALARMS, SEEN, FRAMES = "trained.npz", "alarms.jsonl", "alarms.seen.json", "alarms.extxyz"
KEPT, KEPT_ATOMS = 50, 500_000
"""Maximum number of kept frames, and of atoms in all of them (about 50 MB)."""
AT_ONCE_S = 0.5
"""Time after which a look during the run ends, also if more frames wait."""
WRITE_EVERY_S = 60.0
WORSE = 1.1
"""An alarm is said if it is so much farther beyond its limit than the last one that was said of its
walker, kind and element; in a run that drifts away each frame is worse than the one before."""
_ITEM = b"ITEM: TIMESTEP\n"


@dataclass(frozen=True)
class Output:
    """What a walker writes.

    Attributes:
        walker: its name.
        dump: name of its dump.
        tables: name of each file of PRINT → the first column divided by this is the step.
    """

    walker: str
    dump: str
    tables: Mapping[str, float] = field(default_factory=dict)


@dataclass
class _Seen:
    """How far a walker's files have been looked at."""

    step: int = -1
    frames: int = 0
    dump: int = 0
    tables: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, order=True)
class _Kept:
    """A frame with alarms: how far beyond a limit, walker, step, place in the dump, alarms."""

    times: float
    walker: str
    step: int
    start: int
    alarms: str = field(compare=False)


class Watch:
    """Looks at the frames of a run.

    Args:
        folder: of the run.
        trained: what its model was trained on.
        outputs: what each walker writes.
        say: receives a line for the first alarm of a kind and walker, and for worse ones (`WORSE`).
    """

    def __init__(
        self,
        folder: Path,
        trained: Trained,
        outputs: Sequence[Output],
        say: Callable[[str], None],
    ) -> None:
        self.folder, self.trained, self.outputs, self.say = folder, trained, outputs, say
        self._written, self._changed, self._looking = 0.0, False, False
        self._forget()

    def _forget(self) -> None:
        self._seen = {one.walker: _Seen() for one in self.outputs}
        self._kept: list[_Kept] = []
        self._alarmed = 0
        self._kinds: Counter[str] = Counter()
        self._worst: dict[tuple[str, str, str], tuple[float, str]] = {}
        self._said: dict[tuple[str, str, str], float] = {}

    def begin(self, steps: Mapping[str, int] | None = None) -> None:
        """Read what was found before.

        Args:
            steps: step at which each walker goes on; what was found at it or later was cut from its
                files. None: nothing was cut.
        """
        self._forget()
        with suppress(FileNotFoundError):
            stored = (self.folder / SEEN).read_text(encoding="utf-8")
            with suppress(*UNREADABLE):  # then all frames are looked at again
                found = {name: _Seen(**one) for name, one in json.loads(stored).items()}
                self._seen |= {name: found[name] for name in self._seen if name in found}
        for one in self.outputs:
            seen = self._seen[one.walker]
            if seen.dump > _size(self.folder / one.dump):
                self._seen[one.walker] = self._cut(one, steps[one.walker] if steps else 0)
        path, kept = self.folder / ALARMS, []
        for line in _lines(path):
            entry = _entry(line)
            if entry is not None and self._stands(entry):
                kept.append(line)
                self._count(entry)
        write_file(path, b"".join(kept))
        self._write_seen()

    def look(self, *, at_once_s: float | None = AT_ONCE_S) -> None:
        """Look at the frames that were written since the last look.

        Args:
            at_once_s: time after which it ends; None: look at all.
        """
        if self._looking:  # Ctrl-C came amid a look: back to what is in the files
            self.begin()
        self._looking, new = True, False
        began = time.monotonic()
        for one in self.outputs:
            for start, end, frame in _frames(self.folder / one.dump, self._seen[one.walker].dump,
                                             self.trained.elements):  # fmt: skip
                self._look_at(one, start, end, frame)
                new = True
                if at_once_s is not None and time.monotonic() - began > at_once_s:
                    break
        if new:
            self._write_seen()
        if self._changed and began - self._written > WRITE_EVERY_S:
            self._write_frames()
        self._looking = False

    def end(self) -> None:
        """Look at all frames that are left, and write the most unlike ones."""
        self.look(at_once_s=None)
        self._write_frames()

    @property
    def status(self) -> str:
        """The number of frames with alarms, in words; empty without any."""
        return f"frames with alarms: {self._alarmed}" if self._alarmed else ""

    def summary(self) -> Iterator[str]:
        """Lines on all that was found."""
        frames = sum(seen.frames for seen in self._seen.values())
        if not self._alarmed:
            yield f"alarms: none in {frames} frames"
            return
        kinds = ", ".join(f"{kind} {number}" for kind, number in self._kinds.most_common())
        yield f"alarms: in {self._alarmed} of {frames} frames ({kinds}); {self.folder / FRAMES}"
        for _, line in sorted(self._worst.values(), reverse=True)[:5]:
            yield f"worst: {line}"

    def _cut(self, one: Output, step: int) -> _Seen:
        """How far the files are looked at from which a part that was seen has been cut."""
        path = self.folder / one.dump
        if not step:
            return _Seen()
        steps = [frame.step for _, _, frame in _frames(path, 0, self.trained.elements)]
        return _Seen(max(steps, default=-1), len(steps), _size(path))

    def _look_at(self, one: Output, start: int, end: int, frame: dumps.Frame) -> None:
        seen = self._seen[one.walker]
        alarms, _ = look(frame.atoms, self.trained, self._values(one, frame.step))
        entries = [
            {"walker": one.walker, "step": frame.step, **alarm.as_dict(), "start": start}
            for alarm in alarms
        ]
        if entries:
            text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
            with named(self.folder / ALARMS), (self.folder / ALARMS).open("ab") as stream:
                stream.write(text.encode())
        for entry, alarm in zip(entries, alarms, strict=True):
            if self._count(entry, alarm):
                self.say(f"alarm: {one.walker}, step {frame.step}: {alarm}")
        self._changed = self._changed or bool(entries)
        seen.step, seen.dump, seen.frames = frame.step, end, seen.frames + 1

    def _values(self, one: Output, step: int) -> dict[str, Array]:
        """The variables' values that were printed since the frame before, up to a step."""
        found: dict[str, list[float]] = {}
        for name, per_step in one.tables.items() if self.trained.variables else ():
            path, tables = self.folder / name, self._seen[one.walker].tables
            start, before = tables.get(name, 0), self._seen[one.walker].step
            with suppress(OSError), path.open("rb") as stream:
                fields = stream.readline().decode(errors="replace").split()[2:]
                stream.seek(start)
                for line in stream:
                    words = line.split()
                    if not line.endswith(b"\n"):
                        break
                    if words and not line.startswith(b"#"):
                        row = _row(path, words, fields)
                        at = round(row[0] / per_step)
                        if at > step:
                            break
                        for variable, value in zip(fields, row, strict=True):
                            if at > before:
                                found.setdefault(variable, []).append(value)
                    start += len(line)
            tables[name] = start
        return {name: np.array(values) for name, values in found.items()}

    def _stands(self, entry: Mapping[str, Any]) -> bool:
        """Whether an alarm is of a frame that was looked at and is still there."""
        seen = self._seen.get(entry["walker"])
        return seen is not None and entry["step"] <= seen.step

    def _count(self, entry: Mapping[str, Any], alarm: Alarm | None = None) -> bool:
        """Count an alarm; whether it is to be said: see `WORSE`."""
        walker, step = str(entry["walker"]), int(entry["step"])
        times = np.inf if entry["times"] is None else float(entry["times"])
        self._kinds[entry["kind"]] += 1
        shown = alarm or Alarm(**{name: _number(entry[name]) for name in Alarm.__annotations__})
        last = self._kept[-1] if self._kept else None
        if last is None or (last.walker, last.step) != (walker, step):
            self._alarmed += 1
            if len(self._kept) > 2 * KEPT:
                self._kept = nlargest(KEPT, self._kept)
            self._kept.append(_Kept(times, walker, step, int(entry["start"]), str(shown)))
        else:
            alarms = f"{last.alarms}; {shown}"
            self._kept[-1] = replace(last, times=max(times, last.times), alarms=alarms)
        key = (walker, str(entry["kind"]), str(entry["what"]))
        if times > self._worst.get(key, (0.0, ""))[0]:
            self._worst[key] = (times, f"{walker}, step {step}: {shown}")
        if times <= WORSE * self._said.get(key, 0.0):
            return False
        self._said[key] = times
        return True

    def _write_seen(self) -> None:
        text = json.dumps({name: vars(seen) for name, seen in self._seen.items()}, indent=1)
        write_file(self.folder / SEEN, f"{text}\n".encode())

    def _write_frames(self) -> None:
        """Write the frames that are most unlike, from the dumps."""
        import io

        import ase.io

        dump_of = {one.walker: self.folder / one.dump for one in self.outputs}
        frames: list[Atoms] = []
        atoms = 0
        for kept in nlargest(KEPT, self._kept):
            read_ = _frames(dump_of[kept.walker], kept.start, self.trained.elements)
            _, _, frame = next(read_, (0, 0, None))
            if frame is None or frame.step != kept.step:
                continue
            atoms += len(frame.atoms)
            if frames and atoms > KEPT_ATOMS:
                break
            _, unlike = look(frame.atoms, self.trained)
            frame.atoms.set_array("unlike", unlike)
            frame.atoms.info |= {"walker": kept.walker, "step": kept.step, "times": kept.times}
            frame.atoms.info["alarms"] = kept.alarms
            frames.append(frame.atoms)
        stream = io.StringIO()
        if frames:
            ase.io.write(stream, frames, format="extxyz")
        write_file(self.folder / FRAMES, stream.getvalue().encode())
        self._written, self._changed = time.monotonic(), False


def again(folder: Path, say: Callable[[str], None]) -> Watch:
    """Look at all frames of a run that have not been looked at.

    Args:
        folder: of the run.
        say: receives the alarms.

    Raises:
        InputError: not the folder of a run with alarms.
        StoreError: the run is running.
        ParseError: a file is damaged.
    """
    if not (folder / TRAINED).is_file():
        raise InputError(
            f"{folder}: no folder of a run of phasewalk produce with a campaign's model: it has no "
            f"{TRAINED}"
        )
    trained = read(folder / TRAINED)
    outputs = [Output(**one) for one in trained.about["outputs"]]
    watch = Watch(folder, trained, outputs, say)
    lock = take(folder)
    try:
        watch.begin()
        watch.end()
    finally:
        lock.release()
    return watch


def _frames(
    path: Path, start: int, elements: Sequence[str]
) -> Iterator[tuple[int, int, dumps.Frame]]:
    """Start, end and content of each complete frame after `start` bytes of a growing dump."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    incomplete = False
    with stream:
        for at, text in marked(stream, _ITEM, start):
            if incomplete:  # only the last one may be
                raise ParseError(path, "a frame is incomplete, and another one follows")
            lines = text.decode(errors="replace").splitlines()
            frame = dumps.still_frame(path, lines, elements) if text.endswith(b"\n") else None
            incomplete = frame is None
            if frame is not None:
                yield at, at + len(text), frame


def _row(path: Path, words: Sequence[bytes], fields: Sequence[str]) -> list[float]:
    try:
        row = [float(word) for word in words]
    except ValueError as error:
        raise ParseError(path, f"not a row of numbers: {words}") from error
    if len(row) != len(fields):
        raise ParseError(path, f"a row of {len(row)} numbers under {len(fields)} names")
    return row


def _lines(path: Path) -> Iterator[bytes]:
    with suppress(FileNotFoundError), path.open("rb") as stream:
        yield from stream


def _entry(line: bytes) -> dict[str, Any] | None:
    """An alarm; None for a line that a kill has cut."""
    try:
        found: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return found


def _number(value: Any) -> Any:
    return np.inf if value is None else tuple(value) if isinstance(value, list) else value


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
