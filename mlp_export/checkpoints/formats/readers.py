"""Readers of the formats that store symmetric integer codes: see `FormatReader`.

compressed-tensors 0.20: `MODULE.weight_packed` (pack-quantized) or `MODULE.weight` int8 (int-quantized), with
`weight_scale`. torchao 0.18 in safetensors (`prototype/safetensors`): `MODULE._weight_qdata` int8, a byte a code, with
`_weight_scale` and `_weight_zero_point`; the header says what they are. GPTQ (GPTQModel 7.7): `MODULE.qweight` int32
packed along the input, `scales`, `qzeros` and `g_idx`. Bits of a row or column lie lowest first in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

import torch

from mlp_export.checkpoints.formats.packed_weight import FormatReader, PackedWeight
from mlp_export.checkpoints.formats.packing import unpack_words
from mlp_export.checkpoints.formats.recognize import (
    FLOAT_MODEL,
    asymmetric,
    method_of,
    refusal,
    static_activations,
)
from mlp_export.checkpoints.safetensors_folder import FETCH_AGAIN, Stored, StoredTensors, read
from mlp_export.errors import InputError
from mlp_export.models.quantized_weight import Bits

_SCALES = ("BF16", "F16", "F32")


def reader_of(config: Mapping[str, Any], stored: StoredTensors) -> FormatReader:
    """The reader for a checkpoint's `quantization_config`. Raises InputError for a format that has none."""
    method = method_of(config)
    if method == "torchao":
        return TorchaoReader(stored)
    return CompressedTensorsReader() if method == "compressed-tensors" else GptqReader(config)


