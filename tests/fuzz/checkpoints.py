"""Checkpoint folders: config.json and what stands beside it, safetensors. What is accepted is what transformers has."""

from __future__ import annotations

import functools
import json
import random
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from artifacts import small_model
from fuzz.edits import Edit, apply, every_edit, random_edits, random_patch
from fuzz.target import expect
from safetensors.torch import load_file, save_file
from small_checkpoints import FAMILY_FEATURES, FAMILY_KEYS, config_json, random_tensors, save_tensors, write_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM

from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.checkpoints.config import read_config
from mlp_export.models.config import ModelConfig
from mlp_export.models.config_keys import _BOOKKEEPING, _UNSUPPORTED
from mlp_export.models.eager import decode
from mlp_export.models.numerics import FLOAT
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.models.weights import FloatWeights
from mlp_export.quantization.compressed_tensors import write_checkpoint as write_compressed

# transformers has the class of these; MobileLLM-Pro's is its own.
_BASES = ("mobilellm-pro", "mobilellm-r1", *FAMILY_KEYS)
_LARGEST = 2_000_000  # parameters of a model that is computed
_TOKENS = torch.randint(300, (40,), generator=torch.Generator().manual_seed(1)).tolist()
_PLACE = tempfile.TemporaryDirectory(prefix="mlp-export-fuzz-")
_GENERATION = {"bos_token_id": 300, "eos_token_id": [301, 302], "temperature": 0.6}

