"""A checkpoint folder: config and safetensors, validated whole before any work, handed out one tensor at a time.

Every tensor in the files is either one the model is made of or named in an error. Names come out canonical and the rows
of q and k in the interleaved-RoPE layout (pairs of consecutive values), whatever layout the checkpoint has.

Source of the learned ranges: the state dict of torchao's weight fake-quantizer, `NAME.weight_fake_quantizer.scale`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open

from mlp_export.config import ModelConfig, read_config, read_json_object
from mlp_export.errors import InputError

Kind = Literal["float", "int4-cpu", "int4-accelerator"]

SCALE_SUFFIX = "_fake_quantizer.scale"
_DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
_FETCH_AGAIN = "the file is damaged or cut off: fetch the checkpoint again"
_SAVE_AGAIN = "the checkpoint was saved without its weights (as of a sharded optimizer): fetch or save it again"
# Older transformers saved RoPE's frequencies, which follow from the config; it ignores them too.
_DERIVED = re.compile(r"model\.(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq")


@dataclass(frozen=True)
class _Stored:
    """Where a tensor lies: file, key and header entry."""

    file: Path
    key: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Checkpoint:
    """A validated checkpoint. Holds no tensor: each is read from its file when asked for and let go by the caller."""

    config: ModelConfig
    path: Path
    kind: Kind
    dtype: torch.dtype  # of the linears and the embedding
    rotate_half: bool  # the files hold q and k in the rotate-half layout; `tensor` never does
    _tensors: Mapping[str, _Stored] = field(repr=False)  # canonical name -> place
    _scales: Mapping[str, _Stored] = field(repr=False)

    @property
    def qat(self) -> bool:
        """Whether the weights were trained to be quantized."""
        return self.kind != "float"

    def names(self) -> tuple[str, ...]:
        """All canonical names, in the order of the model: "embed", "layers.0.attention_norm", ..., "norm", "head"."""
        return tuple(self._tensors)

    def weight_names(self) -> tuple[str, ...]:
        """Names of the linears, the embedding and the head, in the order of the model; the head tied or not."""
        return tuple(name for name in self._tensors if not name.endswith("norm"))

    def key(self, name: str) -> str:
        """The name that a parameter has in the files; a tied head's is the embedding's."""
        return self._tensors[name].key

    def tensor(self, name: str) -> torch.Tensor:
        """The tensor of a canonical name in the checkpoint's dtype: linears and embedding [out, in], norms [hidden].

        It may be backed by the mapped file: its pages are given back when the tensor is dropped. Writing to it is
        allowed and never reaches the file. Raises KeyError for an unknown name and InputError where the file has become
        unreadable or the values are not finite.
        """
        stored = self._tensors[name]
        value = _read(stored)
        # The minimum and maximum are NaN or infinite if any value is, without a second copy of the tensor.
        if not all(bool(torch.isfinite(bound)) for bound in torch.aminmax(value)):
            raise InputError(f"{stored.file}: `{stored.key}` holds NaN or infinite values", _FETCH_AGAIN)
        return self._interleaved(name, value)

    def learned_scale(self, name: str) -> torch.Tensor | None:
        """The learned scale of a linear, "embed" or "head": float32 [out, 1], its bits kept, rows as in `tensor`.

        None unless `kind` is "int4-accelerator", and for norms.
        """
        if name not in self._tensors:
            raise KeyError(name)
        stored = self._scales.get(name)
        return None if stored is None else self._interleaved(name, _read(stored))

    def _interleaved(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        if not self.rotate_half or name.rpartition(".")[2] not in ("q", "k"):
            return rows
        return interleave_rows(rows, self.config.head_dim)


def check_no_adapter(names: Iterable[str], where: str) -> None:
    """Raises InputError where `names` of files at `where` are those of a PEFT adapter (LoRA and its kin).

    transformers applies an adapter that lies beside full weights, so leaving it out would be another model.
    """
    found = sorted(name for name in names if name.startswith(("adapter_config.json", "adapter_model.")))
    if found:
        raise InputError(
            f"{where} holds an adapter ({_list(found)}), expected full weights",
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


def interleave_rows(rows: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows [heads * head_dim, ...] of q or k from the rotate-half layout to the interleaved one.

    Rotate-half turns the values i and i + head_dim / 2 of a head together, interleaved 2 i and 2 i + 1. Attention
    scores are sums over the pairs of a head, so the same permutation of q and k leaves them as they are.
    """
    return rows.reshape(-1, 2, head_dim // 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def rotate_half_rows(rows: torch.Tensor, head_dim: int) -> torch.Tensor:
    """The inverse of `interleave_rows`."""
    return rows.reshape(-1, head_dim // 2, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)


def read_checkpoint(folder: Path, quantization: Kind | None = None) -> Checkpoint:
    """Opens a folder of `config.json` and `model.safetensors`, or its shards with `model.safetensors.index.json`.

    `quantization` is what is known of the checkpoint besides its files: the group-wise QAT checkpoint ("int4-cpu")
    holds plain bf16 tensors and cannot be told from a float one. None: "int4-accelerator" where the files hold learned
    scales, else "float".

    Reads headers and learned scales, no weights. Raises InputError for anything that is missing, left over, of another
    shape or dtype, truncated, or in a pickle format.
    """
    if not folder.is_dir():
        raise InputError(
            f"no folder {folder}", "give the folder that holds config.json, *.safetensors and tokenizer.json"
        )
    config = read_config(folder)
    stored = _read_headers(folder)
    tensors = _take_tensors(config, stored)
    scales = _take_scales(config, stored)
    left = sorted(key for key in stored if not _DERIVED.fullmatch(key))
    if left:
        scale = next((key for key in left if key.endswith(SCALE_SUFFIX)), None)
        reason = "a learned scale without its weight" if scale else "not a part of this model"
        raise InputError(
            f"{folder}: {_list(left)}: {reason}, as config.json describes it",
            "checkpoint and config.json do not belong together, or the model is of a kind that is not supported",
        )
    kind: Kind = "int4-accelerator" if scales else "float"
    if quantization is not None and quantization != kind:
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
        config=config,
        path=folder,
        kind=kind,
        dtype=_one_dtype(tensors),
        rotate_half=config.family == "llama",
        _tensors=tensors,
        _scales=scales,
    )


def parameter_keys(config: ModelConfig) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Canonical name -> (names it may have in files, shape), of every parameter. A tied head is not among them."""
    hidden, ffn = config.hidden_size, config.ffn_size
    query, key_value = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    attention = {"q": (query, hidden), "k": (key_value, hidden), "v": (key_value, hidden), "o": (hidden, query)}
    feed_forward = {"gate": (ffn, hidden), "up": (ffn, hidden), "down": (hidden, ffn)}
    keys: dict[str, tuple[tuple[str, ...], tuple[int, ...]]] = {
        "embed": (("model.embed_tokens.weight",), (config.vocab_size, hidden))
    }
    for n in range(config.num_layers):
        prefix = f"model.layers.{n}."
        keys[f"layers.{n}.attention_norm"] = ((f"{prefix}input_layernorm.weight",), (hidden,))
        for name, shape in attention.items():
            keys[f"layers.{n}.{name}"] = ((f"{prefix}self_attn.{name}_proj.weight",), shape)
        keys[f"layers.{n}.ffn_norm"] = ((f"{prefix}post_attention_layernorm.weight",), (hidden,))
        for name, shape in feed_forward.items():
            spellings = tuple(f"{prefix}{module}.{name}_proj.weight" for module in ("feed_forward", "mlp"))
            keys[f"layers.{n}.{name}"] = (spellings, shape)
    keys["norm"] = (("model.norm.weight",), (hidden,))
    if not config.tied_embeddings:
        keys["head"] = (("lm_head.weight",), (config.vocab_size, hidden))
    return keys


def _take_tensors(config: ModelConfig, stored: dict[str, _Stored]) -> dict[str, _Stored]:
    """Moves the model's parameters out of `stored`, checking name, shape and dtype of each."""
    taken: dict[str, _Stored] = {}
    missing = []
    for name, (spellings, shape) in parameter_keys(config).items():
        found = [stored.pop(key) for key in spellings if key in stored]
        if not found:
            missing.append(spellings[0])
            continue
        if len(found) > 1:
            raise InputError(
                f"{found[0].file.parent}: both `{found[0].key}` and `{found[1].key}`, expected one", _FETCH_AGAIN
            )
        _check_entry(found[0], shape, _DTYPES)
        taken[name] = found[0]
    if missing:
        hint = "the checkpoint is incomplete, or its config.json belongs to another model"
        if missing == ["lm_head.weight"]:
            hint = "where the head is the embedding, config.json must say `tie_word_embeddings: true`"
        raise InputError(f"{_list(missing)}: missing from the checkpoint", hint)
    if config.tied_embeddings:
        taken["head"] = taken["embed"]
        copy = stored.pop("lm_head.weight", None)
        if copy is not None:
            _check_entry(copy, taken["embed"].shape, _DTYPES)
            if not _equal(copy, taken["embed"]):
                dtypes = f" ({copy.dtype} and {taken['embed'].dtype})" if copy.dtype != taken["embed"].dtype else ""
                raise InputError(
                    f"{copy.file}: `lm_head.weight` differs from the embedding{dtypes} "
                    "although `tie_word_embeddings` is true",
                    "set `tie_word_embeddings` to false in config.json if the head is a weight of its own",
                )
    return taken


def _take_scales(config: ModelConfig, stored: dict[str, _Stored]) -> dict[str, _Stored]:
    """Moves the learned scales out of `stored`: none at all, or one for each linear, the embedding and the head."""
    keys = {name: entry for name, entry in parameter_keys(config).items() if len(entry[1]) == 2}
    if config.tied_embeddings:  # embedding and head share weights, not ranges
        keys["head"] = (("lm_head.weight",), keys["embed"][1])
    taken: dict[str, _Stored] = {}
    missing = []
    for name, (spellings, shape) in keys.items():
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
            f"{_list(missing)}: missing, while {len(taken)} other weights have learned scales",
            "an int4-accelerator checkpoint has one for each linear, the embedding and the head: fetch it again",
        )
    for place in taken.values():
        scale = _read(place)
        if not bool((torch.isfinite(scale) & (scale > 0)).all()):
            bad = int((~(torch.isfinite(scale) & (scale > 0))).sum())
            raise InputError(
                f"{place.file}: `{place.key}`: {bad} of {scale.numel()} scales are not finite numbers above 0",
                _FETCH_AGAIN,
            )
    return taken


