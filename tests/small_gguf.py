"""A small random Gemma 3 as a gguf file, as llama.cpp's converter writes one, and what went into it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFWriter
from sentencepiece import SentencePieceProcessor
from sentencepiece import sentencepiece_model_pb2 as sentencepiece
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6
_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
CONFIG: dict[str, Any] = {
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 32,
    "intermediate_size": 96,
    "hidden_activation": "gelu_pytorch_tanh",
    "rms_norm_eps": 1e-06,
    "query_pre_attn_scalar": 32,
    "rope_theta": 1000000.0,
    "rope_local_base_freq": 10000.0,
    "sliding_window": 8,
    "layer_types": ["sliding_attention", "full_attention"],
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
    "torch_dtype": "float32",
}


def pieces() -> list[tuple[str, float, int]]:
    """Piece, score and kind: control tokens, runs of spaces and a tag, all bytes, words and what they are made of."""
    control = [(token, -1000.0, CONTROL) for token in ("<pad>", "<eos>", "<bos>")] + [("<unk>", -1000.0, UNKNOWN)]
    user = [(run, -1000.0, USER_DEFINED) for run in ("▁▁", "▁▁▁", "\n\n", "<b>")]
    octets = [(f"<0x{value:02X}>", -1000.0, BYTE) for value in range(256)]
    letters = [*"▁abcdefghijklmnopqrstuvwxyzTé.\n", "日"]
    words = "th he the ▁the ▁t in ing ▁a an ▁an and ▁and er re on ▁c at".split()
    normal = [(piece, -float(rank), NORMAL) for rank, piece in enumerate([*words, *letters])]
    return [*control, *user, *octets, *normal]


@dataclass(frozen=True)
class SmallGguf:
    """A written file, the model that is in it, and its tokenizer as SentencePiece has it."""

    file: Path
    model: Gemma3ForCausalLM
    sentencepiece: SentencePieceProcessor
    config: dict[str, Any]


def write_gguf(file: Path) -> SmallGguf:
    """Writes the file. Norm weights are stored as 1 + w, runs of spaces as spaces, as llama.cpp does it."""
    vocabulary = pieces()
    config = {**CONFIG, "vocab_size": len(vocabulary)}
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(Gemma3TextConfig(**config)).eval()
    writer = GGUFWriter(file, "gemma3")
    stored = [piece.replace("▁", " ") if kind == USER_DEFINED else piece for piece, _, kind in vocabulary]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(stored)
    writer.add_token_scores([score for _, score, _ in vocabulary])
    writer.add_token_types([kind for _, _, kind in vocabulary])
    for name, token in (("bos", 2), ("eos", 1), ("unknown", 3), ("padding", 0)):
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", token)
    writer.add_add_bos_token(True)
    for key, value in model.state_dict().items():
        if key == "lm_head.weight":
            continue
        with torch.no_grad():
            if value.dim() == 1:
                value.normal_(std=0.3)
        data = value + 1 if value.dim() == 1 else value
        writer.add_tensor(_gguf_name(key), data.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return SmallGguf(file, model, _sentencepiece(vocabulary), config)


def _gguf_name(key: str) -> str:
    name = key.removesuffix(".weight").removeprefix("model.")
    if not name.startswith("layers."):
        return {"embed_tokens": "token_embd.weight", "norm": "output_norm.weight"}[name]
    _, layer, part = name.split(".", 2)
    return f"blk.{layer}.{_NAMES[part]}.weight"


def _sentencepiece(vocabulary: list[tuple[str, float, int]]) -> SentencePieceProcessor:
    model = sentencepiece.ModelProto()  # type: ignore[attr-defined]
    for piece, score, kind in vocabulary:
        model.pieces.add(piece=piece, score=score, type=kind)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type, trainer.byte_fallback = 2, True  # BPE
    trainer.pad_id, trainer.eos_id, trainer.bos_id, trainer.unk_id = 0, 1, 2, 3
    trainer.pad_piece, trainer.eos_piece, trainer.bos_piece, trainer.unk_piece = "<pad>", "<eos>", "<bos>", "<unk>"
    normalizer.name, normalizer.escape_whitespaces = "identity", True
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = False
    return SentencePieceProcessor(model_proto=model.SerializeToString())
