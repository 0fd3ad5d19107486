"""Checkpoint folders: config.json and what stands beside it, safetensors. What is accepted is what transformers has."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fuzz.edits import Edit, apply, random_edits, random_patch
from fuzz.target import expect
from safetensors.torch import load_file
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

# transformers has the class of these; MobileLLM-Pro's is its own.
_BASES = ("mobilellm-pro", "mobilellm-r1", *FAMILY_KEYS)
_LARGEST = 2_000_000  # parameters of a model that is computed
_TOKENS = torch.randint(300, (40,), generator=torch.Generator().manual_seed(1)).tolist()
_GENERATION = {"bos_token_id": 300, "eos_token_id": [301, 302], "temperature": 0.6}


class ConfigTarget:
    """config.json and generation_config.json: refused, or the logits of transformers' class on random weights."""

    name = "config"

    def draw(self, draw: random.Random) -> Any:
        base = draw.choice(_BASES)
        files = {"config.json": _dump(_small(base)), "generation_config.json": _dump(_GENERATION)}
        keys = [*FAMILY_FEATURES.get(base, ()), *sorted(_BOOKKEEPING), *_UNSUPPORTED, *_class_keys(base)]
        edits = random_edits(draw, files, {"config.json": keys})
        return {"base": base, "edits": edits}

    def check(self, given: Any, folder: Path) -> None:
        (folder / "config.json").write_bytes(_dump(_small(given["base"])))
        (folder / "generation_config.json").write_bytes(_dump(_GENERATION))
        write_tokenizer(folder)
        apply(folder, given["edits"])
        config = read_config(folder)
        if given["base"] != "mobilellm-pro" and config.num_parameters < _LARGEST:
            _check_logits(folder, config)


def _check_logits(folder: Path, config: ModelConfig) -> None:
    tensors = random_tensors(config, dtype=torch.float32)
    if not config.tied_embeddings:
        tensors.setdefault("lm_head.weight", torch.randn(config.vocab_size, config.hidden_size))
    save_tensors(folder, tensors)
    tokens = [token % config.vocab_size for token in _TOKENS]
    ours = decode(FloatWeights(read_checkpoint(folder)), [TokenSequence(tokens, range(len(tokens)))], FLOAT)[0]
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            theirs = model(torch.tensor([tokens])).logits[0]
    except Exception:  # transformers reads it not at all: nothing to compare with
        return
    if not bool(theirs.isfinite().all()):
        return
    expect(ours.shape == theirs.shape, f"logits {list(ours.shape)}, transformers {list(theirs.shape)}")
    error = float((ours - theirs).norm() / theirs.norm().clamp_min(1e-12))
    expect(error < 1e-3, f"logits differ from transformers' by {error:.3g} of their norm")
    stops = model.generation_config.eos_token_id
    wanted = {stops} if isinstance(stops, int) else set(stops or ())
    expect(
        {id for id in wanted if id < config.vocab_size} <= set(config.eos_ids),
        f"stop ids {config.eos_ids}, transformers {wanted}",
    )


def _small(base: str) -> dict[str, Any]:
    layers = {} if base == "mobilellm-pro" else {"num_hidden_layers": 2}
    if base in FAMILY_KEYS and "layer_types" in FAMILY_KEYS[base]:
        layers["layer_types"] = FAMILY_KEYS[base]["layer_types"][:2]
    return config_json(base, **layers)


def _class_keys(base: str) -> list[str]:
    values = AutoConfig.for_model(config_json(base)["model_type"]).to_dict()
    return [key for key in values if not key.startswith("_")]


def _dump(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values).encode()


class SafetensorsTarget:
    """model.safetensors and its index: refused, or the tensors that safetensors itself reads."""

    name = "safetensors"

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

    def check(self, given: Any, folder: Path) -> None:
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