def _check_entry(entry: _Stored, shape: tuple[int, ...], dtypes: Mapping[str, torch.dtype]) -> None:
    hint = "the checkpoint and its config.json do not belong together, or it is in a quantized format"
    if entry.shape != shape:
        raise InputError(f"{entry.file}: `{entry.key}` has shape {list(entry.shape)}, expected {list(shape)}", hint)
    if entry.dtype not in dtypes:
        raise InputError(f"{entry.file}: `{entry.key}` has dtype {entry.dtype}, expected {' or '.join(dtypes)}", hint)


def _one_dtype(tensors: Mapping[str, _Stored]) -> torch.dtype:
    weights = [entry for entry in tensors.values() if len(entry.shape) == 2]
    for entry in weights:
        if entry.dtype != weights[0].dtype:
            raise InputError(
                f"{entry.file}: `{entry.key}` is {entry.dtype}, expected {weights[0].dtype} like `{weights[0].key}`",
                "save the checkpoint in one dtype",
            )
    return _DTYPES[weights[0].dtype]


def _read_headers(folder: Path) -> dict[str, _Stored]:
    """Key -> place of every tensor, from the headers of the files, which are checked against the files' lengths."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return {entry.key: entry for entry in _read_header(single)}
    if not index.is_file():
        raise _no_safetensors(folder)
    weight_map: Any = read_json_object(index).get("weight_map")
    if (
        not isinstance(weight_map, dict)
        or not weight_map
        or not all(isinstance(file, str) for file in weight_map.values())
    ):
        raise InputError(f"{index}: `weight_map` is missing or not an object of file names", _FETCH_AGAIN)
    stored: dict[str, _Stored] = {}
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name or name in ("", ".", ".."):
            raise InputError(f"{index} names the shard {name!r}, expected a file of the same folder", _FETCH_AGAIN)
        if not (folder / name).is_file():
            raise InputError(
                f"the shard {name} is missing from {folder}", "fetch the checkpoint again: a finished part is kept"
            )
        for entry in _read_header(folder / name):
            if entry.key in stored:
                raise InputError(f"`{entry.key}` is in both {stored[entry.key].file.name} and {name}", _FETCH_AGAIN)
            stored[entry.key] = entry
    for key, name in weight_map.items():
        if key not in stored or stored[key].file.name != name:
            raise InputError(f"{index} places `{key}` in {name}, which does not hold it", _FETCH_AGAIN)
    return stored


def _no_safetensors(folder: Path) -> InputError:
    pickles = sorted(p.name for pattern in ("*.bin", "*.pth", "*.pt", "*.ckpt") for p in folder.glob(pattern))
    if pickles:
        return InputError(
            f"{folder} has its weights in {_list(pickles)} only, a pickle format that can run code when it is opened",
            "expected model.safetensors: convert the weights with safetensors' own tools, where you trust their source",
        )
    return InputError(
        f"neither model.safetensors nor model.safetensors.index.json in {folder}",
        "give the folder of a downloaded checkpoint",
    )


def _read_header(file: Path) -> Iterator[_Stored]:
    with _opened(file) as opened:
        for key in opened.keys():  # noqa: SIM118 - not a dict, and not iterable
            entry = opened.get_slice(key)
            yield _Stored(file, key, tuple(entry.get_shape()), entry.get_dtype())


def _read(stored: _Stored) -> torch.Tensor:
    # The file is opened anew each time: a mapping that stays open keeps every page ever read in the process.
    with _opened(stored.file) as opened:
        tensor: torch.Tensor = opened.get_tensor(stored.key)
    return tensor


def _equal(a: _Stored, b: _Stored) -> bool:
    """Whether all values are equal; float32 holds those of bf16 and fp16."""
    left, right = _read(a), _read(b)
    return torch.equal(left, right) if a.dtype == b.dtype else torch.equal(left.float(), right.float())


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(file, "pt") as opened:
            yield opened
    except SafetensorError as error:
        raise InputError(f"{file} is not a whole safetensors file: {error}", _FETCH_AGAIN) from error
    except OSError as error:
        raise InputError(f"cannot read {file}: {error}", "check the file and its permissions") from error


def os_error(error: SafetensorError) -> Exception:
    """The OSError behind safetensors' own error, which names it in its text only ("... (os error 28)")."""
    match = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(match[1]), os.strerror(int(match[1]))) if match else error


def _list(names: Iterable[str], shown: int = 5) -> str:
    names = list(names)
    text = ", ".join(f"`{name}`" for name in names[:shown])
    return text if len(names) <= shown else f"{text} and {len(names) - shown} more"
