"""Lazy imports for the `__init__` of rooms: a module is loaded when a name in it is first used.

A command that needs one module of a room then does not load the others and their imports. Type
checkers and the import linter read the block `if TYPE_CHECKING:` of the `__init__` instead.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy(room: str, offered: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The `__getattr__` of a room's `__init__`.

    Args:
        room: full name of the room.
        offered: name of each module → names that the room offers from it.
    """
    module_of = {name: module for module, names in offered.items() for name in names}

    def find(name: str) -> Any:
        if name in module_of:
            found = getattr(importlib.import_module(f"{room}.{module_of[name]}"), name)
            setattr(sys.modules[room], name, found)  # not looked up again
            return found
        if name in offered:
            return importlib.import_module(f"{room}.{name}")
        raise AttributeError(f"module {room!r} has no attribute {name!r}")

    return find
