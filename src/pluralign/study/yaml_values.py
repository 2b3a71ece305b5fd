"""YAML as recipes use it: plain values only, numbers as people write them.

PyYAML's safe loader with three changes: ``1e-4`` is a number, a key given twice is an
error, and aliases (which can expand without bound) are refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from ..errors import ParameterError
from ..rules import shown


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = cast(Any, self.peek_event())
            raise yaml.constructor.ConstructorError(
                None, None, f"alias *{event.anchor} is not allowed in a recipe", event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {name!r} is given twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def parse(text: str, source: str, what: str = "a valid recipe") -> Any:
    """The value of a YAML text.

    Args:
        text: the text.
        source: where it is from, for messages.
        what: what it should be, for messages.

    Raises:
        ParameterError: naming the source, the line and what is wrong there.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise ParameterError(f"{source} is not {what}: nested too deeply.") from error
    except (yaml.YAMLError, ValueError) as error:
        detail = " ".join(str(error).split())
        raise ParameterError(f"{source} is not {what}: {detail}") from error


def read(path: str | Path) -> Any:
    """The value of a YAML file.

    Raises:
        ParameterError: if the file cannot be read or parsed; says why.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ParameterError(f"there is no recipe at {path}.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(f"recipe {path} cannot be read: {error}.") from error
    return parse(text, str(path))


def tree(path: str | Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The sections of a recipe file, with overrides such as ``path.to.key=value``.

    Raises:
        ParameterError: if the file is no mapping, or an override does not fit it.
    """
    values = read(path)
    if not isinstance(values, dict):
        raise ParameterError(f"{path} must hold a mapping of sections; got {shown(values)}.")
    sections = cast("dict[str, Any]", values)
    for override in overrides:
        _apply(sections, override)
    return sections


def _apply(sections: dict[str, Any], override: str) -> None:
    target, separator, text = override.partition("=")
    *parents, leaf = target.split(".")
    if not separator or not all((*parents, leaf)):
        raise ParameterError(f"--set needs path=value; got {override!r}.")
    node = sections
    for name in parents:
        below = node.setdefault(name, {})
        if not isinstance(below, dict):
            raise ParameterError(f"--set {target}: {name!r} holds {shown(below)}, not a section.")
        node = cast("dict[str, Any]", below)
    node[leaf] = parse(text, f"--set {target}", "a YAML value")
