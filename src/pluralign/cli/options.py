"""The options that say how pairs are read: written once, taken by every command that reads."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, final

import typer

if TYPE_CHECKING:
    from ..data import Preferences


@final
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How pairs are read; ``None`` is what was not said.

    Args:
        format: shape of the source.
        group: columns that together name the group.
        annotator: column that names the rater.
        domain: column that names where the pair came from.
        split: which split of the source.
        limit: only the first so many rows.
        drop_unusable: drop blank rows with a warning.
        chat: put string texts as turns into the model's chat template.
        allow_download: let a source be a data set of the hub.
        options: ``key=value`` of the format.
    """

    format: str | None = None
    group: list[str] | None = None
    annotator: str | None = None
    domain: str | None = None
    split: str | None = None
    limit: int | None = None
    drop_unusable: bool | None = None
    chat: bool | None = None
    allow_download: bool | None = None
    options: list[str] | None = None

    def load(self, source: str, *, split: str | None = None, held_out: bool = False) -> Preferences:
        """The pairs of a source.

        Args:
            source: path, or name of a hub's data set.
            split: of held-out pairs, whose source has splits of its own.
            held_out: whether these are held-out pairs, of which no limit is taken.
        """
        from ..datasets import load_preferences

        told: dict[str, Any] = self._given()
        told = {name: told[name] for name in told if name not in ("chat", "options")}
        if held_out:
            told = {**told, "split": split, "limit": None}
        pairs = load_preferences(source, **told, options=self._parsed())
        if not self.chat:
            return pairs
        from ..study.shaping import as_chat

        return as_chat(pairs)

    def settings(self) -> list[str]:
        """The same as settings of a recipe's ``data``, each ``path.to.key=value``."""
        told = {name: value for name, value in self._given().items() if name != "options"}
        return [
            *(
                f"data.{name}={json.dumps(value, ensure_ascii=False)}"
                for name, value in told.items()
            ),
            *(f"data.options.{option}" for option in self.options or ()),
        ]

    def _given(self) -> dict[str, Any]:
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        if self.group and len(self.group) == 1:
            told["group"] = self.group[0]
        return {
            name: value for name, value in told.items() if value is not None and value is not False
        }

    def _parsed(self) -> dict[str, Any] | None:
        from ..errors import ParameterError
        from ..study import yaml_values

        parsed: dict[str, Any] = {}
        for option in self.options or ():
            name, separator, text = option.partition("=")
            if not name or not separator:
                raise ParameterError(f"--option needs key=value; got {option!r}.")
            parsed[name] = yaml_values.parse(text, f"--option {name}", "a YAML value")
        return parsed or None


def allow_downloads() -> None:
    """Let the hub be asked; only has an effect before its packages are imported."""
    os.environ["HF_HUB_OFFLINE"] = "0"


def _reading(
    data_format: Annotated[
        str | None, typer.Option("--format", help="Shape of the pairs; told from the rows if not.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="Column that names the group; again: crossed.")
    ] = None,
    annotator: Annotated[str | None, typer.Option(help="Column that names the rater.")] = None,
    domain: Annotated[
        str | None, typer.Option(help="Column that names where a pair came from.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split to read, if there are several.")] = None,
    limit: Annotated[int | None, typer.Option(help="Read only the first so many rows.")] = None,
    drop_unusable: Annotated[
        bool, typer.Option("--drop-unusable", help="Drop blank rows with a warning.")
    ] = False,
    chat: Annotated[
        bool, typer.Option("--chat", help="Put plain texts into the model's chat template.")
    ] = False,
    option: Annotated[
        list[str] | None, typer.Option(help="What the format leaves open: key=value; again: more.")
    ] = None,
    allow_download: Annotated[
        bool, typer.Option("--allow-download", help="Let the pairs be a data set of the hub.")
    ] = False,
) -> Reading:
    if allow_download:
        allow_downloads()
    return Reading(
        format=data_format,
        group=group,
        annotator=annotator,
        domain=domain,
        split=split,
        limit=limit,
        drop_unusable=drop_unusable,
        chat=chat,
        allow_download=allow_download,
        options=option,
    )


def reads_pairs(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :class:`Reading`; it gets them as ``reading``."""
    own = inspect.signature(command, eval_str=True).parameters
    shared = inspect.signature(_reading, eval_str=True).parameters

    @wraps(command)
    def with_options(**values: Any) -> None:
        told = {name: values.pop(name) for name in shared}
        command(**values, reading=_reading(**told))

    parameters = [p for name, p in own.items() if name != "reading"] + list(shared.values())
    with_options.__dict__["__signature__"] = inspect.Signature(parameters)
    with_options.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_options
