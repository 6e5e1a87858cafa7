"""What a running campaign shows: a live line on a terminal, plain lines elsewhere."""

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.text import Text

PLAIN_EVERY_S = 15.0


@dataclass
class Progress:
    """Shows stages and their progress; obeys `tasks.Observer`."""

    console: Console
    _live: Live | None = None
    _stage: str = ""
    _total: float = 0.0
    _unit: str = ""
    _began: float = 0.0
    _shown: float = 0.0
    _open: bool = False
    _start: float = field(default_factory=time.monotonic)

    def __enter__(self) -> "Progress":
        """Start the live line."""
        if self.console.is_terminal:
            # No refresh thread: the process must stay single-threaded to start children safely.
            self._live = Live(Text(), console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the live line."""
        self._end_stage()
        if self._live is not None:
            self._live.stop()

    def begin(self, round: int, stage: str, total: float, unit: str) -> None:
        """A stage begins."""
        self._end_stage()
        place = "bootstrap" if round == 0 else f"round {round}"
        self._stage, self._total, self._unit = f"{place}: {stage}", total, unit
        self._began = self._shown = time.monotonic()
        self._open = True
        self._show("")

    def advance(self, done: float, detail: str) -> None:
        """The stage has come so far."""
        of = f" of {self._total:g}" if self._total else ""
        self._show(f"{done:g}{of} {self._unit} {detail}".rstrip())

    def say(self, line: str) -> None:
        """A line to keep."""
        self.console.print(Text(f"  {line}"), soft_wrap=True)

    def _show(self, text: str) -> None:
        now = time.monotonic()
        line = f"{self._stage}  {text}  [{now - self._began:.0f} s]"
        if self._live is not None:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)
        elif now - self._shown > PLAIN_EVERY_S:
            self._shown = now
            self.console.print(Text(line), soft_wrap=True)

    def _end_stage(self) -> None:
        if self._open:
            self._open = False
            now = time.monotonic()
            line = f"{now - self._start:6.0f} s  {self._stage} took {now - self._began:.1f} s"
            self.console.print(Text(line), soft_wrap=True)
