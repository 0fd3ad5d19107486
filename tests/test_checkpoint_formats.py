"""Quantized checkpoints: written ones as transformers and compressed-tensors read them, published ones as their own
libraries dequantize them.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from artifacts import quantized
from checkpoints import write_checkpoint as write_float_checkpoint
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from mlp_export.checkpoint import read_checkpoint, rotate_half_rows
from mlp_export.checkpoint_formats.compressed_tensors import EMBEDDING_SCALES, read_record, write_checkpoint
from mlp_export.checkpoint_formats.packing import pack_words, unpack_words
from mlp_export.errors import UsageError
from mlp_export.quantization.scheme import INT8, Scheme
from mlp_export.quantization.store import QuantizedModel
from mlp_export.quantization.weight import WeightFormat

RECORD = {"base_model": "some/model", "license": "apache-2.0", "source_sha256": "12ab", "seed": "0"}
GROUPS = Scheme(4, 32)
CHANNELS = Scheme(4, None, exceptions={"embed": INT8, "head": INT8})
MIXED = Scheme(4, 32, exceptions={"head": INT8, "layers.1.down": INT8})


def float_model(folder: Path, scheme: Scheme = GROUPS, **options: Any) -> QuantizedModel:
    family = options.pop("family", "llama")
    return quantized(read_checkpoint(write_float_checkpoint(folder, family, num_hidden_layers=2, **options)), scheme)


def in_file_order(model: QuantizedModel, name: str, rows: torch.Tensor) -> torch.Tensor:
    turned = model.checkpoint.rotate_half and name.endswith((".q", ".k"))
    return rotate_half_rows(rows, model.config.head_dim) if turned else rows


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.arange(1, 33)[None]).logits.float()


def reference_logits(model: QuantizedModel) -> torch.Tensor:
    """Of transformers' float model that holds bf16(code x scale), an embedding and a head of its own."""
    reference = AutoModelForCausalLM.from_pretrained(
        model.checkpoint.path, dtype=torch.bfloat16, tie_word_embeddings=False
    )
    values = dict(reference.named_parameters())
    with torch.no_grad():
        for name in model.weight_names():
            key = "lm_head.weight" if name == "head" else model.checkpoint.key(name)
            values[key].copy_(in_file_order(model, name, model.weight(name).dequantize()).bfloat16())
    return logits(reference)


# Packing


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("columns", [8, 32, 44, 96])
def test_words_are_those_of_compressed_tensors(bits: int, columns: int) -> None:
    low = -(2 ** (bits - 1))
    codes = torch.randint(low, -low, (5, columns), generator=torch.Generator().manual_seed(0)).to(torch.int8)
    codes[0, 0], codes[0, -1] = low, -low - 1
    packed = pack_words(codes, bits)
    assert torch.equal(packed, pack_to_int32(codes, bits))
    assert torch.equal(unpack_words(packed, bits, columns), codes)
    assert torch.equal(unpack_from_int32(packed, bits, codes.shape), codes)


# Writing


