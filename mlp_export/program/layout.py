"""Quantized weights in the byte layouts of XNNPACK and of ExecuTorch's embedding kernels, and back.

XNNPACK (`xnnpack.h`, `xnn_define_blockwise_quantized_tensor_value`): unsigned nibbles with zero point 8, two to a
byte, LOW nibble = even column; bf16 scales a group (`qbint4`), fp32 scales a channel (`qcint4`, `qcint8`).
`quantized_decomposed::embedding_4bit`: the same nibbles, HIGH nibble = even column. So a head and an embedding with
equal codes differ in nibble order alone: an embedding that reads the head's bytes sees every pair of columns swapped.
"""

from __future__ import annotations

import torch

_ZERO_POINT = 8  # of unsigned nibbles


def _nibbles(codes: torch.Tensor) -> torch.Tensor:
    return (codes + _ZERO_POINT).view(torch.uint8)


def pack_linear(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes int8 [out, in] as XNNPACK stores them: uint8 [out, in / 2] for 4 bits, the codes themselves for 8."""
    if bits == 8:
        return codes.contiguous()
    nibbles = _nibbles(codes)
    return nibbles[:, ::2] | (nibbles[:, 1::2] << 4)


def unpack_linear(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Inverse of `pack_linear`: int8 [out, in]."""
    if bits == 8:
        return packed.view(torch.int8)
    return torch.stack([packed & 15, packed >> 4], dim=-1).flatten(-2).view(torch.int8) - _ZERO_POINT


def pack_embedding(codes: torch.Tensor, bits: int) -> torch.Tensor:
    """Codes int8 [vocabulary, hidden] as `embedding_4bit` / `embedding_byte` store them."""
    if bits == 8:
        return codes.contiguous()
    nibbles = _nibbles(codes)
    return (nibbles[:, ::2] << 4) | nibbles[:, 1::2]


def unpack_embedding(packed: torch.Tensor, bits: int) -> torch.Tensor:
    """Inverse of `pack_embedding`: int8 [vocabulary, hidden]."""
    if bits == 8:
        return packed.view(torch.int8)
    return torch.stack([packed >> 4, packed & 15], dim=-1).flatten(-2).view(torch.int8) - _ZERO_POINT


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor of any dtype, row-major."""
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()
