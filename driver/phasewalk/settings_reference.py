"""Reference of settings, generated from their definitions: JSON Schema and Markdown."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .settings import Settings

DIALECT = "https://json-schema.org/draft/2020-12/schema"
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


def json_schema(model: type[Settings], title: str) -> dict[str, Any]:
    """JSON Schema of a file with these settings, for editors and validators."""
    schema = model.model_json_schema()
    closed: dict[str, Any] = _closed({"$schema": DIALECT, **schema, "title": title})
    return closed


def _closed(node: Any) -> Any:
    """The schema, with names disallowed that do not match the patterns of a mapping."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    closed = {key: _closed(value) for key, value in node.items()}
    return {**closed, "additionalProperties": False} if "patternProperties" in node else closed


def schema_text(schema: Mapping[str, Any]) -> str:
    """A JSON Schema as text."""
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def markdown(schema: Mapping[str, Any], root: str, *, once: bool = False) -> str:
    """Every key of a schema as Markdown, one table for each group.

    Args:
        schema: JSON Schema of the file.
        root: heading of the table of the outermost keys.
        once: show only the first one of groups that have the same keys.
    """
    groups = list(_groups("", schema, schema))
    if once:
        first = {id(node): place for place, node in reversed(groups)}
        groups = [(place, node) for place, node in groups if first[id(node)] == place]
    return "\n".join(_group(place, node, schema, root) for place, node in groups)


def _groups(
    place: str, node: Mapping[str, Any], schema: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Dotted path and node of a group and of all groups in it, in the order of the settings."""
    yield place, node
    for key, value in node.get("properties", {}).items():
        inner, suffix = _inner(value, schema)
        if inner is not None:
            yield from _groups(f"{place}.{key}{suffix}".lstrip("."), inner, schema)


def _inner(
    value: Mapping[str, Any], schema: Mapping[str, Any]
) -> tuple[Mapping[str, Any] | None, str]:
    """The group in a key, or None, and the suffix of its dotted path."""
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
    """The node that a `$ref` points to; the node itself if it is not a reference."""
    name = str(node.get("$ref", "")).rpartition("/")[2]
    return schema["$defs"][name] if name else node


def _group(place: str, node: Mapping[str, Any], schema: Mapping[str, Any], root: str) -> str:
    """Heading, description and table of one group."""
    title = f"`{place}`" if place else root
    lines = [f"## {title}", "", _text(node.get("description", "")), ""]
    lines += ["| key | type | default | limits | description |", "|---|---|---|---|---|"]
    required = node.get("required", ())
    for key, value in node["properties"].items():
        default = "required" if key in required else _default(value, schema)
        cells = (f"`{key}`", _type(value, schema), default, _limits(value, schema))
        lines.append(f"| {' | '.join(cells)} | {_text(value.get('description', ''))} |")
    return "\n".join([*lines, ""])


def _type(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A type as text: `small` or `paper`; list of text; group or null."""
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
    """A default as written in the file; for a group, the values that differ from its keys'."""
    if "default" not in value:
        return ""
    found = value["default"]
    inner, _ = _inner(value, schema)
    if isinstance(found, dict) and inner is not None:
        keys = inner["properties"]
        found = {k: v for k, v in found.items() if v != keys[k].get("default", found)}
        if not found:
            return "defaults of its keys"
    return f"`{json.dumps(found, ensure_ascii=False)}`".replace('"', "")


def _limits(value: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """The limits of a value as text."""
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