_FULL, _LOCAL = "full_attention", "sliding_attention"
_LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
# Keys that the field's configs have, with values that they have there: what is ignored would be another model.
_PLAUSIBLE: Mapping[str, Sequence[Any]] = {
    "architectures": (None, [], ["LlamaForCausalLM"], ["Qwen3ForCausalLM"], ["LlamaForSequenceClassification"]),
    "model_type": ("llama", "qwen2", "qwen3", "mistral", "gemma3_text", "smollm3", "llama4_text"),
    "hidden_act": ("silu", "swish", "gelu", "relu", "gelu_pytorch_tanh", None),
    "hidden_activation": ("silu", "gelu", "gelu_pytorch_tanh", None),
    "head_dim": (8, 16, 32, None),
    "num_key_value_heads": (1, 2, 4, None),
    "num_hidden_layers": (1, 2, 3),
    "intermediate_size": (32, 100),
    "tie_word_embeddings": (True, False),
    "attention_bias": (True, False),
    "mlp_bias": (True, False),
    "use_bias": (True,),
    "rms_norm_eps": (1e-6, 1e-2),
    "rope_theta": (10, 1e4, 1e6, 500000),
    "rope_scaling": (
        *(None, {"rope_type": "default"}, {"rope_type": "llama3", **_LLAMA3}, {"type": "llama3", **_LLAMA3}),
        *(
            {"type": "linear", "factor": 2.0},
            {"rope_type": "dynamic", "factor": 2.0},
            {"rope_type": "yarn", "factor": 4.0},
        ),
        *({"rope_type": "default", "rope_theta": 100.0}, {"rope_type": "llama3", **_LLAMA3, "rope_theta": 100.0}),
    ),
    "rope_parameters": (
        *({"rope_type": "default", "rope_theta": 100.0}, {"rope_type": "llama3", **_LLAMA3, "rope_theta": 1e4}),
        *({"rope_theta": 100.0}, {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
        {_FULL: {"rope_type": "default", "rope_theta": 100.0}, _LOCAL: {"rope_type": "default", "rope_theta": 50.0}},
    ),
    "partial_rotary_factor": (0.5, 1.0),
    "sliding_window": (4, 8, 4096, None),
    "use_sliding_window": (True, False),
    "max_window_layers": (0, 1, 28),
    "layer_types": ([_FULL, _FULL], [_LOCAL, _FULL], [_LOCAL, _LOCAL], [_FULL], None),
    "sliding_window_pattern": (1, 2, 6),
    "rope_local_base_freq": (100.0, 1e4),
    "query_pre_attn_scalar": (16, 256),
    "final_logit_softcapping": (5.0, None),
    "attn_logit_softcapping": (5.0, None),
    "no_rope_layers": ([0, 1], [1, 1], [0, 0], [], None),
    "no_rope_layer_interval": (1, 2, 4),
    "use_qk_norm": (True, False),
    "attn_temperature_tuning": (True, False, 4),
    "floor_scale": (8, 8192),
    "attention_chunk_size": (4, 8192, None),
    "moe_layers": ([], [0], None),
    "interleave_moe_layer_step": (0, 1, 2),
    "num_local_experts": (0, 1, 8),
    "max_position_embeddings": (16, 64, 40960),
    "vocab_size": (304, 320, 333),
    "bos_token_id": (300, None, 0),
    "eos_token_id": (301, [302], [], None, [301, 301]),
    "pretraining_tp": (1, 2),
    "torch_dtype": ("float16", "bfloat16", "float32"),
    "logit_scale": (0.5,),
    "embedding_multiplier": (12.0,),
    "residual_multiplier": (0.2,),
    "attention_multiplier": (0.1,),
    "use_bidirectional_attention": (True, False),
    "is_causal": (False,),
    "add_cross_attention": (True,),
    "is_encoder_decoder": (True,),
    "pruned_heads": ({"0": [1]},),
    "tie_encoder_decoder": (True,),
    "cross_attention_hidden_size": (64,),
}


class ConfigTarget:
    """config.json and generation_config.json: refused, or the logits of transformers' class on random weights."""

    name = "config"
    compared_with = "transformers"

    def draw(self, draw: random.Random) -> Any:
        base = draw.choice(_BASES)
        edits = random_edits(draw, *_config_files(base)) if draw.random() < 0.5 else []
        for key in draw.sample(sorted(_PLAUSIBLE), 0 if edits else draw.choice((1, 1, 2, 3))):
            edits.append({"file": "config.json", "set": [key], "to": draw.choice(_PLAUSIBLE[key])})
        return {"base": base, "edits": edits}

    def every(self) -> Iterator[Any]:
        for base in _BASES:
            for edit in every_edit(*_config_files(base)):
                yield {"base": base, "edits": [edit]}

    def check(self, given: Any, folder: Path) -> int:
        (folder / "config.json").write_bytes(_dump(_small(given["base"])))
        (folder / "generation_config.json").write_bytes(_dump(_GENERATION))
        write_tokenizer(folder)
        apply(folder, given["edits"])
        config = read_config(folder)
        if given["base"] != "mobilellm-pro" and config.num_parameters < _LARGEST:
            return _check_logits(folder, config)
        return 0


def _check_logits(folder: Path, config: ModelConfig) -> int:
    """The number of comparisons."""
    tensors = random_tensors(config, dtype=torch.float32)
    if not config.tied_embeddings:
        tensors.setdefault("lm_head.weight", torch.randn(config.vocab_size, config.hidden_size))
    save_tensors(folder, tensors)
    tokens = [token % config.vocab_size for token in _TOKENS]
    checkpoint = read_checkpoint(folder)
    ours = decode(FloatWeights(checkpoint), [TokenSequence(tokens, range(len(tokens)))], FLOAT)[0]
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            theirs = model(torch.tensor([tokens])).logits[0]
    except Exception:  # transformers reads it not at all: nothing to compare with
        return 0
    if not bool(theirs.isfinite().all()):
        return 0
    theirs = theirs[:, : checkpoint.config.vocab_size]  # without rows that no token has
    expect(ours.shape == theirs.shape, f"logits {list(ours.shape)}, transformers {list(theirs.shape)}")
    error = float((ours - theirs).norm() / theirs.norm().clamp_min(1e-12))
    expect(error < 1e-3, f"logits differ from transformers' by {error:.3g} of their norm")
    stops = model.generation_config.eos_token_id
    wanted = {stops} if isinstance(stops, int) else set(stops or ())
    expect(
        {id for id in wanted if id < config.vocab_size} <= set(config.eos_ids),
        f"stop ids {config.eos_ids}, transformers {wanted}",
    )
    return 1


def _small(base: str) -> dict[str, Any]:
    layers: dict[str, Any] = {} if base == "mobilellm-pro" else {"num_hidden_layers": 2}
    if base in FAMILY_KEYS and "layer_types" in FAMILY_KEYS[base]:
        layers["layer_types"] = FAMILY_KEYS[base]["layer_types"][:2]
    return config_json(base, **layers)


def _config_files(base: str) -> tuple[dict[str, bytes], dict[str, list[str]]]:
    """The files of a checkpoint of family `base`, and keys that readers may look for."""
    files = {"config.json": _dump(_small(base)), "generation_config.json": _dump(_GENERATION)}
    keys = [*FAMILY_FEATURES.get(base, ()), *sorted(_BOOKKEEPING), *_UNSUPPORTED, *_class_keys(base)]
    return files, {"config.json": keys}


def _class_keys(base: str) -> list[str]:
    values = AutoConfig.for_model(config_json(base)["model_type"]).to_dict()
    return [key for key in values if not key.startswith("_")]


def _dump(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values).encode()


class SafetensorsTarget:
    """model.safetensors and its index: refused, or the tensors that safetensors itself reads."""

    name = "safetensors"
    compared_with = "safetensors"

    def __init__(self) -> None:
        self._config = config_json("llama", num_hidden_layers=1, hidden_size=64, vocab_size=320)

    def draw(self, draw: random.Random) -> Any:
        shards = draw.choice((1, 1, 1, 2))
        if draw.random() < 0.5:
            return {"shards": shards, "header": _header_edits(draw), "edits": []}
        name = "model.safetensors" if shards == 1 else draw.choice(_SHARDED)
        if name.endswith(".json"):
            edits = random_edits(draw, {name: _dump({"metadata": {}, "weight_map": {"model.norm.weight": "x"}})}, {})
            return {"shards": shards, "header": [], "edits": edits}
        size = 4000 if draw.random() < 0.8 else 200_000  # mostly the header
        edit: Edit = {"file": name, "patch": random_patch(draw, size)}
        if draw.random() < 0.2:
            edit = {"file": name, "cut": draw.randrange(size)}
        return {"shards": shards, "header": [], "edits": [edit]}

    def check(self, given: Any, folder: Path) -> int:
        (folder / "config.json").write_bytes(_dump(self._config))
        write_tokenizer(folder)
        config = read_config(folder)
        save_tensors(folder, random_tensors(config, dtype=torch.bfloat16), given["shards"])
        for edit in given["header"]:
            _edit_header(folder / ("model.safetensors" if given["shards"] == 1 else _SHARDED[0]), edit)
        apply(folder, given["edits"])
        checkpoint = read_checkpoint(folder)
        found = {name: checkpoint.tensor(name) for name in checkpoint.names()}
        theirs = {key: value for file in folder.glob("*.safetensors") for key, value in load_file(file).items()}
        for name in found:
            place = checkpoint._tensors[name]
            stored = theirs[place.key]
            same = sorted(stored.flatten().tolist()) == sorted(found[name].flatten().tolist())  # rows may be reordered
            expect(same and stored.dtype == found[name].dtype, f"{name} has other values than `{place.key}`")
        return len(found)


_SHARDED = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
_ENTRY = {"dtype": "BF16", "shape": [64], "data_offsets": [0, 128]}


def _header_edits(draw: random.Random) -> list[Edit]:
    keys = ["model.norm.weight", "model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"]
    keys += ["model.layers.0.self_attn.q_proj.bias", "model.layers.0.self_attn.rotary_emb.inv_freq", "__metadata__", ""]
    header = {key: dict(_ENTRY) for key in keys}
    return random_edits(draw, {"header.json": _dump(header)}, {"header.json": keys})


def _edit_header(file: Path, edit: Edit) -> None:
    """Makes an edit in the JSON header of a safetensors file, and states its new length."""
    data = file.read_bytes()
    length = struct.unpack_from("<Q", data)[0]
    part = file.with_name("header.json")
    part.write_bytes(data[8 : 8 + length])
    apply(file.parent, [{**edit, "file": part.name}])
    header = part.read_bytes() if part.is_file() else b""
    part.unlink(missing_ok=True)
    file.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])


