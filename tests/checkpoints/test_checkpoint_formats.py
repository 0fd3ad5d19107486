"""Quantized checkpoints: written ones as transformers and compressed-tensors read them, published ones as their own
libraries dequantize them.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from artifacts import QUIET, export_options, quantized, read_weight
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
from file_limits import files_up_to
from gguf import GGMLQuantizationType, GGUFReader, TokenType
from gguf.quants import dequantize
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from small_checkpoints import BOS_ID, CHAT_TEMPLATE, EOS_ID, VOCAB_SIZE, config_json, small_tokenizer
from small_checkpoints import write_checkpoint as write_float_checkpoint
from tokenizers import Regex, pre_tokenizers
from torchao.quantization import (
    FqnToConfig,
    Int8DynamicActivationIntxWeightConfig,
    IntxWeightOnlyConfig,
    MappingType,
    PerAxis,
    PerGroup,
)
from transformers import AutoModelForCausalLM, CompressedTensorsConfig, LlamaConfig, TorchAoConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from mlp_export.bundle.bundle import Bundle
from mlp_export.checkpoints.checkpoint import Checkpoint, read_checkpoint
from mlp_export.checkpoints.formats import embedding_scales
from mlp_export.checkpoints.formats.packed_weight import deviation, representable
from mlp_export.checkpoints.formats.packing import pack_words, unpack_words
from mlp_export.checkpoints.formats.readers import GptqReader
from mlp_export.checkpoints.safetensors_folder import Stored, StoredTensors
from mlp_export.errors import InputError, ResourceError, UsageError, VerificationError
from mlp_export.models.families import config_from_json
from mlp_export.models.quantized_weight import QuantizedWeight, WeightFormat
from mlp_export.models.rope import interleave_rows, rotate_half_rows
from mlp_export.pipeline import ExportOptions, export, plan
from mlp_export.quantization import compressed_tensors
from mlp_export.quantization.compressed_tensors import read_record, write_checkpoint
from mlp_export.quantization.gguf import write_gguf
from mlp_export.quantization.nearest import measure_loss, round_checkpoint, storage_notes, with_format
from mlp_export.quantization.scheme import INT8, Scheme, channel_scheme, group_scheme
from mlp_export.quantization.store import QuantizedModel
from mlp_export.text.tokenizer import Tokenizer

LLAMA3_SCALING = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LLAMA3_WORDS = (  # as Llama 3's tokenizer.json has it
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
RECORD = {"base_model": "some/model", "license": "apache-2.0", "source_sha256": "12ab", "seed": "0"}
GROUPS = Scheme(4, 32)
INT4: torch.dtype = torch.int4  # type: ignore[attr-defined]  # torch's stubs lack it
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
    loading: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    loaded, info = loading
    assert not info["missing_keys"] and not info["unexpected_keys"]
    at_load = CompressedTensorsConfig(dequantize=True)  # and not at the first call
    found, expected = logits(loaded), reference_logits(model)
    assert torch.equal(found, expected)
    # At load transformers takes one group's format for all linears, so files with several are not for it.
    early = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "out", quantization_config=at_load))
    assert torch.equal(early, expected) is (scheme is GROUPS)
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
    write_checkpoint(replace(model, norms={"layers.1.ffn_norm": tuned}), tmp_path / "out", RECORD)
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(stored["model.layers.1.post_attention_layernorm.weight"], tuned.bfloat16())
    assert torch.equal(stored["model.norm.weight"], model.checkpoint.tensor("norm"))  # float32: bf16 does not hold it
    with pytest.raises(ValueError, match="no norm"):
        write_checkpoint(replace(model, norms={"layers.9.ffn_norm": tuned}), tmp_path / "other", RECORD)


@pytest.mark.parametrize("change", [lambda s: s * 1.001, lambda s: s * 0, lambda s: -s, lambda s: s * torch.inf])
def test_scales_that_the_file_cannot_hold(change: Any, tmp_path: Path) -> None:
    model = float_model(tmp_path / "model", CHANNELS)
    weight = model.weight("layers.0.o")
    model.store.add("layers.0.o", replace(weight, scales=change(weight.scales)))
    with pytest.raises(ValueError, match=r"the scales of layers\.0\.o"):
        write_checkpoint(model, tmp_path / "out", RECORD)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_file_without_the_codes_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = float_model(tmp_path / "model")

    def faulty(codes: torch.Tensor, bits: int) -> torch.Tensor:
        words = pack_words(codes, bits)
        return words ^ (codes.shape == (64, 96))  # the lowest bit of each word of layers.N.down

    monkeypatch.setattr(compressed_tensors, "pack_words", faulty)
    with pytest.raises(VerificationError, match=r"codes and scales of layers\.0\.down"):
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
    with pytest.raises(InputError, match="is not a whole safetensors file"):
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
    sizes: dict[str, Any] = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2, "head_dim": 32}
    return write_float_checkpoint(tmp_path_factory.mktemp("published") / "float", "llama", tied=False, **sizes)


def compressed(source: Path, out: Path, *, activations: bool = False, **weights: Any) -> Path:
    """Rounded to nearest and saved by compressed-tensors itself, the head left out as llmcompressor's presets do."""
    args = QuantizationArgs(type="int", symmetric=True, **weights)
    token = QuantizationArgs(num_bits=8, type="int", symmetric=True, strategy="token", dynamic=True)
    group = QuantizationScheme(targets=["Linear"], weights=args, input_activations=token if activations else None)
    config = QuantizationConfig(config_groups={"group_0": group}, ignore=["lm_head"])
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    apply_quantization_config(model, config)
    module: Any
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


