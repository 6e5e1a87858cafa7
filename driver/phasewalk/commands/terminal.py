"""Consoles through which all text for people is printed.

Names, reasons and comments come from files and from programs that read them. They must not control
the terminal, neither by Rich's markup nor by control sequences, which could hide lines, rename the
window or simulate input. Characters that the terminal's encoding does not have are replaced, so
that a command works in every locale.
"""

import io
import sys
from collections.abc import Iterable
from typing import IO, Any, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

WIDE = 120
"""Width of output to a file or a pipe, in characters."""
UNSEEN = "\N{REPLACEMENT CHARACTER}"


class Terminal(Console):
    """A console that interprets no markup and prints no control characters."""

    def __init__(self, **options: Any) -> None:
        """Create it with options of rich's Console."""
        fixed = {"markup": False, "emoji": False, "highlight": False}
        super().__init__(**{**options, **fixed})

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of the output, without control characters except Rich's own."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def printable(text: str) -> str:
    """The text with unprintable characters replaced, except newlines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\N{NO-BREAK SPACE}" else UNSEEN for c in text)


def stdout() -> Terminal:
    """The console for results."""
    return Terminal(width=None if _shown(sys.stdout) else WIDE)


def stderr(*, wide: bool = False) -> Terminal:
    """The console for errors, and for progress if a program reads the results.

    Args:
        wide: use the full width, for tables.
    """
    return Terminal(
        stderr=True,
        width=WIDE if wide and not _shown(sys.stderr) else None,
    )


def _shown(stream: IO[str] | None) -> bool:
    """Whether a stream is a terminal; None is a stream that was closed at the start of Python."""
    return stream is not None and stream.isatty()


def accept_any_text() -> None:
    """Prevent errors from closed streams and from characters that the locale does not have."""
    sys.stdout = sys.stdout or io.StringIO()
    sys.stderr = sys.stderr or io.StringIO()
    for stream in cast("tuple[IO[str] | None, ...]", (sys.stdout, sys.stderr)):
        reconfigure = getattr(stream, "reconfigure", None)  # a test's stream may have none
        if reconfigure is not None:
            reconfigure(errors="replace")
