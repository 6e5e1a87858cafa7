"""`phasewalk report`: the report page, figures as files, and frames for chemiscope."""

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
        typer.Option(
            "-o", "--output", help="HTML file. Default: report.html in the campaign directory."
        ),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option(
            "--figures",
            metavar="DIR",
            help="Also write all figures as PDF, SVG, PNG and CSV into this directory, one column "
            "of a paper wide, and two columns (-wide).",
        ),
    ] = None,
    methods_only: Annotated[
        bool,
        typer.Option(
            "--methods",
            help="Only print a methods paragraph with BibTeX entries.",
        ),
    ] = False,
) -> None:
    """Write the report of a campaign as one HTML file without external resources.

    This also works while the campaign runs, which itself writes the report after each round. If
    chemiscope (chemiscope.org) is installed, a file of all labelled frames is written as well.
    """
    if methods_only and (output is not None or figures is not None):
        raise InputError("--methods cannot be combined with -o or --figures; remove them")
    if output is not None and output.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"-o {output}: the file name must end in .html")
    if output is not None and not output.absolute().parent.is_dir():
        raise InputError(f"-o {output}: its directory does not exist; create it first")
    if figures is not None and figures.exists() and not figures.is_dir():
        raise InputError(f"--figures {figures}: is a file; give a directory")
    _show(directory, output, figures, methods_only=methods_only)


def _show(
    directory: Path, output: Path | None, figures: Path | None, *, methods_only: bool
) -> None:
    """Write page, figures and frames for chemiscope, or print only the methods paragraph."""
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
    """Whether the report is newer than the last record of the journal."""
    from .. import report

    try:
        page, journal = (root / name for name in (report.REPORT, JOURNAL))
        return page.stat().st_mtime_ns > journal.stat().st_mtime_ns
    except OSError:
        return False


def after_round(store: Store, say: Callable[[str], None]) -> Callable[[], None]:
    """A function that writes the report of a running campaign; errors do not end the campaign.

    Args:
        store: the campaign directory, whose lock is renewed meanwhile.
        say: receives a line for the user.
    """
    from .. import report
    from ..status import history

    printed: list[str] = []
    walked: history.Walked = {}

    def write() -> None:
        if _is_new(store.root):
            return
        try:
            found = history.read(store.root, store.beat, walked=walked, store=store)
            line = f"report: {report.write(found, beat=store.beat)}: {report.answer(found)}"
        except Exception as error:
            line = f"the report could not be written ({type(error).__name__}: {error})"
        if line not in printed:
            say(line)
            printed.append(line)

    return write
