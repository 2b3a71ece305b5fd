"""Where rows come from: files, directories of files, data set objects, iterables.

Whatever the source, what comes out is an iterator of mappings and a name for messages.
Nothing is unpickled, and nothing is downloaded unless it is allowed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

from ..errors import DataError, IncompatibleError
from ..rows import iter_jsonl, open_bytes, reading
from ..rules import nearest, shown
from .hub import fetched, is_hub_name, rows_of

Row: TypeAlias = Mapping[str, Any]

# train-00000-of-00002.parquet, test_prefs.jsonl: a split's name before any numbers.
_SPLIT_OF_FILE = re.compile(r"(train|test|validation|valid|val|eval|dev)(_[a-z]+)?(?=[-._\d])")
# So few rows at a time are Python objects, whatever the size of a row group.
_PARQUET_ROWS = 1024
_DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json"}


def open_source(
    source: object,
    split: str | None = None,
    *,
    allow_download: bool = False,
    streaming: bool = False,
) -> tuple[Iterator[Any], str]:
    """Rows of a source and its name.

    Args:
        source: path, data set object, mapping of splits, or iterable of rows.
        split: which split to read where a source has several.
        allow_download: read ``owner/name`` from the hub if there is no such path.
        streaming: do so without storing it.

    Raises:
        DataError: if the source cannot be read, or a split is missing or not there.
        FileNotFoundError: if there is no such path.
        IncompatibleError: if the object is no source of rows at all.
    """
    if source == "":
        raise FileNotFoundError("the path of the pairs is empty; give a file or directory.")
    if isinstance(source, (str, Path)):
        if allow_download and is_hub_name(str(source)) and not _exists(Path(source)):
            splits = fetched(str(source), streaming=streaming)
            return rows_of(_one_of(splits, split, str(source)), str(source)), str(source)
        return _open_path(Path(source), split), str(source)
    name = f"{type(source).__name__} object"
    if isinstance(source, Mapping) and _is_hf(next(iter(source.values()), None)):
        return _hf_rows(_one_of(cast("Mapping[str, Any]", source), split, name)), name
    if _is_hf(source):
        _no_split(split, name)
        return _hf_rows(source), name
    if isinstance(source, Mapping) or not isinstance(source, Iterable) or isinstance(source, bytes):
        raise IncompatibleError(
            f"pairs cannot be read from a {type(source).__name__} {shown(source)}; give a path, "
            "a data set, or an iterable with one mapping for each pair."
        )
    _no_split(split, name)
    return iter(cast("Iterable[Any]", source)), "records"


def _open_path(path: Path, split: str | None) -> Iterator[Row]:
    if not _exists(path):
        raise FileNotFoundError(_absent(path))
    if not path.is_dir():
        _no_split(split, str(path))
        return _reader_of(path)(path)
    with reading(str(path)):
        names = {entry.name for entry in path.iterdir()}
    if names & {"dataset_dict.json", "state.json"}:
        return _saved_rows(path, split)
    files = _shards(path, split)
    return itertools.chain.from_iterable(_reader_of(file)(file) for file in files)


def _exists(path: Path) -> bool:
    with reading(str(path)):
        return path.exists()


def _absent(path: Path) -> str:
    text = str(path)
    if is_hub_name(text) and not path.parent.exists():
        return (
            f"there is no file or directory {text!r}. If it names a data set of the hub: "
            "nothing is downloaded unless that is allowed (allow_download=True, --allow-download)."
        )
    parent = path.parent
    while not parent.exists():
        path, parent = parent, parent.parent
    if not parent.is_dir():
        return f"there is no {text!r}: {str(parent)!r} is a file, not a directory."
    with reading(str(parent)):
        names = [entry.name for entry in parent.iterdir()]
    near = nearest(path.name, names) if names else ""
    hint = near if near.startswith("did you mean") else f"it holds {len(names)} other names."
    return f"there is no file or directory {text!r}; in {str(parent)!r}: {hint}"


def _no_split(split: str | None, name: str) -> None:
    if split is not None:
        raise DataError(f"has no splits, so split={split!r} has no effect; drop it.", source=name)


def _one_of(splits: Mapping[str, Any], split: str | None, name: str) -> Any:
    """The split that was asked for, or the only one."""
    if split is None and len(splits) == 1:
        return next(iter(splits.values()))
    if split is None:
        raise DataError(f"has the splits {sorted(splits)}; name one with split=.", source=name)
    if split not in splits:
        raise DataError(f"has no split {split!r}; {nearest(split, splits)}", source=name)
    return splits[split]


def _shards(path: Path, split: str | None) -> list[Path]:
    """The data files of a directory (or its ``data`` directory), in order of name."""
    with reading(str(path)):
        entries = [*path.iterdir(), *((path / "data").glob("*"))]
    files = sorted(
        file
        for file in entries
        if _suffix(file) in _READERS
        and file.name not in _DESCRIPTIONS
        and not file.name.startswith((".", "_"))  # what an editor or a system left behind
        and file.is_file()
    )
    if not files:
        raise DataError(
            f"the directory holds no data file; known endings: {_known()}.", source=str(path)
        )
    kinds = {_READERS[_suffix(file)] for file in files}
    if len(kinds) > 1:
        raise DataError(
            f"the directory mixes kinds of files ({sorted({_suffix(f) for f in files})}); "
            "give the path of one file, or put one kind into a directory.",
            source=str(path),
        )
    by_split: dict[str, list[Path]] = {}
    for file in files:
        found = _SPLIT_OF_FILE.match(file.name)
        by_split.setdefault(found.group() if found else "all", []).append(file)
    if split is None and len(by_split) == 1:
        return files
    return _one_of(by_split, split, str(path))


def file_hash(path: str | Path) -> str:
    """SHA-256 of the bytes of a file, or of the names and hashes of a directory's files.

    Use it to record which data a run saw; the file is streamed, so its size does not
    matter. ``Preferences.fingerprint`` is the hash of the pairs instead, whatever file
    they came from.

    Args:
        path: a file (its bytes as stored, compressed or not) or a directory.

    Returns:
        64 hexadecimal digits.

    Raises:
        DataError: if something cannot be read.
        FileNotFoundError: if there is no such path.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "a.jsonl").write_bytes(b"")
        ...     file_hash(Path(folder) / "a.jsonl")[:8]
        'e3b0c442'
    """
    path = Path(path)
    with reading(str(path)):
        if not path.exists():
            raise FileNotFoundError(_absent(path))
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            listed = [f"{file.relative_to(path).as_posix()}\0{file_hash(file)}" for file in files]
            return hashlib.sha256("\n".join(listed).encode()).hexdigest()
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()


def _suffix(path: Path) -> str:
    """``.jsonl.gz`` for a compressed file, else the last ending, in lower case."""
    endings = [ending.lower() for ending in path.suffixes[-2:]]
    return "".join(endings) if endings[-1:] == [".gz"] else "".join(endings[-1:])


def _reader_of(path: Path) -> Callable[[Path], Iterator[Row]]:
    suffix = _suffix(path)
    if suffix in _READERS:
        return _READERS[suffix]
    why = "such files can run code when they are read and are refused" if suffix in _UNSAFE else ""
    raise DataError(
        f"cannot read files that end in {suffix!r}{': ' if why else ''}{why}; "
        f"known endings: {_known()}.",
        source=str(path),
    )


def _known() -> str:
    return ", ".join(sorted(_READERS))


def _json_rows(path: Path) -> Iterator[Row]:
    """An array of objects, or JSON Lines under the wrong name."""
    with reading(str(path)), open_bytes(path) as stream:
        start = stream.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"{":
        yield from iter_jsonl(path)
        return
    with reading(str(path)), open_bytes(path) as stream:
        content = stream.read()
    try:
        rows = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"is not JSON ({error}); mend the file.", source=str(path)) from error
    if not isinstance(rows, list):
        raise DataError(f"must hold an array of objects; got {shown(rows)}.", source=str(path))
    yield from cast("list[Row]", rows)


def _csv_rows(path: Path) -> Iterator[Row]:
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    with reading(str(path)), open_bytes(path) as stream, _long_cells():
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
        table = csv.reader(text, delimiter=delimiter, strict=True)
        try:
            header = next(table, [])
            _check_header(header, path)
            for cells in table:
                if cells:
                    yield _csv_row(header, cells, table.line_num, path)
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(
                f"near line {table.line_num + 1}: {error}; mend the file.",
                source=str(path),
                rows=[max(0, table.line_num - 1)],
            ) from error


def _check_header(header: list[str], path: Path) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated or not header:
        what = f"names the column {repeated[0]!r} twice" if repeated else "is missing"
        raise DataError(f"the header line {what}.", source=str(path))


def _csv_row(header: list[str], cells: list[str], line: int, path: Path) -> Row:
    if len(cells) != len(header):
        raise DataError(
            f"line {line} has {len(cells)} cells for {len(header)} columns; quote cells that "
            "hold the delimiter.",
            source=str(path),
            rows=[line - 1],
        )
    return {name: _csv_value(name, cell) for name, cell in zip(header, cells, strict=True)}


def _csv_value(name: str, cell: str) -> Any:
    """What a cell stands for: a flag, a conversation or token ids written as JSON, or text."""
    if name == "chosen_first" and cell.lower() in ("true", "false", "1", "0"):
        return cell.lower() in ("true", "1")
    if cell.startswith("[") and cell.endswith("]"):
        try:
            value = json.loads(cell)
        except (ValueError, RecursionError):
            return cell
        parts = cast("list[Any]", value)
        return value if parts and isinstance(parts[0], (dict, int)) else cell
    return cell if cell or name in ("prompt", "chosen", "rejected") else None


@contextmanager
def _long_cells() -> Generator[None]:
    """Allow cells of any length while a file is read; the limit is one for the process."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise ImportError(f"{path} needs pyarrow; pip install 'pluralign[language]'") from error
    with reading(str(path)):
        try:
            with pq.ParquetFile(path) as table:
                for batch in table.iter_batches(batch_size=_PARQUET_ROWS):
                    yield from batch.to_pylist()
        except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
            if getattr(error, "errno", None) is not None:  # the system's, not the format's
                raise
            detail = " ".join(str(error).split())
            raise DataError(
                f"is no intact Parquet file ({detail}); get it again.", source=str(path)
            ) from error


