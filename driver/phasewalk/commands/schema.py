"""`phasewalk schema`: what a campaign file may hold, for editors and for people."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ..files import write_file
from . import terminal

out = terminal.stdout()


def schema(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; default: print it.")
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="As tables for people, instead of JSON Schema.")
    ] = False,
) -> None:
    """Print the JSON Schema of campaign files, by which editors complete and check them.

    The first line of a campaign file tells the editor where it is:
    # yaml-language-server: $schema=campaign.schema.json
    """
    from ..campaign import config_reference

    text = config_reference.markdown() if as_markdown else config_reference.schema_text()
    if output is None:
        typer.echo(text, nl=False)
        return
    write_file(output, text.encode())
    out.print(Text(f"{output}: written"), soft_wrap=True)
