"""Samplers by name, those of other packages among them."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from ...errors import ParameterError
from ...rules import nearest, shown
from .base import Sampler

GROUP = "pluralign.samplers"
"""The entry-point group in which another package names its samplers."""

BUILT_IN = {
    "ray": "ray_data:RaySampler",
    "scripted": "scripted:ScriptedSampler",
    "server": "server:ServerSampler",
    "transformers": "local:TransformersSampler",
    "vllm": "vllm_engine:VLLMSampler",
}


def sampler_names() -> tuple[str, ...]:
    """The names that :func:`find_sampler` knows: ours, then those of installed packages.

    Example:
        >>> "server" in sampler_names()
        True
    """
    return (*sorted(BUILT_IN), *sorted(set(_foreign()) - set(BUILT_IN)))


def find_sampler(name: str) -> Callable[..., Sampler]:
    """The class behind a name, for recipes and command lines.

    Another package adds one in its ``pyproject.toml``; a name of ours cannot be taken over::

        [project.entry-points."pluralign.samplers"]
        mine = "my_package.sampling:MySampler"

    Args:
        name: one of :func:`sampler_names`.

    Returns:
        What makes the sampler; its arguments are its own.

    Raises:
        ParameterError: for an unknown name, with the nearest known one; for a name that two
            packages claim, or one that does not load, with the package.

    Example:
        >>> find_sampler("server").__name__
        'ServerSampler'
        >>> find_sampler("sever")
        Traceback (most recent call last):
        pluralign.errors.ParameterError: no sampler is named 'sever'; did you mean 'server'?
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        return getattr(import_module(f".{module}", __package__), attribute)
    found = _foreign().get(name, [])
    if not found:
        raise ParameterError(
            f"no sampler is named {shown(name)}; {nearest(str(name), sampler_names())}"
        )
    if len(found) > 1:
        raise ParameterError(
            f"two packages have a sampler {name!r}: {' and '.join(map(_whose, found))}; "
            f"remove one of them."
        )
    return _loaded(found[0])


def _foreign() -> dict[str, list[EntryPoint]]:
    named: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        named.setdefault(point.name, []).append(point)
    return named


def _loaded(point: EntryPoint) -> Callable[..., Sampler]:
    try:
        made: Any = point.load()
    except Exception as error:
        # Whatever goes wrong in another package's module is its own error, named as such.
        raise ParameterError(
            f"the sampler {point.name!r} of {_whose(point)} does not load: {error!r}."
        ) from error
    if not callable(made):
        raise ParameterError(f"the sampler {point.name!r} of {_whose(point)} cannot be called.")
    return cast(Callable[..., Sampler], made)


def _whose(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else 'a package'} ({point.value})"