COMPRESSED: dict[str, dict[str, Any]] = {
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
        weight_dtype=INT4, weight_granularity=PerGroup(32), weight_mapping_type=MappingType[mapping]
    )
    rows = (
        IntxWeightOnlyConfig(weight_dtype=torch.int8, granularity=PerAxis(0))
        if embedding == "int8"
        else IntxWeightOnlyConfig(weight_dtype=INT4, granularity=PerGroup(32))
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


GPTQ = Path(__file__).parents[1] / "data" / "gptq.safetensors"  # of GPTQModel itself: see make_gptq.py beside it


def gptq_case(name: str) -> tuple[StoredTensors, dict[str, torch.Tensor]]:
    """The tensors of `NAME.v1` and `NAME.v2` as a checkpoint has them, and all of them by their keys."""
    with safe_open(GPTQ, "pt") as opened:
        places = {
            key: Stored(GPTQ, key, tuple(opened.get_slice(key).get_shape()), opened.get_slice(key).get_dtype())
            for key in opened.keys()  # noqa: SIM118 - not a dict
            if key.startswith(f"{name}.")
        }
    return StoredTensors(GPTQ.parent, places), load_file(GPTQ)


@pytest.mark.parametrize("name", ["int4-g32", "int4-g64", "int4-channel", "int8-channel"])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("with_order", [True, False])
def test_gptq_is_read_bit_for_bit(name: str, version: int, with_order: bool) -> None:
    stored, tensors = gptq_case(name)
    if not with_order:
        del stored.tensors[f"{name}.v{version}.g_idx"]
    reader = GptqReader({"checkpoint_format": "gptq_v2"} if version == 2 else {})
    weight = reader.take(stored, f"{name}.v{version}.weight", (32, 128))
    assert weight is not None
    read = weight.read()
    assert torch.equal(read.codes, tensors[f"{name}.codes"])
    assert torch.equal(read.dequantize().half(), tensors[f"{name}.expected"].half())
    assert f"{read.format.name}".startswith(name.removesuffix("-channel"))
    assert not [key for key in stored.tensors if f".v{version}." in key]  # all of it was taken
    taken = representable(read)
    assert torch.equal(taken.codes, read.codes) and bool((taken.scales > 0).all())
    found = deviation([weight])
    assert found.exact is name.endswith("channel")  # fp16 scales of groups are rounded to bf16
    assert torch.equal(taken.scales.float(), read.scales.float()) is found.exact
    assert found.worst <= 2**-8 and found.negative == 0


@pytest.mark.parametrize(
    ("name", "version", "said"),
    [
        ("act-order", 1, "scatters the columns of a group"),
        ("asymmetric", 1, "zero points"),
        ("asymmetric", 2, "zero points"),
    ],
)
def test_gptq_that_is_not_plain(name: str, version: int, said: str) -> None:
    stored, _ = gptq_case(name)
    with pytest.raises(InputError, match=said):
        GptqReader({"checkpoint_format": f"gptq_v{version}"} if version == 2 else {}).take(
            stored, f"{name}.v{version}.weight", (32, 128)
        )


def test_gptq_zero_points_of_the_other_version() -> None:
    """Negative control: what makes version 1 symmetric is an asymmetric zero point in version 2."""
    stored, _ = gptq_case("int4-g32")
    with pytest.raises(InputError, match="zero points"):
        GptqReader({"checkpoint_format": "gptq_v2"}).take(stored, "int4-g32.v1.weight", (32, 128))


# Bad input

PACKED = "model.layers.1.mlp.down_proj.weight_packed"
SCALE, SHAPE = PACKED.replace("_packed", "_scale"), PACKED.replace("_packed", "_shape")


def removed(key: str) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.pop(key)


def changed(key: str, change: Callable[[torch.Tensor], object]) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors.update({key: change(tensors[key]).contiguous()})  # type: ignore[attr-defined]


def one_scale(value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda tensors: tensors[SCALE].view(-1)[3:4].fill_(value)


BAD_TENSORS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], list[str]]] = {
    "no scale": (removed(SCALE), [SCALE, "is missing, while", PACKED]),
    "no shape": (removed(SHAPE), [SHAPE, "is missing, while", PACKED]),
    "no codes": (removed(PACKED), ["down_proj.weight`", "missing from the checkpoint"]),
    "another stated shape": (changed(SHAPE, lambda shape: shape + 1), [SHAPE, "[65, 97]", "[64, 96]"]),
    "cut codes": (changed(PACKED, lambda codes: codes[:, :-1]), [PACKED, "[64, 11]", "neither 4 nor 8 bits"]),
    "cut scales": (changed(SCALE, lambda scales: scales[:-1]), [SCALE, "[63, 3]", "no scales of [64, 96]"]),
    "scales of another dtype": (changed(SCALE, torch.Tensor.int), [SCALE, "I32"]),
    "zero scale": (one_scale(0.0), ["1 of the 192 scales of", PACKED, "zero or not finite"]),
    "infinite scale": (one_scale(float("inf")), ["1 of the 192 scales of", "zero or not finite"]),
    "NaN scale": (one_scale(float("nan")), ["1 of the 192 scales of", "zero or not finite"]),
    "zero points": (
        lambda t: t.update({PACKED.replace("_packed", "_zero_point"): torch.zeros(8, 3, dtype=torch.int32)}),
        ["weight_zero_point", "zero points", "symmetric"],
    ),
    "static activations": (
        lambda t: t.update({PACKED.replace("weight_packed", "input_scale"): torch.ones(1)}),
        ["input_scale", "static scales"],
    ),
    "scattered columns": (
        lambda t: t.update({PACKED.replace("_packed", "_g_idx"): torch.arange(96).int() % 3}),
        ["weight_g_idx", "scatters"],
    ),
    "float4": (
        lambda t: t.update({PACKED.replace("_packed", "_global_scale"): torch.ones(1)}),
        ["weight_global_scale", "nvfp4", "float codes"],
    ),
    "groups of 16": (
        changed(SCALE, lambda scales: scales.repeat_interleave(2, 1)),
        [SCALE, "groups of 16", "multiples of 32"],
    ),
    "left over": (lambda t: t.update({"model.layers.9.x": torch.ones(1)}), ["model.layers.9.x", "not a part"]),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_checkpoint(float_model(folder / "model"), folder / "out", RECORD)
    return folder / "out"


@pytest.fixture
def copied(published: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published, tmp_path / "checkpoint"))


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_damaged_files_are_named(name: str, copied: Path) -> None:
    read_checkpoint(copied)  # without the change it is fine
    edit, said = BAD_TENSORS[name]
    edit_tensors(copied, edit)
    with pytest.raises(InputError) as caught:
        read_checkpoint(copied)
    assert all(words in caught.value.message for words in said), caught.value.message
    assert caught.value.hint and "\n" not in caught.value.message


