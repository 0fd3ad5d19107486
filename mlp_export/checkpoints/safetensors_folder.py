"""The tensors of a checkpoint folder by their keys, from headers alone, and one of them read from its file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from mlp_export.errors import InputError
from mlp_export.jsonfile import read_json_object
from mlp_export.paths import check_fetched, check_reachable

FETCH_AGAIN = "the file is damaged or cut off: fetch the checkpoint again"


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies: file, key and header entry."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str  # as safetensors spells it: "BF16", "I32"


@dataclass
class StoredTensors:
    """What the headers of a folder's files say. Readers take what they know out of `tensors`."""

    folder: Path
    tensors: dict[str, Stored] = field(default_factory=dict)
    metadata: list[dict[str, str]] = field(default_factory=list)  # of each file


def read_headers(folder: Path) -> StoredTensors:
    """Every tensor, from the headers of the files, which are checked against the files' lengths.

    Raises InputError for files that are missing, damaged, in a pickle format, or not what their index says.
    """
    found = StoredTensors(folder)
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        found.tensors.update({entry.key: entry for entry in _read_header(single, found.metadata)})
        return found
    if not index.is_file():
        raise _no_safetensors(folder)
    weight_map: Any = read_json_object(index).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(file, str) for file in weight_map.values())
    ):
        raise InputError(f"{index}: `weight_map` is missing or not an object of file names", FETCH_AGAIN)
    stored = found.tensors
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name or name in ("", ".", ".."):
            raise InputError(f"{index} names the shard {name!r}, expected a file of the same folder", FETCH_AGAIN)
        check_reachable(folder / name)
        if not (folder / name).is_file():
            raise InputError(
                f"the shard {name} is missing from {folder}", "fetch the checkpoint again: a finished part is kept"
            )
        for entry in _read_header(folder / name, found.metadata):
            if entry.key in stored:
                raise InputError(f"`{entry.key}` is in both {stored[entry.key].file.name} and {name}", FETCH_AGAIN)
            stored[entry.key] = entry
    for key, name in weight_map.items():
        if key not in stored or stored[key].file.name != name:
            raise InputError(f"{index} places `{key}` in {name}, which does not hold it", FETCH_AGAIN)
    return found


def _no_safetensors(folder: Path) -> InputError:
    pickles = sorted(p.name for pattern in ("*.bin", "*.pth", "*.pt", "*.ckpt") for p in folder.glob(pattern))
    if pickles:
        return InputError(
            f"{folder} has its weights in {list_names(pickles)} only, "
            "a pickle format that can run code when it is opened",
            "expected model.safetensors: convert the weights with safetensors' own tools, where you trust their source",
        )
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    return InputError(
        f"neither model.safetensors nor model.safetensors.index.json in {folder}",
        f"it has {list_names(others)}: fetch the index, which names the parts, or transformers' form of the checkpoint"
        if others
        else "give the folder of a downloaded checkpoint",
    )


def _read_header(file: Path, metadata: list[dict[str, str]]) -> Iterator[Stored]:
    with opened(file) as found:
        metadata.append(found.metadata() or {})
        for key in found.keys():  # noqa: SIM118 - not a dict, and not iterable
            entry = found.get_slice(key)
            yield Stored(file, key, tuple(entry.get_shape()), entry.get_dtype())


def read(stored: Stored) -> torch.Tensor:
    """The tensor, backed by the mapped file. Raises InputError where the file has become unreadable."""
    # The file is opened anew each time: a mapping that stays open keeps every page ever read in the process.
    with opened(stored.file) as found:
        tensor: torch.Tensor = found.get_tensor(stored.key)
    return tensor


def open_error(file: Path, error: OSError) -> OSError:
    """What the system says of `file`, which safetensors could not open: it calls all of these missing. `error` itself
    where the file can be opened.
    """
    try:
        with file.open("rb"):
            return error
    except OSError as told:
        return told


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """The safetensors file `file`, mapped. Raises InputError where it cannot be opened or is not whole."""
    try:
        with safe_open(file, "pt") as found:
            yield found
    except SafetensorError as error:
        check_fetched(file)
        raise InputError(f"{file} is not a whole safetensors file: {error}", FETCH_AGAIN) from error
    except OSError as error:
        told = open_error(file, error)
        raise InputError(
            f"cannot read {file}: {told.strerror or told}", "check the file and its permissions"
        ) from error


def save_whole(tensors: dict[str, torch.Tensor], file: Path) -> None:
    """Write a file that is complete once it has its name. Raises OSError where the disk fails."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        save_file(tensors, unfinished)
    except SafetensorError as error:
        raise os_error(error) from error
    unfinished.rename(file)


def load_whole(file: Path) -> dict[str, torch.Tensor]:
    """What `save_whole` wrote, backed by the mapped file. Raises OSError, which names the file, where it cannot be
    opened, InputError where it is damaged.
    """
    try:
        return load_file(file)
    except FileNotFoundError as error:
        raise open_error(file, error) from error
    except SafetensorError as error:
        raise InputError(f"{file} is damaged: {error}", f"remove {file.parent} and start again") from error


def os_error(error: SafetensorError) -> Exception:
    """The OSError behind safetensors' own error, which names it in its text only ("... (os error 28)")."""
    match = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(match[1]), os.strerror(int(match[1]))) if match else error


def list_names(names: Iterable[str], shown: int = 5) -> str:
    """Names for a message, the first of many."""
    names = list(names)
    text = ", ".join(f"`{name}`" for name in names[:shown])
    return text if len(names) <= shown else f"{text} and {len(names) - shown} more"