def _saved_rows(path: Path, split: str | None) -> Iterator[Row]:
    """Rows of a directory written by ``Dataset.save_to_disk``."""
    try:
        import datasets
        import pyarrow as pa
    except ImportError as error:
        raise ImportError(f"{path} needs datasets; pip install 'pluralign[language]'") from error
    try:
        with reading(str(path)):
            saved = datasets.load_from_disk(str(path))
    except (FileNotFoundError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"is no intact saved data set ({error}); save it again.", source=str(path)
        ) from error
    if isinstance(saved, datasets.DatasetDict):
        return _hf_rows(_one_of(cast("Mapping[str, Any]", saved), split, str(path)))
    _no_split(split, str(path))
    return _hf_rows(saved)


def _is_hf(value: object) -> bool:
    """Whether a value is a data set of the ``datasets`` library, without importing it."""
    return type(value).__module__.startswith("datasets.") and hasattr(value, "with_format")


def _hf_rows(dataset: Any) -> Iterator[Row]:
    return iter(dataset.with_format(None))


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    **dict.fromkeys((".jsonl", ".jsonl.gz"), iter_jsonl),
    **dict.fromkeys((".json", ".json.gz"), _json_rows),
    **dict.fromkeys((".csv", ".csv.gz", ".tsv", ".tsv.gz"), _csv_rows),
    ".parquet": _parquet_rows,
}
_UNSAFE = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib"}