def test_a_plain_order_of_columns_is_taken(copied: Path) -> None:
    index = {PACKED.replace("_packed", "_g_idx"): (torch.arange(96) // 32).int()}
    edit_tensors(copied, lambda tensors: tensors.update(index))
    assert read_checkpoint(copied).quantized("layers.1.down") is not None


def test_codes_beyond_their_bits(floats: Path, tmp_path: Path) -> None:
    config = TorchAoConfig(
        quant_type=Int8DynamicActivationIntxWeightConfig(weight_dtype=INT4, weight_granularity=PerGroup(32))
    )
    AutoModelForCausalLM.from_pretrained(floats, dtype=torch.bfloat16, quantization_config=config).save_pretrained(
        tmp_path / "ao"
    )
    prefix = "model.layers.0.self_attn.o_proj._weight_"
    edit_tensors(tmp_path / "ao", lambda tensors: tensors[f"{prefix}qdata"].view(-1)[7:8].fill_(8))
    with pytest.raises(InputError, match="holds codes from -8 to 8, expected -8 to 7"):
        read_checkpoint(tmp_path / "ao").quantized("layers.0.o")
    edit_tensors(tmp_path / "ao", lambda tensors: tensors[f"{prefix}zero_point"].view(-1)[7:8].fill_(1))
    with pytest.raises(InputError, match="zero points"):
        read_checkpoint(tmp_path / "ao")
    edit_tensors(tmp_path / "ao", lambda tensors: tensors.pop(f"{prefix}scale"))
    with pytest.raises(InputError, match=f"`{prefix}scale` is missing"):
        read_checkpoint(tmp_path / "ao")


METHODS: list[tuple[dict[str, Any], str]] = [
    ({"quant_method": "fp8"}, "float8 weights"),
    ({"quant_method": "fbgemm_fp8"}, "float8 weights"),
    ({"quant_method": "mxfp4"}, "float codes"),
    ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "float codes"),
    ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "16 uneven values"),
    ({"load_in_4bit": True}, "16 uneven values"),
    ({"quant_method": "hqq"}, "zero points are floats"),
    ({"quant_method": "awq", "bits": 4}, "zero points"),
    ({"quant_method": "exl2"}, "ExLlama"),
    ({"quant_method": "exl3"}, "ExLlama"),
    ({"quant_method": "quanto"}, "quantized by quanto"),
    ({"quant_method": "gemma"}, "activation scales are static"),
    ({"quant_method": "some_new_method"}, "quantized by some_new_method: no integer format"),
    ({"bits": 4}, "names no `quant_method`"),
    ({"quant_method": "gptq", "checkpoint_format": "marlin"}, "gptq in the format marlin"),
    ({"quant_method": "auto-round", "packing_format": "auto_round:awq"}, "quantized by awq"),
    ({"quant_method": "compressed-tensors"}, "no `config_groups`"),
]
GROUP_CHANGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"format": "float-quantized"}, "float8 weights"),
    ({}, {"format": "nvfp4-pack-quantized"}, "float codes"),
    ({}, {"format": "marlin-24"}, "in the format marlin-24"),
    ({}, {"weights": {"num_bits": 4, "type": "float"}}, "weights of type float"),
    ({}, {"weights": {"num_bits": 4, "type": "int", "symmetric": False}}, "zero points"),
    ({}, {"input_activations": {"num_bits": 8, "dynamic": False}}, "static scales"),
    ({"transform_config": {"config_groups": {"u": {}}}}, {}, "transform_config"),
    ({"kv_cache_scheme": {"num_bits": 8}}, {}, "kv_cache_scheme"),
    ({"sparsity_config": {"format": "sparse-24-bitmask"}}, {}, "sparsity format sparse-24-bitmask"),
]


