"""A gguf file -> an ordinary Hugging Face checkpoint folder, which transformers loads as well.

Of a family: the names of its tensors in both formats, and what llama.cpp's converter changed of their values
(llama.cpp, conversion/: q and k of Llama in the interleaved-RoPE row order, Gemma's norm weights as 1 + w).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE

from mlp_export.checkpoints.safetensors_folder import os_error
from mlp_export.errors import InputError
from mlp_export.models.rope import rotate_half_rows

# gguf's token types (llama.cpp, llama_token_type)
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_SPACE = "▁"  # SentencePiece's

# Name in the gguf file -> name in a Hugging Face checkpoint, both before ".weight"
_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_LINEARS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


@dataclass(frozen=True)
class GgufArchitecture:
    """How a family's tensors are stored in gguf. `norm_offset` is what the stored norm weights have on top."""

    layer_names: Mapping[str, str]
    interleaved: bool = False  # rows of q and k
    norm_offset: float = 0.0


# By gguf's `general.architecture`
ARCHITECTURES: Mapping[str, GgufArchitecture] = {
    "llama": GgufArchitecture(
        {"attn_norm": "input_layernorm", **_LINEARS, "ffn_norm": "post_attention_layernorm"}, interleaved=True
    ),
    "gemma3": GgufArchitecture(
        {
            "attn_norm": "input_layernorm",
            **_LINEARS,
            "attn_q_norm": "self_attn.q_norm",
            "attn_k_norm": "self_attn.k_norm",
            "post_attention_norm": "post_attention_layernorm",
            "ffn_norm": "pre_feedforward_layernorm",
            "post_ffw_norm": "post_feedforward_layernorm",
        },
        norm_offset=1.0,
    ),
}


def write_folder(gguf: Path, folder: Path, config: Mapping[str, Any]) -> None:
    """Writes config.json, model.safetensors, tokenizer.json and tokenizer_config.json into `folder`.

    `config` is config.json: a gguf file has a part of it only. Its `torch_dtype` is the dtype of the weights: "float32"
    keeps each dequantized value. Raises InputError for another architecture and OSError of the disk.
    """
    from gguf import GGUFReader  # read only here, once a machine

    reader = GGUFReader(gguf)
    fields: dict[str, Any] = {name: entry.contents() for name, entry in reader.fields.items()}
    name = fields["general.architecture"]
    if name not in ARCHITECTURES:
        raise InputError(f"{gguf} is of architecture {name}, expected {' or '.join(ARCHITECTURES)}")
    dtype: torch.dtype = getattr(torch, config["torch_dtype"])
    tensors = _tensors(reader, ARCHITECTURES[name], config["head_dim"], dtype)
    _write_json(folder / "config.json", config)
    try:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:
        raise os_error(error) from error
    tokenizer = _sentencepiece(fields) if fields["tokenizer.ggml.model"] == "llama" else _byte_level(fields)
    tokenizer.save(str(folder / "tokenizer.json"))
    _write_json(folder / "tokenizer_config.json", _tokenizer_config(fields, config))


def _tensors(reader: Any, architecture: GgufArchitecture, head_dim: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Tensors under their Hugging Face names, with what gguf changed of them changed back."""
    from gguf.quants import dequantize

    tensors = {}
    for entry in reader.tensors:
        value = torch.from_numpy(numpy.array(dequantize(entry.data, entry.tensor_type), dtype=numpy.float32))
        name = entry.name.removesuffix(".weight")
        if name.startswith("blk."):
            _, layer, part = name.split(".")
            if architecture.interleaved and part in ("attn_q", "attn_k"):
                value = rotate_half_rows(value, head_dim)
            key = f"model.layers.{layer}.{architecture.layer_names[part]}.weight"
        else:
            key = f"{_NAMES[name]}.weight"
        tensors[key] = (value - architecture.norm_offset if value.dim() == 1 else value).to(dtype)
    return tensors


def _byte_level(fields: Mapping[str, Any]) -> Tokenizer:
    """SmolLM2's tokenizer: byte-level BPE over single digits and GPT-2's words."""
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    merges = [(left, right) for left, right in (merge.split(" ") for merge in fields["tokenizer.ggml.merges"])]
    tokenizer = Tokenizer(BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def _sentencepiece(fields: Mapping[str, Any]) -> Tokenizer:
    """Gemma's tokenizer: SentencePiece's BPE with byte fallback and without a dummy prefix.

    llama.cpp stores user-defined runs of spaces as spaces, where SentencePiece and Hugging Face have "▁": left so, runs
    of spaces would come out as other tokens.
    """
    kinds: list[int] = fields["tokenizer.ggml.token_type"]
    pieces = zip(fields["tokenizer.ggml.tokens"], kinds, strict=True)
    tokens = [token.replace(" ", _SPACE) if kind == _USER_DEFINED else token for token, kind in pieces]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    # The best score first; a stable sort keeps the ids' order among equals.
    by_rank = sorted(range(len(tokens)), key=lambda i: -fields["tokenizer.ggml.scores"][i])
    merges = _merges((tokens[i] for i in by_rank if kinds[i] == _NORMAL), vocabulary)
    unknown = tokens[fields["tokenizer.ggml.unknown_token_id"]]
    tokenizer = Tokenizer(BPE(vocabulary, merges, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", _SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()])
    if fields["tokenizer.ggml.add_bos_token"]:
        bos_id = int(fields["tokenizer.ggml.bos_token_id"])
        bos = tokens[bos_id]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, bos_id)]
        )
    tokenizer.add_tokens(
        [
            AddedToken(token, special=kind != _USER_DEFINED, normalized=kind == _USER_DEFINED)
            for token, kind in zip(tokens, kinds, strict=True)
            if kind in (_UNKNOWN, _CONTROL, _USER_DEFINED)
        ]
    )
    return tokenizer


def _merges(by_rank: Iterable[str], vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """Every split of a piece into two pieces: SentencePiece merges any neighbors that make a piece, best rank first."""
    merges = []
    for token in by_rank:
        splits = ((token[:i], token[i:]) for i in range(1, len(token)))
        found = [pair for pair in splits if pair[0] in vocabulary and pair[1] in vocabulary]
        merges += sorted(found, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))
    return merges


def _tokenizer_config(fields: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    tokens: list[str] = fields["tokenizer.ggml.tokens"]
    values = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[int(fields["tokenizer.ggml.bos_token_id"])],
        "eos_token": tokens[int(fields["tokenizer.ggml.eos_token_id"])],
        "pad_token": tokens[int(fields["tokenizer.ggml.padding_token_id"])],
        "unk_token": tokens[int(fields["tokenizer.ggml.unknown_token_id"])],
        "add_bos_token": bool(fields["tokenizer.ggml.add_bos_token"]),
        "model_max_length": config["max_position_embeddings"],
        "clean_up_tokenization_spaces": False,
    }
    template = fields.get("tokenizer.chat_template")
    return values if template is None else {**values, "chat_template": template}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
