"""What a GGUF file says before its weights: metadata and the table of tensors.

Every read is bounded by the size of the file, so that a cut or hostile file ends in one
error instead of a long loop over lengths that it only claims.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from ..errors import DataError
from ..rules import shown

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_STRING, _ARRAY = 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"}
_SCALARS[12] = "d"
_DEFAULT_ALIGNMENT = 32


class TensorEntry(NamedTuple):
    """One line of a file's table of tensors.

    Attributes:
        name: name in the file, such as ``token_embd.weight``.
        shape: dimensions, the fastest-moving first.
        kind: number of the storage type.
        offset: bytes from the start of the weights.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@final
@dataclass(frozen=True)
class GgufHeader:
    """Metadata and table of tensors of a GGUF file.

    Args:
        source: path of the file.
        size: bytes of the whole file.
        metadata: values by key, as the file holds them.
        tensors: what is stored, in the order of the file.
        data_start: byte at which the weights start.
    """

    source: str
    size: int
    metadata: Mapping[str, Any]
    tensors: tuple[TensorEntry, ...]
    data_start: int

    def fail(self, what: str) -> DataError:
        """An error that names the file, to be raised."""
        return DataError(what, source=self.source)


def read_header(path: str | Path) -> GgufHeader:
    """Read the header of a little-endian GGUF file of version 2 or 3.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        DataError: for a file that is no GGUF file, is cut, or claims what it cannot hold.
    """
    path = Path(path)
    if path.is_dir():
        raise DataError("is a directory; give the .gguf file in it.", source=str(path))
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise DataError("is empty, not a GGUF file; download it again.", source=str(path))
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as blob:
            return _Cursor(blob, str(path)).header()


class _Cursor:
    """A place in the file that only moves forward and never past the end."""

    def __init__(self, blob: mmap.mmap, source: str) -> None:
        self.blob = blob
        self.source = source
        self.at = 0

    def header(self) -> GgufHeader:
        if self.blob[:4] != _MAGIC:
            raise self.fail(f"is no GGUF file: it starts with {self.blob[:4]!r}, not {_MAGIC!r}.")
        self.at = len(_MAGIC)
        version = self.number("I")
        if version not in _VERSIONS:
            raise self.fail(f"has GGUF version {version}; versions 2 and 3 can be read.")
        n_tensors, n_values = self.number("Q"), self.number("Q")
        metadata: dict[str, Any] = {}
        for _ in range(n_values):
            key = self.text()
            if key in metadata:
                raise self.fail(f"holds the key {shown(key)} twice; the file is damaged.")
            metadata[key] = self.value(self.number("I"))
        tensors = tuple(self.tensor() for _ in range(n_tensors))
        alignment = metadata.get("general.alignment", _DEFAULT_ALIGNMENT)
        if not isinstance(alignment, int) or alignment < 1:
            raise self.fail(f"general.alignment must be an integer >= 1; got {shown(alignment)}.")
        start = -(-self.at // alignment) * alignment
        return GgufHeader(self.source, len(self.blob), metadata, tensors, start)

    def fail(self, what: str) -> DataError:
        return DataError(what, source=self.source)

    def take(self, size: int) -> bytes:
        if size > len(self.blob) - self.at:
            raise self.fail(
                f"ends at byte {len(self.blob)}, but its header goes on for at least "
                f"{size} bytes from byte {self.at}: the file is cut or damaged; download it again."
            )
        self.at += size
        return self.blob[self.at - size : self.at]

    def number(self, form: str) -> Any:
        return struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}")))[0]

    def text(self) -> str:
        start, raw = self.at, self.take(self.number("Q"))
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.fail(f"holds a text at byte {start} that is not UTF-8 ({error}).") from error

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self.array(self.number("I"), self.number("Q"))
        return self.number(self.scalar(kind))

    def array(self, kind: int, count: int) -> list[Any]:
        if kind == _STRING:
            return [self.text() for _ in range(count)]
        form = self.scalar(kind)
        raw = self.take(count * struct.calcsize(f"<{form}"))
        return list(struct.unpack(f"<{count}{form}", raw))

    def scalar(self, kind: int) -> str:
        if kind not in _SCALARS:
            raise self.fail(f"holds a value of unknown type {kind} before byte {self.at}.")
        return _SCALARS[kind]

    def tensor(self) -> TensorEntry:
        name, n_dimensions = self.text(), self.number("I")
        shape = tuple(self.array(10, n_dimensions))
        return TensorEntry(name, shape, self.number("I"), self.number("Q"))