class CompressedTensorsReader:
    def take(self, stored: StoredTensors, key: str, shape: tuple[int, int]) -> PackedWeight | None:
        tensors, module = stored.tensors, key.removesuffix(".weight")
        for side in ("input", "output"):
            if f"{module}.{side}_scale" in tensors:
                raise static_activations(f"{stored.folder}: `{module}.{side}_scale`")
        packed = tensors.get(f"{module}.weight_packed")
        plain = tensors.get(key)
        if packed is None and (plain is None or f"{module}.weight_scale" not in tensors):
            return None
        source = packed or cast(Stored, plain)
        for name in ("weight_zero_point", "weight_global_scale"):
            if f"{module}.{name}" in tensors:
                where = f"{source.file}: `{module}.{name}`"
                raise asymmetric(where) if name == "weight_zero_point" else refusal("nvfp4", where)
        if packed is None:
            if source.dtype != "I8":
                raise refusal(f"{'fp8' if source.dtype.startswith('F8') else source.dtype}", f"{source.file}: `{key}`")
            _check(source, shape, ("I8",))
            bits: Bits = 8
        else:
            bits = self._bits(stored, packed, module, shape)
        scale = _part(stored, f"{module}.weight_scale", source)
        groups = _groups(scale, shape, bits)
        if (index := tensors.pop(f"{module}.weight_g_idx", None)) is not None:
            _check_order(index, shape[1], groups)
        tensors.pop(source.key)
        columns = shape[1]
        return PackedWeight(
            source,
            shape,
            bits,
            groups,
            (lambda: read(source)) if packed is None else (lambda: unpack_words(read(source), bits, columns)),
            lambda: _scale_rows(read(scale), shape[0], groups),
        )

    @staticmethod
    def _bits(stored: StoredTensors, packed: Stored, module: str, shape: tuple[int, int]) -> Bits:
        stated = _part(stored, f"{module}.weight_shape", packed)
        _check(stated, (2,), ("I64", "I32"))
        if (found := tuple(read(stated).tolist())) != shape:
            raise InputError(
                f"{stated.file}: `{stated.key}` says {list(found)}, the model has {list(shape)} there", FETCH_AGAIN
            )
        for bits in (4, 8):
            if packed.dtype == "I32" and packed.shape == (shape[0], -(-shape[1] * bits // 32)):
                return bits
        raise InputError(
            f"{packed.file}: `{packed.key}` is {packed.dtype} {list(packed.shape)}, which holds {list(shape)} "
            "in neither 4 nor 8 bits",
            FLOAT_MODEL,
        )


class TorchaoReader:
    def __init__(self, stored: StoredTensors) -> None:
        """Raises InputError where the files' headers do not say what their tensors are."""
        self._types: dict[str, dict[str, Any]] = {}
        for metadata in stored.metadata:
            try:
                names = json.loads(metadata.get("tensor_names", "[]"))
                self._types.update({name: json.loads(metadata[name]) for name in names})
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise InputError(
                    f"{stored.folder}: torchao's entries in a file's header are damaged", FETCH_AGAIN
                ) from error
        if not self._types:
            raise InputError(
                f"{stored.folder}: the files' headers do not say what torchao's tensors are",
                "save it again with transformers 5 or later, which writes that; or " + FLOAT_MODEL,
            )

    def take(self, stored: StoredTensors, key: str, shape: tuple[int, int]) -> PackedWeight | None:
        described = self._types.get(key)
        if not isinstance(described, dict) or described.get("_type") == "Tensor":
            return None
        kind = described.get("_type")
        if kind != "IntxUnpackedToInt8Tensor":
            raise refusal(f"torchao as {kind}", f"{stored.folder}: `{key}`")
        module, _, leaf = key.rpartition(".")
        prefix = f"{module}._{leaf}_"
        data = _object(described, "_data")
        width = _object(data, "target_dtype").get("_data")
        if width not in ("int4", "int8"):
            raise refusal(f"torchao with codes of {width}", f"{stored.folder}: `{key}`")
        bits: Bits = 4 if width == "int4" else 8
        source = stored.tensors.get(f"{prefix}qdata")
        if source is None:
            raise InputError(f"{stored.folder}: `{prefix}qdata` is missing", FETCH_AGAIN)
        codes = stored.tensors.pop(source.key)
        _check(codes, shape, ("I8",))
        scale = _part(stored, f"{prefix}scale", codes)
        groups = _groups(scale, shape, bits)
        if data.get("block_size") != [1, shape[1] // groups]:
            raise InputError(
                f"{scale.file}: `{scale.key}` is {list(scale.shape)}, "
                f"the header says blocks of {data.get('block_size')}",
                FETCH_AGAIN,
            )
        zero = stored.tensors.pop(f"{prefix}zero_point", None)
        if zero is not None and bool(read(zero).any()):
            raise asymmetric(f"{zero.file}: `{zero.key}`")
        return PackedWeight(
            codes, shape, bits, groups, lambda: read(codes), lambda: _scale_rows(read(scale), shape[0], groups)
        )


def _object(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object at `key`, an empty one where there is none."""
    found = values.get(key)
    return found if isinstance(found, dict) else {}


class GptqReader:
    def __init__(self, config: Mapping[str, Any]) -> None:
        # GPTQModel's second version stores zero points as they are, the first one less.
        self._offset = 0 if config.get("checkpoint_format", config.get("format")) == "gptq_v2" else 1

    def take(self, stored: StoredTensors, key: str, shape: tuple[int, int]) -> PackedWeight | None:
        module = key.removesuffix(".weight")
        codes = stored.tensors.pop(f"{module}.qweight", None)
        if codes is None:
            return None
        rows, columns = shape
        widths = [bits for bits in (4, 8) if codes.dtype == "I32" and codes.shape == (columns * bits // 32, rows)]
        if not widths:
            raise InputError(
                f"{codes.file}: `{codes.key}` is {codes.dtype} {list(codes.shape)}, which holds {list(shape)} "
                "in neither 4 nor 8 bits",
                FLOAT_MODEL,
            )
        bits = cast(Bits, widths[0])
        scale = _part(stored, f"{module}.scales", codes)
        groups = _groups(scale, shape, bits, transposed=True)
        zeros = _part(stored, f"{module}.qzeros", codes)
        _check(zeros, (groups, rows * bits // 32), ("I32",))
        self._check_zeros(zeros, bits, rows)
        if (index := stored.tensors.pop(f"{module}.g_idx", None)) is not None:
            _check_order(index, columns, groups)
        return PackedWeight(
            codes,
            shape,
            bits,
            groups,
            lambda: unpack_words(read(codes).T, bits, columns),
            lambda: _scale_rows(read(scale).T, rows, groups),
        )

    def _check_zeros(self, zeros: Stored, bits: int, rows: int) -> None:
        # `unpack_words` subtracts half of the range, so a symmetric zero is 0 in it, less the version's offset.
        found = unpack_words(read(zeros), bits, rows) + self._offset
        if bool(found.any()):
            raise asymmetric(f"{zeros.file}: `{zeros.key}`")


def _part(stored: StoredTensors, key: str, of: Stored) -> Stored:
    part = stored.tensors.pop(key, None)
    if part is None:
        raise InputError(f"{stored.folder}: `{key}` is missing, while `{of.key}` is there", FETCH_AGAIN)
    return part


def _check(entry: Stored, shape: tuple[int, ...], dtypes: tuple[str, ...]) -> None:
    if entry.shape != shape or entry.dtype not in dtypes:
        raise InputError(
            f"{entry.file}: `{entry.key}` is {entry.dtype} {list(entry.shape)}, "
            f"expected {' or '.join(dtypes)} {list(shape)}",
            "the checkpoint and its config.json do not belong together, or it is damaged: fetch it again",
        )


def _groups(scale: Stored, shape: tuple[int, int], bits: int, transposed: bool = False) -> int:
    """Scales a row, by the shape of the scales; one scale for a whole tensor counts as one a row."""
    rows, columns = shape
    found = scale.shape[::-1] if transposed else scale.shape
    if found in ((1,), (), (rows,)):
        found = (rows, 1)
    if scale.dtype not in _SCALES or len(found) != 2 or found[0] != rows or found[1] < 1 or columns % found[1]:
        raise InputError(
            f"{scale.file}: `{scale.key}` is {scale.dtype} {list(scale.shape)}, which are no scales of {list(shape)}",
            FETCH_AGAIN,
        )
    groups = found[1]
    if groups > 1 and bits == 8:
        raise InputError(
            f"{scale.file}: `{scale.key}` has int8 codes in groups of {columns // groups}; "
            "XNNPACK's int8 has one scale an output channel",
            "give a checkpoint of int8 per channel or of int4, or " + FLOAT_MODEL,
        )
    if groups > 1 and (columns // groups) % 32:
        raise InputError(
            f"{scale.file}: `{scale.key}` has groups of {columns // groups}; XNNPACK takes multiples of 32",
            "give a checkpoint in groups of 32, 64 or 128, or " + FLOAT_MODEL,
        )
    return groups


def _scale_rows(scales: torch.Tensor, rows: int, groups: int) -> torch.Tensor:
    return scales.reshape(-1, groups).expand(rows, groups).contiguous()


def _check_order(index: Stored, columns: int, groups: int) -> None:
    """Raises InputError where the columns of a group are not side by side (GPTQ with act-order)."""
    _check(index, (columns,), ("I32", "I64"))
    if not torch.equal(read(index).long(), torch.arange(columns) // (columns // groups)):
        raise InputError(
            f"{index.file}: `{index.key}` scatters the columns of a group (act-order by groups), "
            "which no kernel here takes",
            "give a checkpoint that was made without desc_act, or " + FLOAT_MODEL,
        )