_TORCHAO_KEY = "model.layers.0.mlp.up_proj.weight"
_TORCHAO = {
    "_type": "IntxUnpackedToInt8Tensor",
    "_data": {"target_dtype": {"_type": "torch.dtype", "_data": "int4"}, "block_size": [1, 64], "dtype": "bf16"},
}
_METHODS: Mapping[str, Any] = {
    "gptq": {"quant_method": "gptq", "bits": 4, "group_size": 32, "sym": True, "checkpoint_format": "gptq_v2"},
    "torchao": {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8DynamicActivationIntxWeight"}}},
    "bitsandbytes": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
}


class QuantizedTarget:
    """Quantized checkpoints: `quantization_config`, torchao's header entries, packed tensors: read or refused."""

    name = "quantized"
    compared_with = ""

    def draw(self, draw: random.Random) -> Any:
        config = json.loads((compressed_folder() / "config.json").read_bytes())
        method = draw.choice((None, None, *_METHODS))
        if method is not None:
            config["quantization_config"] = _METHODS[method]
        edits = random_edits(draw, {"config.json": _dump({"quantization_config": config["quantization_config"]})}, {})
        header = random_edits(draw, {"header.json": _dump({_TORCHAO_KEY: _TORCHAO})}, {})
        keys = sorted(load_file(compressed_folder() / "model.safetensors"))
        renamed = [[draw.choice(keys), draw.choice(keys) + draw.choice(_ENDS)] for _ in range(draw.randrange(3))]
        return {"method": method, "edits": edits, "header": header, "renamed": renamed}

    def check(self, given: Any, folder: Path) -> int:
        shutil.copytree(compressed_folder(), folder, dirs_exist_ok=True)
        method = given["method"]
        tensors = load_file(folder / "model.safetensors")
        for old, new in given["renamed"]:
            if old in tensors:
                tensors[new] = tensors.pop(old)
        metadata = {"format": "pt"}
        if method is not None:
            values = json.loads((folder / "config.json").read_bytes())
            (folder / "config.json").write_bytes(_dump({**values, "quantization_config": _METHODS[method]}))
        if method == "torchao":
            (folder / "header.json").write_bytes(_dump({_TORCHAO_KEY: _TORCHAO}))
            apply(folder, given["header"])
            metadata |= _metadata(folder / "header.json")
        save_file(tensors, folder / "model.safetensors", metadata=metadata)
        apply(folder, given["edits"])
        checkpoint = read_checkpoint(folder)
        for name in checkpoint.weight_names():
            checkpoint.quantized(name)
        return 0


def _metadata(file: Path) -> dict[str, str]:
    """torchao's entries as safetensors has them: JSON in text; what is no object any more as it is."""
    text = file.read_text(errors="replace") if file.is_file() else ""
    try:
        entries = dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return {"tensor_names": text}
    return {"tensor_names": json.dumps(list(entries)), **{key: json.dumps(value) for key, value in entries.items()}}


_ENDS = (".bias", "_zero_point", "_g_idx", ".weight_scale", "_blocks", ".SCB", "x", "")


@functools.cache
def compressed_folder() -> Path:
    """A checkpoint in the format of compressed-tensors, made once a process."""
    place = Path(tempfile.mkdtemp(dir=_PLACE.name))
    model = small_model(place, "llama", num_hidden_layers=1)
    write_compressed(model, place / "compressed", {"quantizer": "nearest"})
    return place / "compressed"
