"""Where a result comes from: versions, machine, command."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

_PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "datasets",
    "tokenizers",
    "numpy",
    "scipy",
    "trl",
)


def versions() -> dict[str, str]:
    """Python and the packages that decide numbers; ``absent`` where not installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def machine() -> dict[str, str]:
    """Class of the machine: system, processor, cores; no names."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
    }


def command() -> str:
    """The command line of this process, as one would type it; no absolute path of a program."""
    module = getattr(sys.modules.get("__main__"), "__spec__", None)
    script = sys.argv[0]
    if module is not None and module.name == "pluralign.cli.__main__":
        program = ["pluralign"]
    elif module is not None:
        program = ["python", "-m", module.name.removesuffix(".__main__")]
    elif script.endswith(".py"):
        program = ["python", os.path.basename(script) if os.path.isabs(script) else script]
    else:
        program = [os.path.basename(script) or "python"]
    return shlex.join([*program, *sys.argv[1:]])


def provenance(**more: Any) -> dict[str, Any]:
    """Record of this process for ``run.json`` and the report."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(),
        "versions": versions(),
        "machine": machine(),
        **more,
    }
