"""A random checkpoint of MobileLLM-Pro's exact shape: what the export and its peers are measured on.

    python benchmarks/checkpoint.py OUT [--layers 30] [--all-global] [--learned-scales]

The real weights are gated and change no number here: sizes and speeds follow from the shape alone. OUT becomes a folder
as on the Hugging Face hub (`config.json`, `model.safetensors`, `tokenizer.json`) that `mlp-export` and both peers
(`llama_cpp.py`, `executorch_export_llm.py`) read. Weights are bf16 from N(0, 0.02), norms are 1. They are drawn and
written some rows at a time, so the peak memory stays below a gigabyte and the file is the same on each run.

`--all-global` gives every layer full attention. llama.cpp's `llama` architecture and export_llm's plain cache compute
just that, so this is the like-for-like comparison; without it the checkpoint has the published 3:1 pattern.
`--learned-scales` adds a scale an output channel, as the checkpoint for accelerators has it.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

from mlp_export.checkpoints.checkpoint import SCALE_SUFFIX, read_checkpoint
from mlp_export.checkpoints.config import TRAINED_FOR
from mlp_export.models.config import ModelConfig
from mlp_export.models.families import config_from_json
from mlp_export.models.tensors import parameters

LAYERS = 30
PARAMETERS = 1_084_453_120  # of the full model
VOCAB_SIZE = 202_048
BPE_SIZE = 200_000  # ids below are tokens of the BPE, ids from here on are special tokens
SPECIAL_TOKENS = {
    200_000: "<|begin_of_text|>",
    200_001: "<|end_of_text|>",
    200_005: "<|header_start|>",
    200_006: "<|header_end|>",
    200_007: "<|eom|>",
    200_008: "<|eot|>",
    200_018: "<|finetune_right_pad|>",
}
BOS_ID, EOS_IDS, PAD_ID = 200_000, [200_001, 200_007, 200_008], 200_018
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|header_start|>' + message['role'] + '<|header_end|>\n\n' + message['content'] | trim + '<|eot|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|header_start|>assistant<|header_end|>\n\n' }}{%- endif %}"
)
_STANDARD_DEVIATION = 0.02
_LEARNED_SCALE = 3.5 * _STANDARD_DEVIATION / 7.5  # about the range of a row
_CHUNK = 1 << 24  # values drawn at a time


def config_json(layers: int = LAYERS, all_global: bool = False) -> dict[str, Any]:
    """The `config.json` of MobileLLM-Pro: every fourth layer and the last one global, the others local."""
    is_global = [all_global or n % 4 == 0 or n == layers - 1 for n in range(layers)]
    return {
        "architectures": ["MobileLLMP1ForCausalLM"],
        "attention_bias": False,
        "attention_chunk_size": 8192,
        "attention_dropout": 0.0,
        "attn_scale": 0.1,
        "attn_temperature_tuning": False,
        "auto_map": {
            "AutoConfig": "configuration_mobilellm_p1.MobileLLMP1TextConfig",
            "AutoModelForCausalLM": "modeling_mobilellm_p1.MobileLLMP1ForCausalLM",
        },
        "bos_token_id": BOS_ID,
        "eos_token_id": EOS_IDS,
        "head_dim": 64,
        "hidden_act": "silu",
        "hidden_size": 1280,
        "initializer_range": _STANDARD_DEVIATION,
        "intermediate_size": 6144,
        "intermediate_size_mlp": 6144,
        "layer_types": ["full_attention" if flag else "sliding_attention" for flag in is_global],
        "max_position_embeddings": 131_072,
        "model_type": "llama4_text",
        "moe_layers": [],
        "no_rope_layers": [1] * layers,
        "num_attention_heads": 20,
        "num_hidden_layers": layers,
        "num_key_value_heads": 4,
        "num_local_experts": 0,
        "pad_token_id": PAD_ID,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "rope_theta": 500_000.0,
        "sliding_window": 512,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_qk_norm": False,
        "vocab_size": VOCAB_SIZE,
    }


def write_checkpoint(
    folder: Path, layers: int = LAYERS, all_global: bool = False, learned_scales: bool = False, seed: int = 0
) -> Path:
    """Writes the checkpoint folder and returns it. `config.json` comes last: a folder that has one is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    values = config_json(layers, all_global)
    write_tokenizer(folder)
    _write_safetensors(folder / "model.safetensors", config_from_json(values), learned_scales, seed)
    (folder / "config.json").write_text(
        json.dumps(values if learned_scales else {**values, TRAINED_FOR: "int4-cpu"}, indent=2)
    )
    return folder


