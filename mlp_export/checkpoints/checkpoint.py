"""A checkpoint folder: config and safetensors, validated whole before any work, handed out one tensor at a time.

Every tensor in the files is either one the model is made of or named in an error. Names come out canonical and the rows
of q and k in the interleaved-RoPE layout (pairs of consecutive values), whatever layout the checkpoint has.

Source of the learned ranges: the state dict of torchao's weight fake-quantizer, `NAME.weight_fake_quantizer.scale`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from mlp_export.checkpoints.config import read_config, stated_training
from mlp_export.checkpoints.formats.embedding_scales import take_embedding
from mlp_export.checkpoints.formats.packed_weight import Deviation, FormatReader, PackedWeight, deviation, representable
from mlp_export.checkpoints.formats.readers import reader_of
from mlp_export.checkpoints.formats.recognize import FLOAT_MODEL, check_tensor_names, quantization_config
from mlp_export.checkpoints.safetensors_folder import FETCH_AGAIN, Stored, StoredTensors, list_names, read, read_headers
from mlp_export.errors import InputError
from mlp_export.jsonfile import read_json_object
from mlp_export.models.config import ModelConfig
from mlp_export.models.families import get_family
from mlp_export.models.quantized_weight import QuantizedWeight, WeightFormat
from mlp_export.models.rope import interleave_rows, rotate_half_rows
from mlp_export.models.tensors import Parameter, head_parameter, parameters
from mlp_export.text.tokenizer import Tokenizer, has_tokenizer

Kind = Literal["float", "int4-cpu", "int4-accelerator", "quantized"]

SCALE_SUFFIX = "_fake_quantizer.scale"
_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_SAVE_AGAIN = "the checkpoint was saved without its weights (as of a sharded optimizer): fetch or save it again"
# Older transformers saved RoPE's frequencies, which follow from the config; it ignores them too.
_DERIVED = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")


@dataclass(frozen=True)
class Checkpoint:
    """A validated checkpoint. Holds no tensor: each is read from its file when asked for and let go by the caller."""

    config: ModelConfig  # its vocabulary without the rows that pad the files' matrices: see `_used_rows`
    path: Path
    kind: Kind
    dtype: torch.dtype  # of the linears and the embedding; in a quantized checkpoint of those that are floats, if any
    rotate_half: bool  # the files hold q and k in the rotate-half layout; `tensor` never does
    _tensors: Mapping[str, Stored] = field(repr=False)  # canonical name -> place
    _scales: Mapping[str, Stored] = field(repr=False)
    _packed: Mapping[str, PackedWeight] = field(default_factory=dict, repr=False)  # weights that are stored as codes
    deviation: Deviation = field(
        default_factory=Deviation
    )  # how far codes and scales are from what `quantized` can hand out

    @property
    def qat(self) -> bool:
        """Whether the weights were trained to be quantized, or are quantized."""
        return self.kind != "float"

    def names(self) -> tuple[str, ...]:
        """All canonical names, in the order of the model: "embed", "layers.0.attention_norm", ..., "norm", "head"."""
        return tuple(self._tensors)

    def weight_names(self) -> tuple[str, ...]:
        """Names of the linears, the embedding and the head, in the order of the model; the head tied or not."""
        vectors = {name for name, parameter in self._parameters.items() if not parameter.quantized}
        return tuple(name for name in self._tensors if name not in vectors)

    def vector_names(self) -> tuple[str, ...]:
        """Names of norms and biases, in the order of the model."""
        return tuple(name for name, parameter in self._parameters.items() if not parameter.quantized)

    def key(self, name: str) -> str:
        """The name that a parameter has in a checkpoint of floats; a tied head's is the embedding's."""
        if name == "head" and self.config.tied_embeddings:
            name = "embed"
        spellings = self._parameters[name].keys
        start = self._tensors[name].key.rpartition("_proj.")[0]
        return next((key for key in spellings if start and key.startswith(start)), spellings[0])

    @property
    def formats(self) -> Mapping[str, WeightFormat]:
        """The formats of the weights that are stored as codes, by canonical name; none unless `kind` is "quantized"."""
        return {name: weight.format for name, weight in self._packed.items()}

    def quantized(self, name: str) -> QuantizedWeight | None:
        """Codes and scales of a weight that is stored so, as kernels hold them; None for one that is stored as floats.

        Scales are positive, those of groups bf16 and those of rows float32: the stored numbers where `deviation` is
        exact, else the nearest. Raises InputError for codes beyond their range.
        """
        stored = self.stored(name)
        return None if stored is None else representable(stored)

    def stored(self, name: str) -> QuantizedWeight | None:
        """The same as the files have them, with any scales that are not zero; rows as in `tensor`."""
        if name not in self._tensors:
            raise KeyError(name)
        packed = self._packed.get(name)
        if packed is None:
            return None
        weight = packed.read()
        return replace(weight, codes=self._rows(name, weight.codes), scales=self._rows(name, weight.scales))

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor of a canonical name in the checkpoint's dtype: linears and embedding [out, in], biases [out], and
        norms [hidden] or [head_dim].

        Norms come as they multiply: with the 1 that a family leaves out in its files, and divided by the embedding's
        scale where hidden rows are (see `ModelConfig.hidden_eps`); both in float32.

        It may be backed by the mapped file: its pages are given back when the tensor is dropped. Writing to it is
        allowed and never reaches the file. Raises KeyError for an unknown name and InputError where the file has become
        unreadable or the values are not finite. Of a weight that is stored as codes it is code x scale as its library
        computes it, in the scale's dtype.
        """
        if (weight := self.stored(name)) is not None:
            return weight.dequantize().to(weight.scales.dtype)
        stored = self._tensors[name]
        value = self._rows(name, read(stored))
        # The minimum and maximum are NaN or infinite if any value is, without a second copy of the tensor.
        if not all(bool(torch.isfinite(bound)) for bound in torch.aminmax(value)):
            raise InputError(f"{stored.file}: `{stored.key}` holds NaN or infinite values", FETCH_AGAIN)
        return self._norm(name, value)

    def as_stored(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """The inverse of what `tensor` does to a parameter's values and rows, for files of the same family; of a norm
        the nearest number of the dtype that the files have it in.
        """
        config, parameter = self.config, self._parameters.get(name)
        if parameter is not None and parameter.role == "post norm" and config.embedding_scale != 1:
            value = value.double() * config.embedding_scale
        if parameter is not None and "norm" in parameter.role and config.unit_offset_norms:
            value = value - 1
        if parameter is not None and "norm" in parameter.role:
            value = value.to(_DTYPES[self._tensors[name].dtype])
        return rotate_half_rows(value, config.head_dim) if self._turned(name) else value

    def storable(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """What `tensor` returns in float32 of files that hold `value`, a norm, as nearly as their dtype can."""
        return self._norm(name, self._rows(name, self.as_stored(name, value))).float()

    def learned_scale(self, name: str) -> torch.Tensor | None:
        """The learned scale of a linear, "embed" or "head": float32 [out, 1], its bits kept, rows as in `tensor`.

        None unless `kind` is "int4-accelerator", and for norms.
        """
        if name not in self._tensors:
            raise KeyError(name)
        stored = self._scales.get(name)
        return None if stored is None else self._rows(name, read(stored))

    @functools.cached_property
    def _parameters(self) -> Mapping[str, Parameter]:
        return parameters(self.config)

    def _turned(self, name: str) -> bool:
        """Whether the files have the parameter's rows in another order."""
        parameter = self._parameters.get(name)
        return self.rotate_half and parameter is not None and parameter.rotated

    def _rows(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """Rows of a file as the model has them: those of q and k interleaved, of embedding and head those in use."""
        if name in ("embed", "head"):
            return rows[: self.config.vocab_size]
        return interleave_rows(rows, self.config.head_dim) if self._turned(name) else rows

    def _norm(self, name: str, value: torch.Tensor) -> torch.Tensor:
        config, parameter = self.config, self._parameters.get(name)
        if parameter is None or "norm" not in parameter.role:
            return value
        if config.unit_offset_norms:
            value = value.float() + 1
        if parameter.role == "post norm" and config.embedding_scale != 1:
            value = value.float() / config.embedding_scale
        return value


def check_no_adapter(names: Iterable[str], where: str) -> None:
    """Raises InputError where `names` of files at `where` are those of a PEFT adapter (LoRA and its kin).

    transformers applies an adapter that lies beside full weights, so leaving it out would be another model.
    """
    found = sorted(name for name in names if name.startswith(("adapter_config.json", "adapter_model.")))
    if found:
        raise InputError(
            f"{where} holds an adapter ({list_names(found)}), expected full weights",
            "merge it (peft's merge_and_unload), or remove its files to export the weights without it",
        )


def check_answers_differ(checkpoint: Checkpoint) -> None:
    """Raises InputError where the weights make all logits alike, as a broken save does: zeros, or equal rows."""
    for name in ("embed", "norm", "head"):
        value = checkpoint.tensor(name)
        stored = checkpoint._tensors[name]
        if not bool(value.any()):
            raise InputError(f"{stored.file}: `{stored.key}` is zero throughout", _SAVE_AGAIN)
        if value.dim() == 2 and len(value) > 1 and bool((value == value[:1]).all()):
            raise InputError(f"{stored.file}: all rows of `{stored.key}` are equal", _SAVE_AGAIN)


def read_checkpoint(folder: Path, quantization: Kind | None = None) -> Checkpoint:
    """Opens a folder of `config.json` and `model.safetensors`, or its shards with `model.safetensors.index.json`.

    `quantization` is what is known of the checkpoint besides its files; None: what its config.json states (see
    `stated_training`), else "int4-accelerator" where the files hold learned scales, else "float".

    Reads headers and learned scales, no weights. Raises InputError for anything that is missing, left over, of another
    shape or dtype, truncated, or in a pickle format.
    """
    if not folder.is_dir():
        raise InputError(
            f"no folder {folder}", "give the folder that holds config.json, *.safetensors and tokenizer.json"
        )
    config = read_config(folder)
    quantization = quantization or stated_training(folder)
    method = quantization_config(read_json_object(folder / "config.json"), folder)
    if method.get("quant_method") == "torchao" and not any(folder.glob("*.safetensors")):
        raise InputError(
            f"{folder}: this torchao checkpoint is older than torchao's safetensors: its weights are in pickles only",
            f"its author has to save it again with transformers 5; or {FLOAT_MODEL}",
        )
    stored = read_headers(folder)
    reader = reader_of(method, stored) if method else None
    taken = _take_tensors(config, stored, reader)
    if taken.packed and not config.tied_embeddings:
        if "embed" not in taken.packed and (own := take_embedding(folder, taken.tensors["embed"])):
            taken.packed["embed"] = own
        # Writers that pack the head say that it is not tied, whether its values are the embedding's or not.
        elif _same_values(taken):
            config = replace(config, tied_embeddings=True)
            _tie(taken)
    tensors, packed = taken.tensors, taken.packed
    scales = {} if packed else _take_scales(config, stored.tensors)
    left = sorted(key for key in stored.tensors if not _DERIVED.fullmatch(key))
    if left:
        scale = next((key for key in left if key.endswith(SCALE_SUFFIX)), None)
        reason = "a learned scale without its weight" if scale else "not a part of this model"
        raise InputError(
            f"{folder}: {list_names(left)}: {reason}, as config.json describes it",
            "checkpoint and config.json do not belong together, or the model is of a kind that is not supported",
        )
    kind: Kind = "quantized" if packed else "int4-accelerator" if scales else "float"
    # Files that hold codes say more than a name does.
    if quantization is not None and quantization != kind and not packed:
        if scales:
            raise InputError(
                f"{folder} holds learned scales, expected a checkpoint of kind {quantization}",
                "this is the int4-accelerator checkpoint: drop the statement of its kind, or give the other checkpoint",
            )
        if quantization == "int4-accelerator":
            raise InputError(
                f"{folder} holds no learned scales (`*.weight{SCALE_SUFFIX}`), expected an int4-accelerator checkpoint",
                "without the learned ranges the training is lost: fetch the int4-accelerator checkpoint itself",
            )
        kind = quantization
    return Checkpoint(
        config=replace(config, vocab_size=_used_rows(folder, config)),
        path=folder,
        kind=kind,
        dtype=_float_dtype(tensors, packed) if packed else _one_dtype(tensors),
        rotate_half=get_family(config.family).rotate_half,
        _tensors=tensors,
        _scales=scales,
        _packed=packed,
        deviation=deviation(weight for name, weight in packed.items() if name != "head" or not config.tied_embeddings),
    )


def _used_rows(folder: Path, config: ModelConfig) -> int:
    """Rows of embedding and head up to the last that a token or a stop id has.

    Files are often padded to a round number of rows (`pad_to_multiple_of`). A row that no token has was not trained, so
    it must not be answered: ExecuTorch's runner takes as many logits as its tokenizer has tokens.
    """
    if not has_tokenizer(folder):
        return config.vocab_size
    tokens = Tokenizer.from_folder(folder, config.vocab_size).vocab_size
    return max(tokens, 1 + max(config.bos_id, *config.eos_ids))


@dataclass
class _Taken:
    """Parameters that were found, by canonical name; `packed` are those that are stored as codes."""

    tensors: dict[str, Stored] = field(default_factory=dict)
    packed: dict[str, PackedWeight] = field(default_factory=dict)


def _take_tensors(config: ModelConfig, stored: StoredTensors, reader: FormatReader | None) -> _Taken:
    """Moves the model's parameters out of `stored`, checking name, shape and dtype of each."""
    taken = _Taken()
    missing = []
    for name, parameter in {**parameters(config), "head": head_parameter(config)}.items():
        found = _take(taken, stored, reader, name, parameter.keys, parameter.shape)
        if not found and not (name == "head" and config.tied_embeddings):
            missing.append(parameter.keys[0])
    if missing:
        check_tensor_names(stored.tensors, str(stored.folder))
        hint = "the checkpoint is incomplete, or its config.json belongs to another model"
        if missing == ["lm_head.weight"]:
            hint = "where the head is the embedding, config.json must say `tie_word_embeddings: true`"
        wrapped = next((key for key in stored.tensors if key.endswith(f".{missing[0]}")), None)
        if wrapped is not None:  # `module.` of DDP, `_orig_mod.` of torch.compile, `base_model.model.` of peft
            hint = f"it holds `{wrapped}`: save the model inside of that wrapper (of an adapter, merged)"
        raise InputError(f"{list_names(missing)}: missing from the checkpoint", hint)
    if config.tied_embeddings:
        _tie(taken)
    return taken


def _take(
    taken: _Taken,
    stored: StoredTensors,
    reader: FormatReader | None,
    name: str,
    spellings: tuple[str, ...],
    shape: tuple[int, ...],
) -> bool:
    """Moves one parameter from `stored` to `taken`; False where it is not there."""
    found: list[Stored] = []
    for key in spellings:
        packed = reader.take(stored, key, (shape[0], shape[1])) if reader is not None and len(shape) == 2 else None
        if packed is not None:
            taken.packed[name] = packed
            found.append(packed.source)
        elif key in stored.tensors:
            found.append(stored.tensors.pop(key))
    if len(found) > 1:
        raise InputError(
            f"{found[0].file.parent}: both `{found[0].key}` and `{found[1].key}`, expected one", FETCH_AGAIN
        )
    if not found:
        return False
    if name not in taken.packed:
        _check_entry(found[0], shape, _DTYPES)
    taken.tensors[name] = found[0]
    return True


def _tie(taken: _Taken) -> None:
    """The head of a tied model: the embedding, which a file may hold twice. One of the two may be codes."""
    head, embed = taken.tensors.setdefault("head", taken.tensors["embed"]), taken.tensors["embed"]
    if head != embed and not _same_values(taken):
        dtypes = f" ({head.dtype} and {embed.dtype})" if head.dtype != embed.dtype and not taken.packed else ""
        raise InputError(
            f"{head.file}: `{head.key}` differs from the embedding{dtypes} although `tie_word_embeddings` is true",
            "set `tie_word_embeddings` to false in config.json if the head is a weight of its own",
        )
    source = "head" if "head" in taken.packed else "embed"
    for name in ("embed", "head"):
        taken.tensors[name] = taken.tensors[source]
        if source in taken.packed:
            taken.packed[name] = taken.packed[source]


def _same_values(taken: _Taken) -> bool:
    """Whether head and embedding are one matrix, codes x scales counted as the float tensor beside them has them."""
    weights = [taken.packed[name].read() for name in ("embed", "head") if name in taken.packed]
    if not weights:
        return _equal(taken.tensors["embed"], taken.tensors["head"])
    if len(weights) == 2:
        return weights[0].equals(weights[1])
    (weight,) = weights
    floats = read(taken.tensors["head" if "embed" in taken.packed else "embed"])
    rows = torch.arange(len(floats))
    return all(torch.equal(weight.dequantize_rows(ids).to(floats.dtype), floats[ids]) for ids in rows.split(4096))


def _take_scales(config: ModelConfig, stored: dict[str, Stored]) -> dict[str, Stored]:
    """Moves the learned scales out of `stored`: none at all, or one for each linear, the embedding and the head."""
    # Embedding and head have ranges of their own even where they share weights.
    weights = {name: parameter for name, parameter in parameters(config).items() if parameter.quantized}
    weights["head"] = head_parameter(config)
    taken: dict[str, Stored] = {}
    missing = []
    for name, parameter in weights.items():
        spellings, shape = parameter.keys, parameter.shape
        found = [stored.pop(key + SCALE_SUFFIX) for key in spellings if key + SCALE_SUFFIX in stored]
        if len(found) != 1:
            missing.append(spellings[0] + SCALE_SUFFIX)
            continue
        _check_entry(found[0], (shape[0], 1), {"F32": torch.float32})
        taken[name] = found[0]
    if not taken:
        return {}
    if missing:
        raise InputError(
            f"{list_names(missing)}: missing, while {len(taken)} other weights have learned scales",
            "an int4-accelerator checkpoint has one for each linear, the embedding and the head: fetch it again",
        )
    for place in taken.values():
        scale = read(place)
        if not bool((torch.isfinite(scale) & (scale > 0)).all()):
            bad = int((~(torch.isfinite(scale) & (scale > 0))).sum())
            raise InputError(
                f"{place.file}: `{place.key}`: {bad} of {scale.numel()} scales are not finite numbers above 0",
                FETCH_AGAIN,
            )
    return taken


def _check_entry(entry: Stored, shape: tuple[int, ...], dtypes: Mapping[str, torch.dtype]) -> None:
    hint = "the checkpoint and its config.json do not belong together, or it is in a quantized format"
    if entry.shape != shape:
        raise InputError(f"{entry.file}: `{entry.key}` has shape {list(entry.shape)}, expected {list(shape)}", hint)
    if entry.dtype not in dtypes:
        raise InputError(f"{entry.file}: `{entry.key}` has dtype {entry.dtype}, expected {' or '.join(dtypes)}", hint)


def _float_dtype(tensors: Mapping[str, Stored], packed: Mapping[str, PackedWeight]) -> torch.dtype:
    """Of the first weight that a quantized checkpoint stores as floats; of scales where there is none. Tools store what
    they do not quantize in dtypes of their own.
    """
    floats = [_DTYPES[entry.dtype] for name, entry in tensors.items() if name not in packed and len(entry.shape) == 2]
    return floats[0] if floats else next(iter(packed.values())).read_scales().dtype


def _one_dtype(tensors: Mapping[str, Stored]) -> torch.dtype:
    weights = [entry for entry in tensors.values() if len(entry.shape) == 2]
    for entry in weights:
        if entry.dtype != weights[0].dtype:
            raise InputError(
                f"{entry.file}: `{entry.key}` is {entry.dtype}, expected {weights[0].dtype} like `{weights[0].key}`",
                "save the checkpoint in one dtype",
            )
    return _DTYPES[weights[0].dtype]


def _equal(a: Stored, b: Stored) -> bool:
    """Whether all values are equal; float32 holds those of bf16 and fp16."""
    left, right = read(a), read(b)
    return torch.equal(left, right) if a.dtype == b.dtype else torch.equal(left.float(), right.float())
