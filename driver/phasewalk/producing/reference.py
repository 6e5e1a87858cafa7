"""Reference of all keys of a production file: JSON Schema and Markdown."""

from typing import Any

from .. import settings_reference
from .settings import ProductionSettings

TITLE = "phasewalk production"
_INTRO = """\
# Keys of a production file

<!-- Made by `phasewalk schema --production --markdown -o docs/production-keys.md` (make docs).
Do not edit. -->

All keys of a [production file](production.md). Other keys are errors.

Editors use the [JSON Schema](production.schema.json) if this is the first line of the production
file (`phasewalk schema --production -o production.schema.json` writes it):

```yaml
# yaml-language-server: $schema=production.schema.json
```
"""


def json_schema() -> dict[str, Any]:
    """JSON Schema of a production file, for editors and validators."""
    return settings_reference.json_schema(ProductionSettings, TITLE)


def schema_text() -> str:
    """The JSON Schema as text."""
    return settings_reference.schema_text(json_schema())


def markdown() -> str:
    """Every key of a production file as Markdown."""
    return f"{_INTRO}\n{settings_reference.markdown(json_schema(), 'The production file')}"
