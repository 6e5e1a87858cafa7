"""Faces of rooms that load a module once something in it is asked for.

So that a command which needs one module of a room does not wait for all of them, and for what they
import in turn. Type checkers and the linter of imports read the face's `if TYPE_CHECKING:`.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy(room: str, offered: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a room's face.

    Args:
        room: its full name.
        offered: names of its modules → the names that the face offers out of each.
    """
    module_of = {name: module for module, names in offered.items() for name in names}

    def find(name: str) -> Any:
        if name in module_of:
            found = getattr(importlib.import_module(f"{room}.{module_of[name]}"), name)
            setattr(sys.modules[room], name, found)  # next time without this function
            return found
        if name in offered:
            return importlib.import_module(f"{room}.{name}")
        raise AttributeError(f"module {room!r} has no attribute {name!r}")

    return find