@pytest.mark.parametrize(("method", "said"), METHODS)
def test_methods_are_refused_by_name_before_the_weights(method: dict[str, Any], said: str, copied: Path) -> None:
    edit_config(copied, lambda config: config.update(quantization_config=method))
    (copied / "model.safetensors").unlink()
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_checkpoint(copied)
    assert caught.value.hint and "config.json" in caught.value.message


@pytest.mark.parametrize(("outer", "group", "said"), GROUP_CHANGES)
def test_forms_of_compressed_tensors(outer: dict[str, Any], group: dict[str, Any], said: str, copied: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        config["quantization_config"].update(outer)
        config["quantization_config"]["config_groups"]["group_0"].update(group)

    edit_config(copied, edit)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_checkpoint(copied)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("file", "said"),
    [("hf_quant_config.json", "modelopt"), ("quant_config.json", "awq")],
)
def test_a_config_beside_config_json(file: str, said: str, tmp_path: Path) -> None:
    folder = write_float_checkpoint(tmp_path / "model", "llama")
    (folder / file).write_text("{}")
    with pytest.raises(InputError, match=f"{file}: the checkpoint is quantized by {said}"):
        read_checkpoint(folder)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("weight.absmax", "bitsandbytes"),
        ("weight.quant_state.bitsandbytes__nf4", "bitsandbytes"),
        ("SCB", "bitsandbytes"),
        ("W_q", "hqq"),
        ("q_weight", "exl2"),
        ("trellis", "exl3"),
        ("weight_scale_inv", "fp8"),
    ],
)
def test_tensors_of_a_format_that_the_config_does_not_name(key: str, said: str, tmp_path: Path) -> None:
    folder = write_float_checkpoint(tmp_path / "model", "llama")
    module = "model.layers.0.self_attn.o_proj."
    edit_tensors(folder, lambda tensors: tensors.update({module + key: tensors.pop(module + "weight").clone()}))
    with pytest.raises(InputError, match=f"quantized by {said}"):
        read_checkpoint(folder)