def write_layers(folder: Path, kinds: str, vocab_size: int, seed: int = 0) -> Path:
    """Writes layers of the full width and nothing that costs time beside them, and returns the folder: for each letter
    of `kinds` a global (G) or a local (L) layer, a vocabulary of `vocab_size`, no tokenizer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    values = config_json(len(kinds)) | {
        "layer_types": ["full_attention" if kind == "G" else "sliding_attention" for kind in kinds],
        "vocab_size": vocab_size,
        "bos_token_id": 0,
        "eos_token_id": [1],
        "pad_token_id": 2,
    }
    _write_safetensors(folder / "model.safetensors", config_from_json(values), False, seed)
    (folder / "config.json").write_text(json.dumps({**values, TRAINED_FOR: "int4-cpu"}, indent=2))
    return folder


def write_tokenizer(folder: Path) -> None:
    """Writes a byte-level `tokenizer.json` with as many ids as the model, and `tokenizer_config.json`."""
    vocab = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    vocab |= {f"unused{i}": i for i in range(len(vocab), BPE_SIZE)}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = [SPECIAL_TOKENS.get(i, f"<|reserved_{i}|>") for i in range(BPE_SIZE, VOCAB_SIZE)]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    bos = SPECIAL_TOKENS[BOS_ID]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, BOS_ID)])
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": SPECIAL_TOKENS[200_008],
        "pad_token": SPECIAL_TOKENS[PAD_ID],
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))


def _write_safetensors(file: Path, config: ModelConfig, learned_scales: bool, seed: int) -> None:
    """Writes the file front to back. The format: length of the header as u64, the header as JSON, the tensors."""
    shapes = {parameter.keys[0]: parameter.shape for parameter in parameters(config).values()}
    if learned_scales:
        scales = {key: (shape[0], 1) for key, shape in shapes.items() if len(shape) == 2}
        if config.tied_embeddings:  # the head's ranges are its own
            scales["lm_head.weight"] = (config.vocab_size, 1)
        shapes |= {key + SCALE_SUFFIX: shape for key, shape in scales.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for key, shape in shapes.items():
        dtype, size = ("F32", 4) if key.endswith(SCALE_SUFFIX) else ("BF16", 2)
        end = offset + size * math.prod(shape)
        header[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)  # the tensors start aligned
    generator = torch.Generator().manual_seed(seed)
    with file.open("wb") as out:
        out.write(len(encoded).to_bytes(8, "little") + encoded)
        for key, shape in shapes.items():
            if key.endswith(SCALE_SUFFIX):
                factors = 0.8 + 0.4 * torch.rand(shape, generator=generator)
                out.write((_LEARNED_SCALE * factors).view(torch.uint8).numpy().data)
                continue
            for values in _values(shape, generator):
                out.write(values.to(torch.bfloat16).view(torch.uint8).numpy().data)


def _values(shape: tuple[int, ...], generator: torch.Generator) -> Iterator[torch.Tensor]:
    count = math.prod(shape)
    if len(shape) == 1:
        yield torch.ones(count)
        return
    for start in range(0, count, _CHUNK):
        yield torch.randn(min(_CHUNK, count - start), generator=generator).mul_(_STANDARD_DEVIATION)


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes a random checkpoint of MobileLLM-Pro's shape.")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--layers", type=int, default=LAYERS, help="fewer make a quick trial (default: %(default)s)")
    parser.add_argument("--all-global", action="store_true", help="full attention in every layer")
    parser.add_argument("--learned-scales", action="store_true", help="as the checkpoint for accelerators has them")
    arguments = parser.parse_args()
    folder = write_checkpoint(arguments.out, arguments.layers, arguments.all_global, arguments.learned_scales)
    config = read_checkpoint(folder).config
    if arguments.layers == LAYERS and config.num_parameters != PARAMETERS:
        raise SystemExit(f"{folder} has {config.num_parameters:,} parameters, expected {PARAMETERS:,}")
    print(f"{folder}: {config.num_parameters:,} parameters, {config.num_layers} layers")


if __name__ == "__main__":
    main()
