"""Small random checkpoint folders of the siblings' shapes, with a byte-level tokenizer that has a vocabulary of 320.

    folder = write_checkpoint(tmp_path / "model", "mobilellm-pro", kind="int4-accelerator", tied=False, shards=3)

R1-like and Llama-like folders are ones transformers' own classes load.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE

from mlp_export.checkpoints.checkpoint import SCALE_SUFFIX, Kind
from mlp_export.checkpoints.config import TRAINED_FOR
from mlp_export.models.config import ModelConfig
from mlp_export.models.families import config_from_json
from mlp_export.models.tensors import parameters

Family = str  # "mobilellm-pro", "mobilellm-r1" or the name of a file in small_families

VOCAB_SIZE = 320
BOS, EOS, EOT, PAD = "<|begin_of_text|>", "<|end_of_text|>", "<|eot|>", "<|finetune_right_pad|>"
SPECIAL_TOKENS = (BOS, EOS, EOT, PAD, "<|header_start|>", "<|header_end|>")
# With them each row of the embedding has a token, as in Llama 4: rows without one are left out of programs.
RESERVED_TOKENS = tuple(f"<|reserved_{number}|>" for number in range(VOCAB_SIZE - 300 - len(SPECIAL_TOKENS)))
BOS_ID, EOS_ID, EOT_ID = 300, 301, 302
CHAT_TEMPLATE = (
    "{{- bos_token }}"
    "{%- for message in messages %}"
    "{{- '<|header_start|>' + message['role'] + '<|header_end|>\n\n' + message['content'] | trim + '<|eot|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|header_start|>assistant<|header_end|>\n\n' }}{%- endif %}"
)

LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


# What config.json of a small model has besides the sizes, a file a family; "features" are values that its class allows.
_FOLDER = Path(__file__).with_name("small_families")
_FAMILIES = {path.stem: json.loads(path.read_text()) for path in sorted(_FOLDER.glob("*.json"))}
FAMILY_KEYS: Mapping[str, Mapping[str, Any]] = {name: entry["keys"] for name, entry in _FAMILIES.items()}
FAMILY_FEATURES: Mapping[str, Mapping[str, list[Any]]] = {name: entry["features"] for name, entry in _FAMILIES.items()}


def config_json(family: Family = "mobilellm-pro", *, tied: bool = True, **changes: Any) -> dict[str, Any]:
    """The `config.json` of a small model; `changes` are keys to set, None removes one."""
    config: dict[str, Any] = {
        "vocab_size": VOCAB_SIZE,
        "hidden_size": 64,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 32,
        "intermediate_size": 96,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 500000.0,
        "max_position_embeddings": 131072,
        "attention_bias": False,
        "bos_token_id": BOS_ID,
        "eos_token_id": [EOS_ID, EOT_ID],
        "pad_token_id": 303,
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }
    if family in FAMILY_KEYS:
        config |= FAMILY_KEYS[family]
    else:
        config |= {
            "model_type": "llama4_text",
            "intermediate_size": 192,
            "intermediate_size_mlp": 96,
            "attention_chunk_size": 131072,
            "attn_scale": 0.1,
            "attn_temperature_tuning": False,
            "use_qk_norm": True,
            "moe_layers": [],
            "num_local_experts": 0,
            "no_rope_layers": [1] * 8,
        }
    if (
        family == "mobilellm-pro"
    ):  # local/global 3:1, the last layer global; more entries than layers, as the siblings have
        types = ["full_attention" if i % 4 == 0 else "sliding_attention" for i in range(8)]
        config |= {
            "architectures": ["MobileLLMP1ForCausalLM"],
            "auto_map": {"AutoModelForCausalLM": "modeling_mobilellm_p1.MobileLLMP1ForCausalLM"},
            "attention_chunk_size": 8192,
            "layer_types": types,
            "sliding_window": 8,
        }
    elif family == "mobilellm-r1":
        config |= {
            "architectures": ["Llama4ForCausalLM"],
            "layer_types": ["full_attention"] * 5,
            "tie_word_embeddings": tied,
        }
    config |= changes
    return {key: value for key, value in config.items() if key not in changes or value is not None}


def pro_json(**changes: Any) -> dict[str, Any]:
    """MobileLLM-Pro's published shape."""
    types = ["full_attention" if i % 4 == 0 or i == 29 else "sliding_attention" for i in range(30)] + [
        "full_attention"
    ] * 18
    values = config_json(
        "mobilellm-pro",
        vocab_size=202048,
        hidden_size=1280,
        num_hidden_layers=30,
        num_attention_heads=20,
        num_key_value_heads=4,
        head_dim=64,
        intermediate_size=6144,
        intermediate_size_mlp=6144,
        no_rope_layers=[1] * 48,
        layer_types=types,
        sliding_window=512,
        bos_token_id=200000,
        eos_token_id=[200001, 200007, 200008],
        pad_token_id=200018,
    )
    return values | changes


