"""The reference of all settings, made from themselves: a JSON Schema for editors, and Markdown."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .config import CampaignSettings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TITLE = "phasewalk campaign"
_LIMITS = (
    ("minimum", "≥ {}"),
    ("exclusiveMinimum", "> {}"),
    ("maximum", "≤ {}"),
    ("exclusiveMaximum", "< {}"),
    ("minLength", "length ≥ {}"),
    ("maxLength", "length ≤ {}"),
    ("minItems", "length ≥ {}"),
    ("maxItems", "length ≤ {}"),
    ("minProperties", "length ≥ {}"),
    ("pattern", "matches `{}`"),
)
_TYPES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}
_INTRO = """\
# Configuration reference

<!-- Made by `phasewalk schema --markdown -o docs/configuration.md` (make docs). Do not edit. -->

Every key of `campaign.yaml`. Keys that are not here are errors. `NAME` stands for a name that you
choose. A group that is left out has its default as a whole. Where a group is written, its required
keys must be in it. Keys carry their unit in their name (`_K`, `_fs`, `_A`, `_eV_per_A`, `_MPa`).

An editor shows these texts, and marks mistakes while you type, where it knows the
[JSON Schema](campaign.schema.json). Write it with `phasewalk schema -o campaign.schema.json`, and
make this the first line of the campaign file:

```yaml
# yaml-language-server: $schema=campaign.schema.json
```

The schema knows types and limits. What depends on several keys (a bias on the cell needs `npt`), or
on files, is found by `phasewalk check` alone.
"""


def json_schema() -> dict[str, Any]:
    """JSON Schema of a campaign file, for editors and validators."""
    schema = CampaignSettings.model_json_schema()
    closed: dict[str, Any] = _closed({"$schema": DIALECT, **schema, "title": TITLE})
    return closed


def _closed(node: Any) -> Any:
    """The same where no name is allowed that fits none of a mapping's patterns."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _closed(value) for key, value in node.items()}
    return {**closed, "additionalProperties": False} if "patternProperties" in node else closed


def schema_text() -> str:
    """The JSON Schema as the text of a file."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def markdown() -> str:
    """Every key of a campaign file as Markdown, one table for each group."""
    schema = json_schema()
    parts = [_INTRO, *(_group(place, node, schema) for place, node in _groups("", schema, schema))]
    return "\n".join(parts)


def _groups(
    place: str, node: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Dotted place and node of a group and of all groups in it, in the order of the settings."""
    yield place, node
    for key, value in node.get("properties", {}).items():
        inner, suffix = _inner(value, schema)
        if inner is not None:
            yield from _groups(f"{place}.{key}{suffix}".lstrip("."), inner, schema)


def _inner(
    value: Mapping[str, Any], schema: Mapping[str, Any]
) -> tuple[Mapping[str, Any] | None, str]:
    """The group that a key holds, if it holds one, and what follows the key in its place."""
    for option in value.get("anyOf", [value]):
        found = _resolved(option, schema)
        if "properties" in found:
            return found, ""
        for word, suffix in (("additionalProperties", ".NAME"), ("items", "[]")):
            if isinstance(item := found.get(word), Mapping):
                held = _resolved(item, schema)
                if "properties" in held:
                    return held, suffix
        for named in found.get("patternProperties", {}).values():
            held = _resolved(named, schema)
            if "properties" in held:
                return held, ".NAME"
    return None, ""


def _resolved(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node that a reference names; the node itself where it is none."""
    name = str(node.get("$ref", "")).rpartition("/")[2]
    return schema["$defs"][name] if name else node


def _group(place: str, node: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Heading, text and table of one group."""
    title = f"`{place}`" if place else "The campaign file"
    lines = [f"## {title}", "", _text(node.get("description", "")), ""]
    lines += ["| key | type | default | limits | what it is |", "|---|---|---|---|---|"]
    required = node.get("required", ())
    for key, value in node["properties"].items():
        default = "required" if key in required else _default(value, schema)
        cells = (f"`{key}`", _type(value, schema), default, _limits(value, schema))
        lines.append(f"| {' | '.join(cells)} | {_text(value.get('description', ''))} |")
    return "\n".join([*lines, ""])


def _type(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A type in words: `small` or `paper`; list of text; group, or null."""
    if "anyOf" in value:
        words = [_type(option, schema) for option in value["anyOf"]]
        return " or ".join(dict.fromkeys(words))
    found = _resolved(value, schema)
    if "enum" in found or "const" in found:
        options = found.get("enum", [found.get("const")])
        return " or ".join(f"`{option}`" for option in options)
    if "properties" in found:
        return "group"
    kind = found.get("type", "any value")
    if kind == "array" and found.get("items"):
        return f"list of {_type(found['items'], schema)}"
    if kind == "object":
        held = found.get("additionalProperties")
        held = next(iter(found.get("patternProperties", {}).values()), held)
        return f"mapping of {_type(held, schema)}" if isinstance(held, Mapping) else "mapping"
    return _TYPES.get(str(kind), str(kind))


def _default(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A default as it would stand in the file; of a group, what differs from its keys' own."""
    if "default" not in value:
        return ""
    found = value["default"]
    inner, _ = _inner(value, schema)
    if isinstance(found, dict) and inner is not None:
        keys = inner["properties"]
        found = {k: v for k, v in found.items() if v != keys[k].get("default", found)}
        if not found:
            return "its keys' own"
    return f"`{json.dumps(found, ensure_ascii=False)}`".replace('"', "")


def _limits(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """What a value must keep to, in words."""
    found = []
    for option in value.get("anyOf", [value]):
        node = _resolved(option, schema)
        if "properties" not in node:
            given = [(words, node[key]) for key, words in _LIMITS if key in node]
            found += [words.format(f"{v:g}" if isinstance(v, float) else v) for words, v in given]
    return _text(", ".join(found))


def _text(text: str) -> str:
    """Text of a docstring as one line of a table."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
