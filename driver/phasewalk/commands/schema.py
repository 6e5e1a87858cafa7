"""`phasewalk schema`: the keys of all input files, as JSON Schema or as tables."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from ..errors import InputError
from ..files import write_file
from . import terminal

out = terminal.stdout()


def schema(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write; default: print it.")
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Tables to read, instead of JSON Schema.")
    ] = False,
    site: Annotated[
        bool, typer.Option("--site", help="The keys of a site file, instead of a campaign file.")
    ] = False,
    production: Annotated[
        bool, typer.Option("--production", help="The keys of a production file.")
    ] = False,
) -> None:
    """Print the JSON Schema of campaign files, with which editors complete and check them.

    An editor uses it if this is the first line of the campaign file:
    # yaml-language-server: $schema=campaign.schema.json
    """
    from ..campaign import config_reference
    from ..cluster import site_reference
    from ..producing import reference

    if site and production:
        raise InputError("--site --production: give one of them")
    made = site_reference if site else reference if production else config_reference
    text = made.markdown() if as_markdown else made.schema_text()
    if output is None:
        typer.echo(text, nl=False)
        return
    write_file(output, text.encode())
    out.print(Text(f"{output}: written"), soft_wrap=True)