@pytest.mark.parametrize("names", [["quantization"], ["quantization", "quantization_config"]])
def test_mlx_is_named(names: list[str], copied: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        del config["quantization_config"]
        config |= {name: {"group_size": 64, "bits": 4} for name in names}

    edit_config(copied, edit)
    with pytest.raises(InputError, match="quantized by mlx"):
        read_checkpoint(copied)


def test_torchao_in_pickles_only(copied: Path) -> None:
    edit_config(copied, lambda config: config.update(quantization_config={"quant_method": "torchao"}))
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    with pytest.raises(InputError, match="torchao checkpoint is older than torchao's safetensors") as caught:
        read_checkpoint(copied)
    assert "transformers" in caught.value.hint


# What no kernel holds exactly


def signed(weight: QuantizedWeight) -> QuantizedWeight:
    """auto-round's and Q4_0's way: the value of largest magnitude gets the lowest code, the scale its sign."""
    values = weight.dequantize().view(*weight.scales.shape, -1)
    extreme = values.gather(-1, values.abs().argmax(-1, keepdim=True))
    scales = (extreme / -8).squeeze(-1).half()
    codes = (values / scales.float().unsqueeze(-1)).round().clamp(-8, 7).to(torch.int8)
    return replace(weight, codes=codes.view(weight.codes.shape), scales=scales)


def with_signed_scales(folder: Path, model: QuantizedModel) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        weight = signed(model.weight("layers.1.down"))
        tensors[PACKED], tensors[SCALE] = pack_words(weight.codes, 4), weight.scales

    edit_tensors(folder, edit)


def test_signed_scales_are_refused_or_measured(tmp_path: Path) -> None:
    model = float_model(tmp_path / "model")
    write_checkpoint(model, tmp_path / "out", RECORD)
    with_signed_scales(tmp_path / "out", model)
    read = read_checkpoint(tmp_path / "out")
    expected = signed(model.weight("layers.1.down"))
    assert torch.equal(read.tensor("layers.1.down"), expected.dequantize().half())
    negative = int(((expected.scales < 0) & (expected.codes.view(64, 3, 32) == -8).any(-1)).sum())
    assert 60 < negative < 130 and read.deviation.negative == negative
    scheme = group_scheme(read.kind, read.config, None, read.formats)
    with pytest.raises(InputError, match="scales are negative beside the lowest code") as caught:
        round_checkpoint(read, scheme, tmp_path / "store")
    assert "--allow-lossy" in caught.value.hint and not (tmp_path / "store").exists()
    store = round_checkpoint(read, scheme, tmp_path / "store", allow_lossy=True)
    taken = store.weight("layers.1.down")
    assert bool((taken.scales > 0).all()) and taken.codes.min() >= -8 and taken.codes.max() <= 7
    loss = measure_loss(read, store)
    assert loss is not None and loss.negative_scales == negative
    originals = {n: read.stored(n) for n in read.formats if n != "head"}  # the tied matrix counts once
    total = sum(float(w.dequantize().square().sum()) for w in originals.values() if w is not None)
    lost = float((taken.dequantize() - expected.dequantize()).square().sum())  # all others are exact
    assert loss.relative_error == pytest.approx((lost / total) ** 0.5, rel=1e-4)
    # The search beats turning the sign and clamping, in the weights themselves.
    values = expected.dequantize()
    turned = expected.codes.float() * expected.scales.float().sign().repeat_interleave(32, 1)
    clamped = replace(expected, codes=turned.clamp(-8, 7).to(torch.int8), scales=expected.scales.abs())
    error, naive = ((w.dequantize() - values).norm() / values.norm() for w in (taken, clamped))
    assert error < 0.95 * naive < 0.06
    for name in set(read.formats) - {"layers.1.down"}:
        found = read.quantized(name)
        assert found is not None and store.weight(name).equals(found) and found.equals(model.weight(name))


def test_negative_scales_without_a_lowest_code_are_turned_exactly(copied: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        codes = unpack_words(tensors[PACKED], 4, 96).clamp(-7, 7)
        tensors[PACKED], tensors[SCALE] = pack_words(codes, 4), -tensors[SCALE]

    edit_tensors(copied, edit)
    read = read_checkpoint(copied)
    weight = read.quantized("layers.1.down")
    assert read.deviation.exact and weight is not None and bool((weight.scales > 0).all())
    assert torch.equal(weight.dequantize().bfloat16(), read.tensor("layers.1.down"))


def test_half_scales_of_groups_are_refused_or_rounded(copied: Path, tmp_path: Path) -> None:
    edit_tensors(copied, changed(SCALE, lambda scales: scales.half() * 1.001))
    read = read_checkpoint(copied)
    assert 0 < read.deviation.rounded <= 192 and 0 < read.deviation.worst <= 2**-8
    scheme = group_scheme(read.kind, read.config, None, read.formats)
    with pytest.raises(InputError, match=f"no bf16 numbers.*{read.deviation.worst:.1e}"):
        round_checkpoint(read, scheme, tmp_path / "store")
    store = round_checkpoint(read, scheme, tmp_path / "store", allow_lossy=True)
    loss = measure_loss(read, store)
    assert loss is not None and 0 < loss.relative_error < 2**-8 and loss.rounded_scales == read.deviation.rounded


# Through to the finished program


def exported(folder: Path, out: Path, **options: Any) -> Bundle:
    asked = {"context": 32, "prefill_chunk": 8, "verify": False, **options}
    return export(export_options("xnnpack", folder, out, **asked), QUIET).bundle


def assert_codes_in_program(bundle: Bundle, read: Checkpoint) -> None:
    for name, form in read.formats.items():
        weight = read.quantized(name)
        assert weight is not None
        like = with_format(weight, Scheme.from_manifest(bundle.manifest.quantization).format(name))
        stored = read_weight("xnnpack", bundle.pte, name, like)
        assert stored.differences(like) == [], (name, form)
        assert torch.equal(like.dequantize(), weight.dequantize())


def test_a_written_checkpoint_exports_to_its_own_codes(tmp_path: Path) -> None:
    model = float_model(tmp_path / "model")
    write_checkpoint(model, tmp_path / "out", RECORD)
    bundle = exported(tmp_path / "out", tmp_path / "bundle", verify=True)
    said = bundle.manifest.quantization
    assert (said["scheme"], said["scales"]) == ("int4-g32", "checkpoint")
    assert "loss" not in said and "rounding" not in said and "exceptions" not in said
    recorded = bundle.manifest.to_json()
    assert recorded["verification"]["weights_bit_equal"]
    assert recorded["tied_weights_stored_once"] and recorded["model"]["shape"]["tied_embeddings"]
    assert_codes_in_program(bundle, read_checkpoint(tmp_path / "out"))
    # What `verify --model` compares: the same folder passes, one with another code does not.
    scheme = Scheme.from_manifest(said)
    for change, equal in ((0, True), (1, False)):

        def flip(tensors: dict[str, torch.Tensor], change: int = change) -> None:
            tensors[PACKED].view(-1)[5:6].bitwise_xor_(change)

        edit_tensors(tmp_path / "out", flip)
        read = read_checkpoint(tmp_path / "out")
        store = round_checkpoint(read, scheme, tmp_path / f"store{change}")
        like = store.weight("layers.1.down")
        assert (read_weight("xnnpack", bundle.pte, "layers.1.down", like).differences(like) == []) is equal


@pytest.mark.parametrize("kind", ["g64", "g128", "w8a8"])
def test_published_checkpoints_export_to_their_own_codes(kind: str, floats: Path, tmp_path: Path) -> None:
    folder = compressed(floats, tmp_path / "ct", **COMPRESSED[kind])
    bundle = exported(folder, tmp_path / "bundle", verify=kind == "g128")
    read = read_checkpoint(folder)
    assert_codes_in_program(bundle, read)
    scheme = Scheme.from_manifest(bundle.manifest.quantization)
    assert scheme.format("embed") == scheme.format("head") == INT8  # floats in the file
    assert [line for line in storage_notes(read, scheme) if "`embed`, `head` as floats: rounded to int8" in line]
    assert scheme.format("layers.0.down").name == ("int8-per-channel" if kind == "w8a8" else f"int4-{kind}")


def test_groups_of_linears_that_are_one_weight_are_split_alike() -> None:
    config = config_from_json(config_json("llama", num_hidden_layers=1))
    formats = {f"layers.0.{part}": WeightFormat(4, 64) for part in ("q", "k", "v", "o", "gate", "up", "down")}
    scheme = group_scheme("quantized", config, None, {**formats, "layers.0.k": WeightFormat(4, 32)})
    assert [scheme.format(f"layers.0.{part}").name for part in "qkvo"] == ["int4-g32"] * 3 + ["int4-g64"]
    del formats["layers.0.v"]  # a float among them is rounded to their format
    assert group_scheme("quantized", config, None, formats).format("layers.0.v") == WeightFormat(4, 64)
    mixed = {**formats, "layers.0.k": WeightFormat(4, None), "layers.0.v": INT8}
    with pytest.raises(InputError, match="needs one format"):
        group_scheme("quantized", config, None, mixed)
    channels = {**mixed, "layers.0.q": WeightFormat(4, None)}
    assert group_scheme("quantized", config, None, channels).format("layers.0.q") == INT8  # which holds 4 bits
    with pytest.raises(UsageError, match="--weights int8 for a checkpoint that is quantized already"):
        group_scheme("quantized", config, "int8", formats)


def test_repeated_scales_and_wider_codes_are_the_same_numbers(tmp_path: Path) -> None:
    weight = float_model(tmp_path / "model", Scheme(4, 64), intermediate_size=128).weight("layers.0.down")
    assert torch.equal(with_format(weight, WeightFormat(4, 32)).dequantize(), weight.dequantize())
    for form in (WeightFormat(4, 48), WeightFormat(8, 128)):
        with pytest.raises(InputError, match="expected"):
            with_format(with_format(weight, WeightFormat(4, 32)), form)


def test_npus_take_rows_and_refuse_groups() -> None:
    config = config_from_json(config_json("llama", num_hidden_layers=1))
    rows = {f"layers.0.{part}": WeightFormat(4, None) for part in ("q", "k", "v", "o", "gate", "up")}
    rows["layers.0.down"] = INT8
    scheme = channel_scheme("quantized", config, None, rows)
    assert (scheme.name, scheme.stored) == ("int4-per-channel", True)
    assert scheme.exceptions == dict.fromkeys(("down", "embed", "head"), INT8)
    assert Scheme.from_manifest(scheme.manifest()) == scheme
    with pytest.raises(InputError, match="groups of columns"):
        channel_scheme("quantized", config, None, {**rows, "layers.0.o": WeightFormat(4, 32)})


def test_lossy_is_in_the_manifest(tmp_path: Path) -> None:
    model = float_model(tmp_path / "model")
    write_checkpoint(model, tmp_path / "out", RECORD)
    with_signed_scales(tmp_path / "out", model)
    with pytest.raises(InputError, match="negative beside the lowest code"):
        exported(tmp_path / "out", tmp_path / "bundle")
    with pytest.raises(InputError, match="negative beside the lowest code"):
        plan(ExportOptions("xnnpack", str(tmp_path / "out"), context=32, prefill_chunk=8))
    bundle = exported(tmp_path / "out", tmp_path / "bundle", allow_lossy=True)
    loss = bundle.manifest.quantization["loss"]
    assert 0.001 < loss["relative_error"] < 0.05 and loss["negative_scales"] > 0


# gguf


def plain_tokenizer(folder: Path) -> None:
    """A tokenizer.json that merges words as GPT-2 does."""
    values = json.loads((folder / "tokenizer.json").read_text())
    values["model"]["ignore_merges"] = False
    (folder / "tokenizer.json").write_text(json.dumps(values))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("group", [32, 64])
def test_gguf_holds_the_codes(tied: bool, group: int, tmp_path: Path) -> None:
    sizes = {"intermediate_size": 128, "rope_scaling": LLAMA3_SCALING}
    model = float_model(tmp_path / "model", Scheme(4, group), tied=tied, **sizes)
    plain_tokenizer(model.checkpoint.path)
    write_gguf(model, tmp_path / "model.gguf")
    reader = GGUFReader(tmp_path / "model.gguf")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert len(tensors) == 2 * 9 + 2 + (not tied) + 1
    names = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
    names |= {part: f"ffn_{part}" for part in ("gate", "up", "down")}
    for name in model.weight_names():
        _, layer, part = name.split(".") if "." in name else ("", "", name)
        key = f"blk.{layer}.{names[part]}" if layer else {"embed": "token_embd", "head": "output"}[part]
        if tied and name == "head":
            assert "output.weight" not in tensors
            continue
        tensor = tensors[f"{key}.weight"]
        assert tensor.tensor_type == GGMLQuantizationType.Q4_0
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type))
        assert torch.equal(values, model.weight(name).dequantize())
    assert torch.equal(torch.from_numpy(tensors["output_norm.weight"].data), model.vector("norm"))
    scaled = LlamaConfig(**config_json("llama", rope_scaling=LLAMA3_SCALING))
    inverse, _ = ROPE_INIT_FUNCTIONS["llama3"](scaled, torch.device("cpu"))
    plain = 1 / 500000.0 ** (torch.arange(0, 32, 2) / 32)
    factors = torch.from_numpy(tensors["rope_freqs.weight"].data)
    torch.testing.assert_close(factors, plain / inverse, rtol=1e-5, atol=0)

    fields = {name: entry.contents() for name, entry in reader.fields.items()}
    assert fields["general.architecture"] == "llama"
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    tokenizer = Tokenizer.from_folder(model.checkpoint.path)
    assert len(fields["tokenizer.ggml.tokens"]) == VOCAB_SIZE
    assert fields["tokenizer.ggml.tokens"][: tokenizer.vocab_size] == [
        tokenizer.token(number) for number in range(tokenizer.vocab_size)
    ]
    types = fields["tokenizer.ggml.token_type"]
    assert (types[0], types[BOS_ID], types[VOCAB_SIZE - 1]) == (TokenType.NORMAL, TokenType.CONTROL, TokenType.CONTROL)
    assert fields["tokenizer.ggml.bos_token_id"] == BOS_ID and fields["tokenizer.ggml.add_bos_token"] is True
    assert fields["tokenizer.ggml.eos_token_id"] == EOS_ID
    assert fields["tokenizer.chat_template"] == CHAT_TEMPLATE


