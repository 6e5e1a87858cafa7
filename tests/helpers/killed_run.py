"""`phasewalk run` that kills itself at a record: `killed_run.py WHEN NTH LOG ARGUMENTS`.

WHEN is `middle` (half of the line is written), `after` (the line is on disk), or `never`; NTH is
the record of this start, counted from 1, at which it dies. LOG gets a line for each program that is
started and for each task that is recorded, by its directory.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from phasewalk.campaign import tasks
from phasewalk.commands import cli
from phasewalk.engines import local
from phasewalk.jobs import Event, Started
from phasewalk.store import directory, journal
from phasewalk.store.records import Record


def main(when: str, nth: int, log: Path, arguments: list[str]) -> None:
    """Patch what writes and what starts, and run the program."""
    count = 0
    append, events, record = directory.Store.append, local.LocalSession.events, tasks.Work.record

    def note(line: str) -> None:
        with log.open("a") as stream:
            stream.write(line + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def killed_append(self: directory.Store, entry: Record) -> None:
        nonlocal count
        count += 1
        if when == "middle" and count == nth:
            line = json.dumps({"schema": journal.SCHEMA, **entry.__dict__}).encode()
            with (self.root / directory.JOURNAL).open("ab") as stream:
                stream.write(line[: len(line) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        append(self, entry)
        note(f"journal {entry.task}")
        if when == "after" and count == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def noted_events(self: local.LocalSession) -> Iterator[Event]:
        for event in events(self):
            if isinstance(event, Started):
                note(f"start {event.job.directory}")
            yield event

    def noted_record(
        self: tasks.Work,
        task: tasks.Task,
        outputs: tasks.Outputs,
        seconds: float,
        cores: int = 0,
    ) -> tasks.Outputs:
        note(f"place {task.name}\t{self.store.root / task.place}")
        return record(self, task, outputs, seconds, cores)

    directory.Store.append = killed_append  # type: ignore[method-assign]
    local.LocalSession.events = noted_events  # type: ignore[assignment,method-assign]
    tasks.Work.record = noted_record  # type: ignore[method-assign]
    sys.argv = ["phasewalk", *arguments]
    cli.main()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
