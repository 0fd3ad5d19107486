"""Quantized checkpoints: written ones as transformers and compressed-tensors read them, published ones as their own
libraries dequantize them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from artifacts import quantized
from checkpoints import write_checkpoint as write_float_checkpoint
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32, unpack_from_int32
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
    QuantizationStatus,
    apply_quantization_config,
)
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torchao.quantization import (
    FqnToConfig,
    Int8DynamicActivationIntxWeightConfig,
    IntxWeightOnlyConfig,
    MappingType,
    PerAxis,
    PerGroup,
)
from transformers import AutoModelForCausalLM, TorchAoConfig

from mlp_export.checkpoint import interleave_rows, read_checkpoint, rotate_half_rows
from mlp_export.checkpoint_formats import embedding_scales
from mlp_export.checkpoint_formats.compressed_tensors import read_record, write_checkpoint
from mlp_export.checkpoint_formats.packing import pack_words, unpack_words
from mlp_export.errors import InputError, UsageError
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
    scales = load_file(tmp_path / "out" / embedding_scales.FILE)["scales"]
    assert torch.equal(scales, model.weight("embed").scales)


# Reading what was written


@pytest.mark.parametrize("family", ["mobilellm-pro", "mobilellm-r1", "llama"])
@pytest.mark.parametrize("scheme", [GROUPS, CHANNELS, MIXED], ids=["groups", "channels", "mixed"])
@pytest.mark.parametrize("tied", [True, False])
def test_written_codes_come_back(family: str, scheme: Scheme, tied: bool, tmp_path: Path) -> None:
    model = float_model(tmp_path / "model", scheme, family=family, tied=tied)
    write_checkpoint(model, tmp_path / "out", RECORD)
    read = read_checkpoint(tmp_path / "out")
    assert (read.kind, read.qat, read.deviation.exact) == ("quantized", True, True)
    assert read.config == replace(model.config, tied_embeddings=model.tied)
    assert read.weight_names() == model.weight_names()
    for name in model.weight_names():
        found, written = read.quantized(name), model.weight(name)
        assert found is not None and found.equals(written) and found.format == read.formats[name] == written.format
        assert found.scales.dtype == written.format.scale_dtype
        assert torch.equal(read.tensor(name), written.dequantize().bfloat16())
    for name in set(read.names()) - set(read.weight_names()):
        assert torch.equal(read.tensor(name), model.checkpoint.tensor(name))
        assert read.key(name) == model.checkpoint.key(name)
    assert read.key("layers.0.gate") == model.checkpoint.key("layers.0.gate")


def test_an_embedding_that_is_not_the_heads_stays_a_float(tmp_path: Path) -> None:
    """Negative control of the tie: one value of the embedding changed by the least it can be."""
    model = float_model(tmp_path / "model")
    write_checkpoint(model, tmp_path / "out", RECORD)
    edit_tensors(tmp_path / "out", lambda tensors: tensors["model.embed_tokens.weight"].view(torch.int16)[3, 3].add_(1))
    read = read_checkpoint(tmp_path / "out")
    assert not read.config.tied_embeddings
    assert read.quantized("embed") is None and "embed" not in read.formats
    head = read.quantized("head")
    assert head is not None and head.equals(model.weight("head"))


def test_scales_of_another_embedding_are_refused(tmp_path: Path) -> None:
    model = float_model(tmp_path / "model", Scheme(4, 32, exceptions={"head": INT8}), tied=False)
    write_checkpoint(model, tmp_path / "out", RECORD)
    edit_tensors(tmp_path / "out", lambda tensors: tensors["model.embed_tokens.weight"].mul_(1.01))
    with pytest.raises(InputError, match="the scales are not those of"):
        read_checkpoint(tmp_path / "out").quantized("embed")
    (tmp_path / "out" / embedding_scales.FILE).write_bytes(b"cut off")
    with pytest.raises(InputError, match="is damaged"):
        read_checkpoint(tmp_path / "out")


# Published checkpoints, made by the libraries


def edit_tensors(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = folder / "model.safetensors"
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(file)
    edit(tensors)
    file.unlink()
    save_file(tensors, file, metadata=metadata)


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    edit(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "head_dim": 32}
    return write_float_checkpoint(tmp_path_factory.mktemp("published") / "float", "llama", tied=False, **sizes)


def compressed(source: Path, out: Path, *, activations: bool = False, **weights: Any) -> Path:
    """Rounded to nearest and saved by compressed-tensors itself, the head left out as llmcompressor's presets do."""
    args = QuantizationArgs(type="int", symmetric=True, **weights)
    token = QuantizationArgs(num_bits=8, type="int", symmetric=True, strategy="token", dynamic=True)
    group = QuantizationScheme(targets=["Linear"], weights=args, input_activations=token if activations else None)
    config = QuantizationConfig(config_groups={"group_0": group}, ignore=["lm_head"])
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    apply_quantization_config(model, config)
    for module in model.modules():
        if getattr(module, "quantization_scheme", None) is not None:
            rows = module.weight.data.float().unflatten(1, (*module.weight_scale.shape[1:], -1))
            scales, zeros = calculate_qparams(rows.amin(-1), rows.amax(-1), args)
            module.weight_scale.data.copy_(scales)
            module.weight_zero_point.data.copy_(zeros)
            module.quantization_status = QuantizationStatus.FROZEN
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(out)
    compressor.update_config(str(out))
    shutil.copy(source / "tokenizer.json", out)
    shutil.copy(source / "tokenizer_config.json", out)
    return out


