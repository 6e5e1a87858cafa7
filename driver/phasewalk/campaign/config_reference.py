"""Reference of all settings of a campaign: JSON Schema and Markdown."""

from typing import Any

from .. import settings_reference
from .config import CampaignSettings

TITLE = "phasewalk campaign"
_INTRO = """\
# Configuration reference

<!-- Made by `phasewalk schema --markdown -o docs/configuration.md` (make docs). Do not edit. -->

All keys of `campaign.yaml`. Other keys are errors. `NAME` is a name that you choose. If a group is
omitted, the default of the whole group is used; if it is given, it must contain its required keys.
Units are part of the key (`_K`, `_fs`, `_A`, `_eV_per_A`, `_MPa`).

Editors with YAML support show these descriptions and mark errors as you type if they have the
[JSON Schema](campaign.schema.json). Write it with `phasewalk schema -o campaign.schema.json` and
make this the first line of the campaign file:

```yaml
# yaml-language-server: $schema=campaign.schema.json
```

The schema contains types and limits. Conditions that depend on several keys (a bias on the cell
requires `npt`) or on files are checked by `phasewalk check` only.
"""


def json_schema() -> dict[str, Any]:
    """JSON Schema of a campaign file, for editors and validators."""
    return settings_reference.json_schema(CampaignSettings, TITLE)


def schema_text() -> str:
    """The JSON Schema as text."""
    return settings_reference.schema_text(json_schema())


def markdown() -> str:
    """Every key of a campaign file as Markdown, one table for each group."""
    tables = settings_reference.markdown(json_schema(), "The campaign file")
    return f"{_INTRO}\n{tables}"