@pytest.mark.parametrize(
    ("scheme", "options", "said"),
    [
        (Scheme(8, None), {}, "is int8-per-channel, gguf's Q4_0 holds int4 in groups of 32"),
        (Scheme(4, None), {}, "is int4-per-channel, gguf's Q4_0"),
        (Scheme(4, 32, exceptions={"embed": INT8}), {}, "embed is int8-per-channel"),
        (GROUPS, {"family": "mobilellm-r1"}, "norm of q and k"),
        (GROUPS, {"family": "mobilellm-pro", "use_qk_norm": False}, "local layers"),
    ],
)
def test_gguf_that_cannot_be(scheme: Scheme, options: dict[str, Any], said: str, tmp_path: Path) -> None:
    model = float_model(tmp_path / "model", scheme, **options)
    plain_tokenizer(model.checkpoint.path)
    with pytest.raises(InputError, match=re.escape(said)):
        write_gguf(model, tmp_path / "model.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_gguf_on_a_disk_that_fills_up_at_any_place(tmp_path: Path) -> None:
    model = float_model(tmp_path / "model")
    plain_tokenizer(model.checkpoint.path)
    write_gguf(model, tmp_path / "whole.gguf")
    size = (tmp_path / "whole.gguf").stat().st_size
    for room in (*range(0, size, size // 50), size - 1):
        with files_up_to(room), pytest.raises(ResourceError, match="no space left"):
            write_gguf(model, tmp_path / "model.gguf")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "whole.gguf"]


def test_gguf_of_a_tokenizer_without_a_name_and_of_scales_beyond_fp16(tmp_path: Path) -> None:
    model = float_model(tmp_path / "model")
    with pytest.raises(InputError, match="has no name in llama"):
        write_gguf(model, tmp_path / "model.gguf")
    plain_tokenizer(model.checkpoint.path)
    weight = model.weight("layers.0.o")
    model.store.add("layers.0.o", replace(weight, scales=weight.scales * 2.0**-20))
    with pytest.raises(InputError, match=r"scales of layers\.0\.o are no fp16 numbers"):
        write_gguf(model, tmp_path / "model.gguf")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    model.store.add("layers.0.o", weight)
    write_gguf(model, tmp_path / "model.gguf")
    with pytest.raises(UsageError, match="exists already"):
        write_gguf(model, tmp_path / "model.gguf")


@pytest.mark.parametrize(
    ("pre_tokenizer", "ignore_merges", "name"),
    [
        (
            pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            ),
            False,
            "smollm",
        ),
        (
            pre_tokenizers.Sequence(
                [
                    pre_tokenizers.Split(Regex(LLAMA3_WORDS), "isolated"),
                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
                ]
            ),
            True,
            "llama-bpe",
        ),
    ],
)
def test_tokenizers_by_llama_cpps_names(pre_tokenizer: Any, ignore_merges: bool, name: str, tmp_path: Path) -> None:
    model = float_model(tmp_path / "model")
    tokenizer = small_tokenizer()
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.model.ignore_merges = ignore_merges
    tokenizer.save(str(model.checkpoint.path / "tokenizer.json"))
    write_gguf(model, tmp_path / "model.gguf")
    fields = GGUFReader(tmp_path / "model.gguf").fields
    assert fields["tokenizer.ggml.pre"].contents() == name
