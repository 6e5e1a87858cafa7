"""Reference of all keys of a site file: JSON Schema and Markdown."""

from typing import Any

from .. import settings_reference
from .site import SiteSettings

TITLE = "phasewalk site"
_INTRO = """\
# Keys of a site file

<!-- Made by `phasewalk schema --site --markdown -o docs/site-keys.md` (make docs). Do not edit. -->

All keys of a [site file](sites.md). Other keys are errors. The groups `label`, `segment`, `train`,
`compile`, `evaluate`, `production` and `driver` have the same keys as `default`, and take from it
what they do not set (`production` from `segment`); variables of `environment` are added.

Editors use the [JSON Schema](site.schema.json) if this is the first line of the site file
(`phasewalk schema --site -o site.schema.json` writes it):

```yaml
# yaml-language-server: $schema=site.schema.json
```
"""


def json_schema() -> dict[str, Any]:
    """JSON Schema of a site file, for editors and validators."""
    return settings_reference.json_schema(SiteSettings, TITLE)


def schema_text() -> str:
    """The JSON Schema as text."""
    return settings_reference.schema_text(json_schema())


def markdown() -> str:
    """Every key of a site file as Markdown; those of a kind of work once, at `default`."""
    schema = json_schema()
    tables = settings_reference.markdown(schema, "The site file", once=True)
    return f"{_INTRO}\n{tables}"
