"""A safetensors file written one tensor at a time: the library's own `save_file` wants all of them in memory.

Format: https://github.com/huggingface/safetensors#format (0.8): the header's length as a little-endian u64, the header
as JSON, filled up with blanks to a multiple of 8 bytes, then the tensors without gaps.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

_DTYPES = {
    torch.int64: "I64",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int8: "I8",
}


@dataclass(frozen=True)
class Entry:
    """A tensor to write, which is asked for when its turn comes."""

    key: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], torch.Tensor]


def write_tensors(path: Path, entries: Sequence[Entry], metadata: Mapping[str, str]) -> None:
    """Write `entries` to `path`, each let go before the next is made.

    Raises OSError where the disk fails, and ValueError where a tensor is not what its entry says.
    """
    # Wide types first: then each tensor is aligned to its own type.
    ordered = sorted(entries, key=lambda entry: -entry.dtype.itemsize)
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for entry in ordered:
        start, end = end, end + math.prod(entry.shape) * entry.dtype.itemsize
        header[entry.key] = {"dtype": _DTYPES[entry.dtype], "shape": list(entry.shape), "data_offsets": [start, end]}
    if len(header) != len(entries) + 1:
        raise ValueError("two tensors have one name")
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for entry in ordered:
            tensor = entry.make()
            if tensor.dtype != entry.dtype or tuple(tensor.shape) != entry.shape:
                raise ValueError(f"{entry.key} is {tensor.dtype} {list(tensor.shape)}, expected {entry}")
            file.write(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
            del tensor
