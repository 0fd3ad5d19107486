"""A model's codes as a gguf file of type Q4_0, which llama.cpp runs: the same numbers under a runtime of others.

Formats: Q4_0 is blocks of 32 values, each an fp16 scale and 16 bytes, of which byte i holds value i in its low and
value i + 16 in its high nibble, stored + 8 (llama.cpp `ggml-common.h`, block_q4_0). Architecture `llama` turns pairs of
consecutive values, as this project does, so q and k are stored as they are.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy
import torch

from mlp_export.errors import InputError
from mlp_export.folder_writer import OutputKind, write_file
from mlp_export.models.config import ModelConfig, Rope
from mlp_export.models.quantized_weight import QuantizedWeight, WeightFormat
from mlp_export.models.rope import rope_frequencies
from mlp_export.quantization.nearest import with_format
from mlp_export.quantization.store import QuantizedModel
from mlp_export.text.chat import read_chat_template
from mlp_export.text.tokenizer import Tokenizer

_BLOCK, _BLOCK_BYTES = 32, 18
_Q4_0 = WeightFormat(4, _BLOCK)
_NAMES = {
    "attention_norm": "attn_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "ffn_norm": "ffn_norm",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
# How llama.cpp calls a tokenizer's way to split text into words (convert_hf_to_gguf.py, `get_vocab_base_pre`).
_LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_HINT = "write the Hugging Face folder: it holds this model"


def _is_gguf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(4) == b"GGUF"


GGUF = OutputKind("gguf file", _is_gguf)


def check_vocabulary(config: ModelConfig, folder: Path) -> None:
    """Raises the InputErrors of `write_gguf` that the tokenizer in `folder` gives."""
    _vocabulary(config, folder)


def write_gguf(model: QuantizedModel, path: Path, overwrite: bool = False) -> None:
    """Write `model` to `path`, which is there whole or not at all: codes as Q4_0, norms in float32, the tokenizer and
    the chat template. A tied embedding is stored once.

    Raises InputError, naming what, where Q4_0, the architecture or llama.cpp's tokenizers cannot say the same: int8
    codes, a scale a row, scales that fp16 does not hold, a norm of q and k, local layers, another way to split words.
    """
    import gguf

    config = model.config
    check_architecture(config)
    vocabulary = _vocabulary(config, model.checkpoint.path)
    tensors: dict[str, Callable[[], torch.Tensor]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    vectors = model.checkpoint.vector_names()
    for name in model.checkpoint.names():
        if name == "head" and model.tied:
            continue
        key = gguf_name(name)
        if name in vectors:
            shapes[key] = (config.hidden_size,)
            tensors[key] = functools.partial(model.vector, name)
        else:
            form = model.scheme.format(name)
            if form.bits != 4 or form.group_size is None or form.group_size % _BLOCK:
                raise InputError(f"{name} is {form.name}, gguf's Q4_0 holds int4 in groups of 32", _HINT)
            rows, columns = model.shape(name)
            shapes[key] = (rows, columns // _BLOCK * _BLOCK_BYTES)
            tensors[key] = functools.partial(_stored_blocks, model, name)
    if config.rope_scaling is not None:
        plain = rope_frequencies(Rope(config.rope_theta), config.head_dim)
        factors = plain / rope_frequencies(Rope(config.rope_theta, config.rope_scaling), config.head_dim)
        shapes["rope_freqs.weight"], tensors["rope_freqs.weight"] = tuple(factors.shape), lambda: factors

    with write_file(path, GGUF, overwrite) as unfinished:
        writer = gguf.GGUFWriter(unfinished, "llama")
        add_shape(writer, config)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
        vocabulary(writer)
        for key, shape in shapes.items():
            packed = len(shape) == 2
            dtype = numpy.dtype(numpy.uint8 if packed else numpy.float32)
            kind = gguf.GGMLQuantizationType.Q4_0 if packed else gguf.GGMLQuantizationType.F32
            writer.add_tensor_info(key, shape, dtype, math.prod(shape) * dtype.itemsize, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for make in tensors.values():
            writer.write_tensor_data(make().numpy().view(_WrittenArray))
        writer.close()


class _WrittenArray(numpy.ndarray[Any, Any]):
    """An array whose `tofile`, which gguf calls, raises the system's error: numpy's own has no errno of a full disk."""

    def tofile(self, fid: Any, sep: str = "", format: str = "%s") -> None:
        fid.write(self.data)


def _stored_blocks(model: QuantizedModel, name: str) -> torch.Tensor:
    return q4_0_blocks(name, model.weight(name))


def q4_0_blocks(name: str, weight: QuantizedWeight) -> torch.Tensor:
    """uint8 [out, in / 32 * 18] of weight `name`. Raises InputError for scales that fp16 does not hold."""
    weight = with_format(weight, _Q4_0)
    scales = weight.scales.to(torch.float16)
    if not torch.equal(scales.float(), weight.scales.float()):
        lost = int((scales.float() != weight.scales.float()).sum())
        raise InputError(
            f"{lost} of the {scales.numel()} scales of {name} are no fp16 numbers, as Q4_0 has them", _HINT
        )
    rows = len(scales)
    nibbles = (weight.codes + 8).view(torch.uint8).view(rows, -1, 2, _BLOCK // 2)
    packed = nibbles[:, :, 0] | (nibbles[:, :, 1] << 4)
    return torch.cat([scales.view(torch.uint8).view(rows, -1, 2), packed], dim=-1).view(rows, -1)


def check_architecture(config: ModelConfig) -> None:
    for what, there in (
        ("a norm of q and k", config.qk_norm),
        ("local layers", any(config.local_layers)),
        ("layers without position embeddings", bool(config.nope_layers)),
        ("biases", bool(config.biases)),
        ("norms behind attention and FFN", config.post_norms),
        ("a GELU", config.activation != "silu"),
        ("an attention scale of its own", config.attention_scale is not None),
    ):
        if there:
            raise InputError(f"the model has {what}, which llama.cpp's architecture `llama` has not", _HINT)


def gguf_name(name: str) -> str:
    """The name that a parameter has in a gguf of the architecture `llama`."""
    if name.startswith("layers."):
        _, layer, part = name.split(".")
        return f"blk.{layer}.{_NAMES[part]}.weight"
    return {"embed": "token_embd.weight", "norm": "output_norm.weight", "head": "output.weight"}[name]


def add_shape(writer: Any, config: ModelConfig) -> None:
    """Add what the architecture `llama` says of a model's shape to a GGUFWriter."""
    writer.add_context_length(config.max_positions)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_layers)
    writer.add_feed_forward_length(config.ffn_size)
    writer.add_head_count(config.num_heads)
    writer.add_head_count_kv(config.num_kv_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    writer.add_vocab_size(config.vocab_size)


def _vocabulary(config: ModelConfig, folder: Path) -> Callable[[Any], None]:
    """What adds the tokenizer of the model's checkpoint. Raises InputError for one that llama.cpp does not know."""
    import gguf

    tokenizer = Tokenizer.from_folder(folder, config.vocab_size)
    values = tokenizer.to_json()
    if values["model"].get("type") != "BPE" or values["model"].get("byte_fallback"):
        raise InputError(f"{folder}: the tokenizer is no byte-level BPE", _HINT)
    if values.get("normalizer") is not None:
        raise InputError(f"{folder}: the tokenizer normalizes its text, which llama.cpp does not", _HINT)
    pre = _pre_tokenizer(values.get("pre_tokenizer"), bool(values["model"].get("ignore_merges")), folder)
    tokens = [f"[PAD{number}]" for number in range(config.vocab_size)]
    types = [gguf.TokenType.UNUSED] * config.vocab_size
    for text, number in values["model"]["vocab"].items():
        tokens[number], types[number] = text, gguf.TokenType.NORMAL
    for entry in values["added_tokens"]:
        kind = gguf.TokenType.CONTROL if entry["special"] else gguf.TokenType.USER_DEFINED
        tokens[entry["id"]], types[entry["id"]] = entry["content"], kind
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in values["model"]["merges"]]
    template = read_chat_template(folder)

    def add(writer: Any) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges(merges)
        writer.add_bos_token_id(config.bos_id)
        writer.add_eos_token_id(config.eos_ids[0])
        if len(config.eos_ids) > 1:
            writer.add_eot_token_id(config.eos_ids[1])
        writer.add_add_bos_token(tokenizer.adds_bos)
        if template is not None:
            writer.add_chat_template(template.source)

    return add


