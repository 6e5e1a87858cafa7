"""`phasewalk report`: the page, its pictures as files, and the frames for chemiscope."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ..errors import EngineMissing, InputError
from ..store import JOURNAL, Store
from . import terminal

out = terminal.stdout()


def show_report(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Campaign directory.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The page; default: report.html in the directory."),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            metavar="DIR",
            help="Also write every picture as PDF, SVG, PNG and CSV into this folder, for one "
            "column of a paper and for both (-wide).",
        ),
    ] = None,
    methods_only: Annotated[
        bool,
        typer.Option(
            "--methods",
            help="Print a methods paragraph of what was run, with its BibTeX, and nothing else.",
        ),
    ] = False,
) -> None:
    """Write the report of a campaign: one HTML page that needs no network.

    Also while the campaign runs, which writes it itself after every round. Beside the page lies a
    file of all labelled frames for chemiscope (chemiscope.org) if it is installed.
    """
    if methods_only and (output is not None or figures is not None):
        raise InputError("--methods: prints and writes nothing; use it without -o and --figures")
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"-o {output}: the page's name must end in .html")
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError(f"-o {output}: its folder does not exist")
    if figures is not None and figures.exists() and not figures.is_dir():
        raise InputError(f"--figures {figures}: is a file; name a folder")
    _show(directory, output, figures, methods_only=methods_only)


def _show(
    directory: Path, output: Path | None, figures: Path | None, *, methods_only: bool
) -> None:
    """The page, the pictures and the frames for chemiscope, or the paragraph of methods alone."""
    from .. import report
    from ..report import chemiscope, methods
    from ..status import history

    found = history.read(directory)
    if methods_only:
        typer.echo(terminal.printable(methods.text(found)), nl=False)
        return
    page = report.write(found, output)
    out.print(Text(f"{page}: {report.answer(found)}"), soft_wrap=True)
    if figures is not None:
        files = report.write_figures(found, figures)
        out.print(Text(f"{figures}: {len(files)} files"), soft_wrap=True)
    frames = page.with_name(page.stem + chemiscope.ENDING)
    try:
        count = chemiscope.write(found, frames)
        out.print(Text(f"{frames}: {count} labelled frames, for chemiscope"), soft_wrap=True)
    except EngineMissing as error:
        out.print(Text(str(error)), soft_wrap=True)


def _is_new(root: Path) -> bool:
    """Whether the page was written after the last record of the journal."""
    from .. import report

    try:
        page, journal = (root / name for name in (report.REPORT, JOURNAL))
        return page.stat().st_mtime_ns > journal.stat().st_mtime_ns
    except OSError:
        return False


def after_round(store: Store, say: Callable[[str], None]) -> Callable[[], None]:
    """Writes the report of a campaign at work; whatever is wrong with it, the campaign goes on.

    Args:
        store: the campaign's directory, which beats meanwhile to show other hosts that it lives.
        say: takes a line for people.
    """
    from .. import report
    from ..status import history

    told: list[str] = []
    walked: history.Walked = {}

    def write() -> None:
        if _is_new(store.root):
            return
        try:
            found = history.read(store.root, store.beat, walked=walked, store=store)
            line = f"report: {report.write(found, sign=store.beat)}: {report.answer(found)}"
        except Exception as error:
            line = f"the report could not be written ({type(error).__name__}: {error})"
        if line not in told:
            say(line)
            told.append(line)

    return write