@pytest.mark.parametrize("scheme", [GROUPS, CHANNELS, MIXED], ids=["groups", "channels", "mixed"])
@pytest.mark.parametrize("tied", [True, False])
def test_transformers_computes_the_same_logits(scheme: Scheme, tied: bool, tmp_path: Path) -> None:
    model = float_model(tmp_path / "model", scheme, tied=tied)
    write_checkpoint(model, tmp_path / "out", RECORD)
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    found, expected = logits(loaded), reference_logits(model)
    assert torch.equal(found, expected)
    assert float((found - logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model"))).abs().max()) > 0.01


def test_another_code_gives_other_logits(tmp_path: Path) -> None:
    """Negative control of the comparison above."""
    model = float_model(tmp_path / "model")
    write_checkpoint(model, tmp_path / "out", RECORD)
    weight = model.weight("layers.1.down")
    weight.codes[3, 5] ^= 1
    model.store.add("layers.1.down", weight)
    assert not torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out")), reference_logits(model))


@pytest.mark.parametrize("family", ["mobilellm-pro", "mobilellm-r1", "llama"])
def test_files_hold_codes_and_scales_in_the_checkpoints_order(family: str, tmp_path: Path) -> None:
    model = float_model(tmp_path / "model", family=family)
    write_checkpoint(model, tmp_path / "out", RECORD)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert ("model.layers.0.mlp.gate_proj.weight_packed" in stored) is (family == "llama")
    for name in model.weight_names():
        weight = model.weight(name)
        codes, scales = (in_file_order(model, name, rows) for rows in (weight.codes, weight.scales))
        if name == "embed":
            assert torch.equal(stored.pop("model.embed_tokens.weight"), weight.dequantize().bfloat16())
            continue
        module = "lm_head" if name == "head" else model.checkpoint.key(name).removesuffix(".weight")
        shape = stored.pop(f"{module}.weight_shape")
        assert torch.equal(unpack_from_int32(stored.pop(f"{module}.weight_packed"), 4, torch.Size(shape)), codes)
        assert torch.equal(stored.pop(f"{module}.weight_scale"), scales)
    assert all(key.endswith("norm.weight") for key in stored) and len(stored) == 5


def test_what_stands_beside_the_weights(tmp_path: Path) -> None:
    model = float_model(tmp_path / "model", torch_dtype="float32")
    source = model.checkpoint.path
    for name in ("LICENSE.txt", "USE_POLICY.md", "generation_config.json", "chat_template.jinja", "modeling_x.py"):
        (source / name).write_text("{}")
    (source / "README.md").write_text("theirs")
    (source / "optimizer.pt").write_text("not ours to copy")
    write_checkpoint(model, tmp_path / "out", RECORD)
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        *("LICENSE.txt", "USE_POLICY.md", "generation_config.json", "chat_template.jinja", "modeling_x.py"),
        *("README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"),
    }
    config = json.loads((out / "config.json").read_text())
    assert (config["torch_dtype"], config["tie_word_embeddings"]) == ("bfloat16", False)
    assert read_record(out) == RECORD
    assert read_record(source) is None and read_record(tmp_path) is None
    with safe_open(out / "model.safetensors", "pt") as opened:
        assert opened.metadata()["format"] == "pt"
    card = (out / "README.md").read_text()
    assert card.startswith("---\n") and 'license: "apache-2.0"' in card and "| source_sha256 | 12ab |" in card


def test_norms_are_replaced_and_kept_exact(tmp_path: Path) -> None:
    model = float_model(tmp_path / "model", dtype=torch.float32)
    tuned = torch.full((64,), 1.5)
    write_checkpoint(model, tmp_path / "out", RECORD, norms={"layers.1.ffn_norm": tuned})
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(stored["model.layers.1.post_attention_layernorm.weight"], tuned.bfloat16())
    assert torch.equal(stored["model.norm.weight"], model.checkpoint.tensor("norm"))  # float32: bf16 does not hold it
    with pytest.raises(ValueError, match="no norm"):
        write_checkpoint(model, tmp_path / "other", RECORD, norms={"layers.9.ffn_norm": tuned})


@pytest.mark.parametrize("change", [lambda s: s * 1.001, lambda s: s * 0, lambda s: -s, lambda s: s * torch.inf])
def test_scales_that_the_file_cannot_hold(change: Any, tmp_path: Path) -> None:
    model = float_model(tmp_path / "model", CHANNELS)
    weight = model.weight("layers.0.o")
    model.store.add("layers.0.o", replace(weight, scales=change(weight.scales)))
    with pytest.raises(ValueError, match=r"the scales of layers\.0\.o"):
        write_checkpoint(model, tmp_path / "out", RECORD)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_existing_folder_is_replaced_only_where_it_is_ours(tmp_path: Path) -> None:
    model = float_model(tmp_path / "model")
    with pytest.raises(UsageError, match="a folder of other things, not a checkpoint"):
        write_checkpoint(model, tmp_path / "model", RECORD, overwrite=True)
    write_checkpoint(model, tmp_path / "out", RECORD)
    with pytest.raises(UsageError, match="exists already"):
        write_checkpoint(model, tmp_path / "out", RECORD)
    write_checkpoint(model, tmp_path / "out", {"seed": "1"}, overwrite=True)
    assert read_record(tmp_path / "out") == {"seed": "1"}


def test_an_embedding_with_codes_of_its_own_has_its_scales_beside_it(tmp_path: Path) -> None:
    model = float_model(tmp_path / "model", Scheme(4, 32, exceptions={"head": WeightFormat(8, None)}), tied=False)
    write_checkpoint(model, tmp_path / "out", RECORD)
    scales = load_file(tmp_path / "out" / EMBEDDING_SCALES)["scales"]
    assert torch.equal(scales, model.weight("embed").scales)
