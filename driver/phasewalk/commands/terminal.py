"""What is printed for people: the one place through which it goes.

Names, reasons and comments come from files, and from programs that were given such files. None of
it may speak to the terminal: neither by Rich's markup nor by control sequences, which could hide
lines, rename the window or answer for the user. And what a terminal's encoding has no character
for is replaced: no locale ends a command.
"""

import io
import sys
from collections.abc import Iterable
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

WIDE = 120
"""Columns of what goes to a file or a pipe: tables are not squeezed into 80."""
UNSEEN = "\N{REPLACEMENT CHARACTER}"


class Terminal(Console):
    """A console that takes text as text."""

    def __init__(self, **options: Any) -> None:
        """Take the options of rich's Console."""
        fixed = {"markup": False, "emoji": False, "highlight": False}
        super().__init__(**{**options, **fixed})

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of what is printed, without control characters but Rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def printable(text: str) -> str:
    """Text without what a terminal obeys, or does not show; new lines stay."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\N{NO-BREAK SPACE}" else UNSEEN for c in text)


def stdout() -> Terminal:
    """Where answers go."""
    return Terminal(width=None if _shown(sys.stdout) else WIDE)


def stderr(*, wide: bool = False) -> Terminal:
    """Where errors go, and progress beside an answer that a program reads.

    Args:
        wide: tables are printed here.
    """
    return Terminal(
        stderr=True,
        width=WIDE if wide and not _shown(sys.stderr) else None,
    )


def _shown(stream: IO[str] | None) -> bool:
    """Whether somebody reads along; Python has no stream where it was started with a closed one."""
    return stream is not None and stream.isatty()


def accept_any_text() -> None:
    """No character that the locale does not have ends a command, and no closed stream."""
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    for stream in cast("tuple[IO[str] | None, ...]", (sys.stdout, sys.stderr)):
        reconfigure = getattr(stream, "reconfigure", None)  # a test's stream may have none
        if reconfigure is not None:
            reconfigure(errors="replace")