def _pre_tokenizer(values: Mapping[str, Any] | None, whole_words: bool, folder: Path) -> str:
    """llama.cpp's name for a pre-tokenizer of tokenizer.json; `whole_words` are looked up before they are merged."""
    steps = (values or {}).get("pretokenizers", [values] if values else [])
    found = (whole_words, [_step(step) for step in steps])
    for name, expected in _PRE_TOKENIZERS.items():
        if found == expected:
            return name
    raise InputError(
        f"{folder}: the tokenizer splits text into words in a way that has no name in llama.cpp: "
        f"{json.dumps(values)[:120]}",
        _HINT,
    )


def _step(step: Mapping[str, Any]) -> tuple[Any, ...]:
    kind = step.get("type")
    if kind == "ByteLevel":
        return ("ByteLevel", step.get("add_prefix_space", True), step.get("use_regex", True))
    if kind == "Digits":
        return ("Digits", step.get("individual_digits", False))
    if kind == "Split":
        pattern = step.get("pattern", {})
        return ("Split", pattern.get("Regex"), step.get("behavior"), step.get("invert", False))
    return (kind,)


_PRE_TOKENIZERS: Mapping[str, tuple[bool, list[tuple[Any, ...]]]] = {
    "smollm": (False, [("Digits", True), ("ByteLevel", False, True)]),
    "llama-bpe": (True, [("Split", _LLAMA3_WORDS, "Isolated", False), ("ByteLevel", False, False)]),
    "gpt-2": (False, [("ByteLevel", False, True)]),
}