COMPRESSED = {
    "g32": {"num_bits": 4, "strategy": "group", "group_size": 32},
    "g64": {"num_bits": 4, "strategy": "group", "group_size": 64},
    "g128": {"num_bits": 4, "strategy": "group", "group_size": 128},
    "int4-channel": {"num_bits": 4, "strategy": "channel"},
    "w8a16": {"num_bits": 8, "strategy": "channel"},
    "w8a8": {"num_bits": 8, "strategy": "channel", "activations": True},
}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_compressed_tensors_is_read_bit_for_bit(kind: str, floats: Path, tmp_path: Path) -> None:
    folder = compressed(floats, tmp_path / "ct", **COMPRESSED[kind])
    library = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    logits(library)  # it decompresses at the first call
    values = dict(library.named_parameters())
    read = read_checkpoint(folder)
    assert read.kind == "quantized" and read.deviation.exact
    assert len(read.formats) == 14
    for name in read.weight_names():
        expected = values["lm_head.weight" if name == "head" else read.key(name)].data
        turn = interleave_rows(expected, read.config.head_dim) if name.endswith((".q", ".k")) else expected
        assert turn.dtype == torch.bfloat16
        assert torch.equal(read.tensor(name), turn)
        weight = read.quantized(name)
        assert (weight is None) is (name in ("embed", "head"))
        if weight is not None:
            assert torch.equal(weight.dequantize().bfloat16(), turn)
            expected_format = "int8-per-channel" if kind.startswith("w8") else f"int4-{kind}"
            per_channel = kind == "int4-channel" or (kind == "g128" and weight.codes.shape[1] == 128)
            assert weight.format.name == ("int4-per-channel" if per_channel else expected_format)


@pytest.mark.parametrize("mapping", ["SYMMETRIC", "SYMMETRIC_NO_CLIPPING_ERR"])
@pytest.mark.parametrize("embedding", ["float", "int4", "int8"])
def test_torchao_is_read_bit_for_bit(mapping: str, embedding: str, floats: Path, tmp_path: Path) -> None:
    """Made as the hub's INT8-INT4 models are: linears for dynamic int8 activations, the embedding int8 a row."""
    linears = Int8DynamicActivationIntxWeightConfig(
        weight_dtype=torch.int4, weight_granularity=PerGroup(32), weight_mapping_type=MappingType[mapping]
    )
    rows = (
        IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
        if embedding == "int8"
        else IntxWeightOnlyConfig(weight_dtype=torch.int4, granularity=PerGroup(32))
    )
    whole = embedding != "float"
    config = TorchAoConfig(
        quant_type=FqnToConfig({"_default": linears, **({"model.embed_tokens": rows} if whole else {})}),
        include_input_output_embeddings=whole,
    )
    library = AutoModelForCausalLM.from_pretrained(floats, dtype=torch.bfloat16, quantization_config=config)
    library.save_pretrained(tmp_path / "ao")
    read = read_checkpoint(tmp_path / "ao")
    values = dict(library.named_parameters())
    assert len(read.formats) == (16 if whole else 14)
    for name in read.weight_names():
        value = values["lm_head.weight" if name == "head" else read.key(name)].data
        expected = value.dequantize() if hasattr(value, "qdata") else value
        turn = interleave_rows(expected, read.config.head_dim) if name.endswith((".q", ".k")) else expected
        weight = read.quantized(name)
        assert (weight is not None) is hasattr(value, "qdata")
        assert torch.equal(read.tensor(name), turn)
        if weight is not None:
            assert torch.equal(weight.dequantize().bfloat16(), turn)
