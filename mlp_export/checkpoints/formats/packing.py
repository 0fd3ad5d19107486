"""Integer codes in 32-bit words, as compressed-tensors and GPTQ store them."""

from __future__ import annotations

import torch


def pack_words(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes int8 [rows, columns] to int32 [rows, ceil(columns * bits / 32)]: the first column in the lowest bits, each
    code stored + 2^(bits-1), the last word filled up with zeros. `bits` is 4 or 8.

    Equal to compressed-tensors' `pack_to_int32` (0.20, compressors/pack_quantized/helpers.py).
    """
    per_word = 32 // bits
    rows, columns = codes.shape
    unsigned = codes.to(torch.int16).add_(2 ** (bits - 1)).to(torch.uint8)
    if columns % per_word:
        unsigned = torch.nn.functional.pad(unsigned, (0, -columns % per_word))
    if bits == 4:
        unsigned = unsigned[:, ::2] | (unsigned[:, 1::2] << 4)
    return unsigned.contiguous().view(torch.int32).view(rows, -1)


def unpack_words(words: torch.Tensor, bits: int, columns: int) -> torch.Tensor:
    """Inverse of `pack_words`: int8 [rows, columns]."""
    unsigned = words.contiguous().view(torch.uint8)
    if bits == 4:
        unsigned = torch.stack([unsigned & 15, unsigned >> 4], dim=-1).flatten(-2)
    return (unsigned[:, :columns].to(torch.int16) - 2 ** (bits - 1)).to(torch.int8)
