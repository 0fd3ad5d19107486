"""Codes in the bytes of a compiled graph.

Qualcomm documents no layout of a context binary; this one was found by compiling weights with one code set (QAIRT
2.49). A weight [out, in] is cut into tiles of 32 x 32 codes, padded with zeros. In a tile, four codes that follow each
other along the inputs stand together, for the 32 outputs, then the next four; with 4 bits a byte holds code i of a
group of eight in its low nibble and code i + 4 in its high one. The tiles of some outputs form a slab, in which the
inputs' tiles follow each other, each with the tiles of all the slab's outputs. Slabs may stand anywhere.
"""

from __future__ import annotations

import numpy as np

TILE = 32


def pack_tiles(codes: np.ndarray, bits: int) -> np.ndarray:
    """Codes int8 [32 * m, 32 * n] as bytes [n, m, bytes of a tile]: for each tile of inputs those of all outputs."""
    outputs, inputs = codes.shape[0] // TILE, codes.shape[1] // TILE
    if bits == 8:
        tiles = codes.reshape(outputs, TILE, inputs, 8, 4).transpose(2, 0, 3, 1, 4)
        return np.ascontiguousarray(tiles).view(np.uint8).reshape(inputs, outputs, -1)
    nibbles = (codes & 15).view(np.uint8).reshape(outputs, TILE, inputs, 4, 2, 4)
    packed = nibbles[:, :, :, :, 0] | (nibbles[:, :, :, :, 1] << 4)
    return np.ascontiguousarray(packed.transpose(2, 0, 3, 1, 4)).reshape(inputs, outputs, -1)


def unpack_tiles(packed: np.ndarray, bits: int) -> np.ndarray:
    """The inverse of `pack_tiles`."""
    inputs, outputs = packed.shape[:2]
    if bits == 8:
        tiles = packed.view(np.int8).reshape(inputs, outputs, 8, TILE, 4).transpose(1, 3, 0, 2, 4)
        return np.ascontiguousarray(tiles).reshape(outputs * TILE, inputs * TILE)
    groups = packed.reshape(inputs, outputs, 4, TILE, 4)
    nibbles = np.stack([groups & 15, groups >> 4], axis=4)  # [inputs, outputs, 4, 32, half, 4]
    signed = ((nibbles ^ 8).astype(np.int8) - 8).transpose(1, 3, 0, 2, 4, 5)
    return np.ascontiguousarray(signed).reshape(outputs * TILE, inputs * TILE)