def random_tensors(
    config: ModelConfig, kind: Kind = "float", dtype: torch.dtype = torch.bfloat16, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Tensors under the names they have in files. Rows differ in range, so that per-row scales matter."""
    generator = torch.Generator().manual_seed(seed)
    module = 0 if config.family.startswith("mobilellm") else 1
    tensors: dict[str, torch.Tensor] = {}
    for name, parameter in parameters(config).items():
        spellings, shape = parameter.keys, parameter.shape
        key = spellings[min(module, len(spellings) - 1)]
        if len(shape) == 1:
            centre = 0.0 if parameter.role == "bias" or config.unit_offset_norms else 1.0
            tensors[key] = (centre + 0.1 * torch.randn(shape, generator=generator)).to(dtype)
            continue
        spread = 0.3 if name == "embed" else shape[1] ** -0.5
        rows = 0.5 + torch.rand(shape[0], 1, generator=generator)
        tensors[key] = (torch.randn(shape, generator=generator) * rows * spread).to(dtype)
        if kind == "int4-accelerator":
            tensors[key + SCALE_SUFFIX] = learned_scale(tensors[key], generator)
    if kind == "int4-accelerator" and config.tied_embeddings:
        tensors["lm_head.weight" + SCALE_SUFFIX] = learned_scale(tensors["model.embed_tokens.weight"], generator)
    return tensors


def learned_scale(weight: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """float32 [out, 1]: near the range of each row and off by up to a fifth, as training moves it."""
    factor = 0.8 + 0.4 * torch.rand(weight.shape[0], 1, generator=generator)
    return weight.float().abs().amax(1, keepdim=True).clamp_min(1e-6) / 7.5 * factor


def save_tensors(folder: Path, tensors: Mapping[str, torch.Tensor], shards: int = 1) -> None:
    """Writes `model.safetensors`, or shards with their index where there is more than one."""
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = {key: tensor for i, (key, tensor) in enumerate(tensors.items()) if i % shards == shard}
        save_file(part, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    total = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def write_checkpoint(
    folder: Path,
    family: Family = "mobilellm-pro",
    *,
    kind: Kind = "float",
    tied: bool = True,
    shards: int = 1,
    dtype: torch.dtype = torch.bfloat16,
    seed: int = 0,
    tokenizer: bool = True,
    **changes: Any,
) -> Path:
    """Writes a checkpoint folder and returns it; `changes` are keys of config.json (None removes one)."""
    folder.mkdir(parents=True, exist_ok=True)
    values = config_json(family, tied=tied, **changes)
    stated = {TRAINED_FOR: kind} if kind == "int4-cpu" else {}
    (folder / "config.json").write_text(json.dumps(values | stated, indent=2))
    save_tensors(folder, random_tensors(config_from_json(values), kind, dtype, seed), shards)
    if tokenizer:
        write_tokenizer(folder)
    return folder


def small_tokenizer(special: Sequence[str] = SPECIAL_TOKENS + RESERVED_TOKENS) -> Tokenizer:
    """A byte-level BPE of 256 bytes, a few merges and special tokens from id 300 on, that starts texts with BOS."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {character: i for i, character in enumerate(alphabet)}
    words = ["Ġthe", "Ġa", "Ġcapital", "Ġof", "Ġis", "What", "Hello", "Ġworld", "France", "Paris"]
    merges: list[tuple[str, str]] = []
    for word in words:
        left = word[0]
        for character in word[1:]:
            if left + character not in vocab and len(vocab) < 300:
                merges.append((left, character))
                vocab[left + character] = len(vocab)
            left += character
    while len(vocab) < 300:
        vocab[f"unused{len(vocab)}"] = len(vocab)
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, BOS_ID)])
    return tokenizer


def write_tokenizer(folder: Path, chat_template: str | None = CHAT_TEMPLATE) -> None:
    """Writes `tokenizer.json` and `tokenizer_config.json`."""
    small_tokenizer().save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BOS, "eos_token": EOT, "pad_token": PAD}
    if chat_template is not None:
        config["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2))
