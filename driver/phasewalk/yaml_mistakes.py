"""Messages for text that is not valid YAML: the line of the mistake, and what to change."""

import re

from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from .errors import brief

DIGITS = 4300
"""Maximum number of digits of a whole number in Python."""
_TAG = "tag:yaml.org,2002:"
_COLUMN = "keys of one group begin in the same column"
_WORDS: tuple[tuple[str, bool, str], ...] = (
    (r"found character '\\t' that.*", False, "a tab; indent with spaces"),
    (r"found character '(.)' that.*", False, r"put a value that begins with \1 in quotes"),
    (r"expected <block end>.*<block mapping.*", False, f"indented differently; {_COLUMN}"),
    (
        r"expected <block end>, but found '<scalar>'",
        False,
        "text after a closing quote or bracket; put the whole value in quotes",
    ),
    (
        r"expected <block end>, but found '(-|<block sequence start>)'",
        False,
        "an entry of a list (-) between keys; indent it below the key that it belongs to",
    ),
    (
        r"mapping values are not allowed.*",
        False,
        f"unexpected ': '; {_COLUMN}, and a value with a colon needs quotes",
    ),
    (
        r"could not find expected ':'",
        True,
        "no ': ' after the key; write `key: value`, or text of several lines as `key: |`",
    ),
    (r"expected ',' or '([]}])'.*", True, r"no \1, or a comma is missing"),
    (r"found unexpected end of stream", True, "a quote is not closed"),
    (r'found duplicate key "(.*)" with value.*', False, r"\1 is given twice; remove one"),
    (
        r"found undefined alias '(.*)'",
        False,
        r"*\1 refers to nothing; put text that begins with * in quotes",
    ),
    (r"but found another document", False, "a second document begins (---); remove it"),
    (r"found incompatible YAML document.*", False, "remove the line %YAML"),
    (r"could not determine a constructor for the tag '(.*)'", False, r"remove the tag \1"),
    (r"expected a mapping.* for merging.*", False, "<<: needs a group of keys, as in <<: *name"),
    (r"failed to decode base64.*", False, "the value does not fit the tag !!binary; remove it"),
)
"""Problem of the parser, as a regular expression; whether its line is where the parser began to
read the thing; and the message."""


def found(error: Exception, text: str) -> str:
    """The mistake in words, with its line as `, line 3: …`.

    Args:
        error: raised by the parser; ruamel raises various exceptions, for example for `!!int ""`.
        text: what it has read.
    """
    line, problem = _found(error, text)
    return f"{'' if line is None else f', line {line}'}: not valid YAML: {problem}"


def _found(error: Exception, text: str) -> tuple[int | None, str]:
    if isinstance(error, MarkedYAMLError):
        return _marked(error)
    if isinstance(error, ReaderError):
        code = error.character if isinstance(error.character, int) else ord(error.character)
        return _line(text, error.position), f"remove the control character U+{code:04X}"
    if long := re.search(rf"[0-9]{{{DIGITS},}}", text):
        return _line(text, long.start()), f"a number of more than {DIGITS} digits"
    if tag := re.search(r"!![\w/]+", text):
        return _line(text, tag.start()), f"the value does not fit the tag {tag[0]}; remove the tag"
    return None, brief(error) or type(error).__name__


def _marked(error: MarkedYAMLError) -> tuple[int | None, str]:
    problem, mark = brief(error.problem).replace(_TAG, "!!"), error.problem_mark
    for pattern, at_its_begin, words in _WORDS:
        match = re.fullmatch(pattern, problem)
        if match is None:
            continue
        mark = error.context_mark if at_its_begin and error.context_mark else mark
        problem = match.expand(words)
        break
    return (mark.line + 1 if mark else None), problem


def _line(text: str, position: int) -> int:
    """Number of the line of a position, from 1."""
    return text.count("\n", 0, position) + 1
