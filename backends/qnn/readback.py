"""Codes read back out of a compiled graph (see `layout` for how they stand there).

Where a slab of tiles is, nothing in the file says: it is found by its tiles of the first 32 inputs. All its other codes
are then read from there.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from executorch.exir.schema import Tensor

from mlp_export.backends.qnn.layout import TILE, pack_tiles, unpack_tiles
from mlp_export.errors import InputError
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.program.embedding import read_embedding
from mlp_export.program.half_rope import rotate_half_permutation, uses_rope
from mlp_export.program.pte import OpenPte
from mlp_export.program.stored_weight import StoredWeight
from mlp_export.program.tables import CACHE_WRITERS, kernel_calls

_HIDDEN_SCALES = "the export compares them in the graph that it gives to Qualcomm's compiler"


def read_weight(pte: OpenPte, name: str, like: QuantizedWeight) -> StoredWeight:
    """Codes of weight `name` in the compiled graph, without scales, which nobody has found in it.

    The codes of the first 32 inputs in `like` are what the weight is found by, so that all codes are compared. The
    embedding is not in the graph: of it scales are read, too. Raises InputError where the file holds no such codes.
    """
    if name == "embed":
        return read_embedding(pte, like)
    rows, columns = like.codes.shape
    order = rotate_half_permutation(rows, _head_dim(pte)) if uses_rope(name) else torch.arange(rows)
    padded = np.zeros((-(-rows // TILE) * TILE, -(-columns // TILE) * TILE), np.int8)
    padded[:rows, :columns] = like.codes[order].numpy()
    first = pack_tiles(padded[:, :TILE], like.bits)[0]
    slabs = [unpack_tiles(slab, like.bits) for slab in _slabs(pte.data, first, padded.shape[1] // TILE, name, pte.path)]
    codes = torch.empty_like(like.codes)
    codes[order] = torch.from_numpy(np.concatenate(slabs)[:rows, :columns])
    return StoredWeight(codes, None, _HIDDEN_SCALES)


def _slabs(data: mmap.mmap, first: np.ndarray, inputs: int, name: str, path: Path) -> Iterator[np.ndarray]:
    """The slabs of a weight, bytes [inputs, tiles of outputs, bytes of a tile]; `first` are its first inputs' tiles."""
    count, size = first.shape
    places = np.empty(count, np.int64)
    stride = 0
    for n, tile in enumerate(first):
        wanted = tile.tobytes()
        guesses = [places[n - 1] + size, places[n - 1] + stride] if n else []
        place = next((int(guess) for guess in guesses if data[guess : guess + size] == wanted), None)
        if place is None:
            after = int(places[n - 1]) + size if n else 0
            place = data.find(wanted, after)
            place = place if place >= 0 else data.find(wanted)
            if place < 0:
                raise InputError(f"{path} holds no codes of {name!r} for outputs {n * TILE} to {(n + 1) * TILE - 1}")
            stride = place - int(places[n - 1]) if n else 0
        places[n] = place
    starts = [0, *(np.flatnonzero(np.diff(places) != size) + 1).tolist(), count]
    for start, end in pairwise(starts):
        width, place = end - start, int(places[start])
        slab = np.frombuffer(data[place : place + inputs * width * size], np.uint8)
        yield slab.reshape(inputs, width, size)


def _head_dim(pte: OpenPte) -> int:
    """The last dimension of the caches that the program writes."""
    plan = pte.forward
    for operator, arguments in kernel_calls(plan):
        cache = plan.values[arguments[1]].val
        if operator in CACHE_WRITERS and isinstance(cache, Tensor):
            return int(cache.sizes[-1])
    raise InputError(f"{pte.path} writes no KV cache")
