"""Checkpoint folders: what is handed out equals what was written, and each kind of damage is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_checkpoints import VOCAB_SIZE, Family, config_json, random_tensors, save_tensors, write_checkpoint
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.llama4.modeling_llama4 import apply_rotary_emb

from mlp_export.checkpoints.checkpoint import SCALE_SUFFIX, Checkpoint, Kind, check_answers_differ, read_checkpoint
from mlp_export.errors import InputError
from mlp_export.models.families import config_from_json
from mlp_export.models.rope import interleave_rows, rotate_half_rows
from mlp_export.models.tensors import parameters

FAMILIES: tuple[Family, ...] = ("mobilellm-pro", "mobilellm-r1", "llama")


def bits_equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_every_tensor_comes_back(family: Family, tied: bool, shards: int, dtype: torch.dtype, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, family, tied=tied, shards=shards, dtype=dtype))
    written = random_tensors(checkpoint.config, dtype=dtype)
    assert (checkpoint.kind, checkpoint.qat, checkpoint.dtype) == ("float", False, dtype)
    assert len(checkpoint.names()) == 3 + 9 * checkpoint.config.num_layers
    for name, parameter in parameters(checkpoint.config).items():
        spellings, shape = parameter.keys, parameter.shape
        expected = next(written.pop(key) for key in spellings if key in written)
        value = checkpoint.tensor(name)
        assert value.shape == shape
        if family == "llama" and name.endswith((".q", ".k")):
            assert not torch.equal(value, expected)
            value = rotate_half_rows(value, checkpoint.config.head_dim)
        assert bits_equal(value, expected)
        assert checkpoint.learned_scale(name) is None
    assert not written
    assert torch.equal(checkpoint.tensor("head"), checkpoint.tensor("embed")) is tied


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_learned_scales_are_carried_bit_for_bit(family: Family, tied: bool, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, family, kind="int4-accelerator", tied=tied))
    assert (checkpoint.kind, checkpoint.qat) == ("int4-accelerator", True)
    written = load_file(tmp_path / "model.safetensors")
    for name, parameter in parameters(checkpoint.config).items():
        spellings, shape = parameter.keys, parameter.shape
        scale = checkpoint.learned_scale(name)
        if len(shape) == 1:
            assert scale is None
            continue
        assert scale is not None
        if family == "llama" and name.endswith((".q", ".k")):  # row r of the scale belongs to row r of the weight
            scale = rotate_half_rows(scale, checkpoint.config.head_dim)
        assert bits_equal(scale, next(written[key + SCALE_SUFFIX] for key in spellings if key in written))
    head = checkpoint.learned_scale("head")
    assert head is not None and bits_equal(head, written["lm_head.weight" + SCALE_SUFFIX])
    embed = checkpoint.learned_scale("embed")
    assert embed is not None and not torch.equal(head, embed)  # their own, even where the weights are shared


def test_scales_follow_the_rows_of_q_and_k(tmp_path: Path) -> None:
    """weight / scale is the same matrix before and after the permutation of rows, up to that permutation."""
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, "llama", kind="int4-accelerator"))
    written = load_file(tmp_path / "model.safetensors")
    key = "model.layers.1.self_attn.q_proj.weight"
    scale = checkpoint.learned_scale("layers.1.q")
    assert scale is not None
    codes = checkpoint.tensor("layers.1.q").float() / scale
    expected = written[key].float() / written[key + SCALE_SUFFIX]
    assert torch.equal(codes, interleave_rows(expected, checkpoint.config.head_dim))


def test_permuted_rows_give_the_same_attention_scores_under_interleaved_rope(tmp_path: Path) -> None:
    """transformers' Llama RoPE on the rows as stored against its Llama 4 RoPE on the rows as handed out."""
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, "llama", dtype=torch.float32))
    config, written = checkpoint.config, load_file(tmp_path / "model.safetensors")
    x = torch.randn(1, 7, config.hidden_size, generator=torch.Generator().manual_seed(1))
    positions = torch.tensor([[0, 1, 2, 50, 511, 512, 8000]])
    reference = LlamaRotaryEmbedding(LlamaConfig(**config_json("llama")))
    cos, sin = reference(x, positions)
    frequencies = torch.polar(torch.ones(1), positions[..., None].float() * reference.inv_freq)

    def heads(weight: torch.Tensor) -> torch.Tensor:
        return (x @ weight.T).reshape(1, 7, -1, config.head_dim)

    def scores(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:  # [batch, tokens, heads, head_dim]
        k = k.repeat_interleave(config.num_heads // config.num_kv_heads, dim=2)
        return torch.einsum("bqhd,bkhd->bhqk", q, k)

    q, k = (heads(written[f"model.layers.0.self_attn.{name}_proj.weight"]) for name in "qk")
    q_half, k_half = apply_rotary_pos_emb(q.transpose(1, 2), k.transpose(1, 2), cos, sin)
    expected = scores(q_half.transpose(1, 2), k_half.transpose(1, 2))
    ours = scores(
        *apply_rotary_emb(heads(checkpoint.tensor("layers.0.q")), heads(checkpoint.tensor("layers.0.k")), frequencies)
    )
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    # Without the permutation, or with only one of the two, the scores are others.
    for pair in ((q, k), (heads(checkpoint.tensor("layers.0.q")), k)):
        assert (scores(*apply_rotary_emb(*pair, frequencies)) - expected).abs().max() > 0.1


def test_permutation_is_a_permutation_and_has_its_inverse() -> None:
    rows = torch.arange(2 * 6)[:, None]
    assert interleave_rows(rows, 6).flatten().tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert torch.equal(rotate_half_rows(interleave_rows(rows, 6), 6), rows)


def test_writing_to_a_tensor_does_not_reach_the_file(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_checkpoint(tmp_path))
    before = checkpoint.tensor("norm").clone()
    checkpoint.tensor("norm").zero_()
    assert torch.equal(checkpoint.tensor("norm"), before)


def mapped_pages(path: Path) -> int:
    return sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_files_are_unmapped_when_tensors_are_dropped(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, kind="int4-accelerator"))
    value = checkpoint.tensor("layers.0.down")
    value.sum()
    del value
    assert mapped_pages(tmp_path / "model.safetensors") == 0


def test_feed_forward_may_be_called_mlp(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "mobilellm-pro")
    tensors = load_file(tmp_path / "model.safetensors")
    save_tensors(tmp_path, {key.replace(".feed_forward.", ".mlp."): value for key, value in tensors.items()})
    assert torch.equal(
        read_checkpoint(tmp_path).tensor("layers.2.up"), tensors["model.layers.2.feed_forward.up_proj.weight"]
    )


@pytest.mark.parametrize(
    ("kind", "said", "result"),
    [
        ("float", None, "float"),
        ("float", "float", "float"),
        ("float", "int4-cpu", "int4-cpu"),
        ("int4-accelerator", None, "int4-accelerator"),
        ("int4-accelerator", "int4-accelerator", "int4-accelerator"),
    ],
)
def test_kind(kind: Kind, said: Kind | None, result: Kind, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_checkpoint(tmp_path, kind=kind), said)
    assert (checkpoint.kind, checkpoint.qat) == (result, result != "float")


@pytest.mark.parametrize(
    ("kind", "said"), [("float", "int4-accelerator"), ("int4-accelerator", "int4-cpu"), ("int4-accelerator", "float")]
)
def test_kind_that_the_files_contradict(kind: Kind, said: Kind, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="learned scales"):
        read_checkpoint(write_checkpoint(tmp_path, kind=kind), said)


Q = "model.layers.0.self_attn.q_proj.weight"
EMBED = "model.embed_tokens.weight"


def change(folder: Path, key: str, value: torch.Tensor | None) -> None:
    """Replaces, adds or (None) removes a tensor of the single-file checkpoint."""
    tensors = load_file(folder / "model.safetensors")
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    tensors.pop(key, None)
    if value is not None:
        tensors[key] = value
    save_tensors(folder, tensors)


def refused(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        checkpoint = read_checkpoint(folder)
        for name in checkpoint.names():
            checkpoint.tensor(name)
    text = caught.value.message
    assert all(word in text for word in words), text
    assert caught.value.hint and "\n" not in text


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (Q, None, [Q, "missing"]),
        (EMBED, None, [EMBED, "missing"]),
        (Q, torch.zeros(128, 32, dtype=torch.bfloat16), [Q, "[128, 32]", "[128, 64]"]),
        (Q, torch.zeros(128 * 64, dtype=torch.bfloat16), [Q, "[8192]", "[128, 64]"]),
        (Q, torch.zeros(128, 64, dtype=torch.int8), [Q, "I8", "BF16"]),
        (Q, torch.zeros(128, 64, dtype=torch.float64), [Q, "F64"]),
        (Q, torch.zeros(128, 64, dtype=torch.float32), [Q, "F32", "BF16"]),
        (Q, torch.full((128, 64), float("nan"), dtype=torch.bfloat16), [Q, "NaN"]),
        (Q, torch.full((128, 64), float("inf"), dtype=torch.bfloat16), [Q, "NaN"]),
        ("model.norm.weight", torch.full((64,), float("nan"), dtype=torch.bfloat16), ["model.norm.weight", "NaN"]),
        ("model.layers.5.mlp.up_proj.weight", torch.zeros(1), ["model.layers.5.mlp.up_proj.weight", "not a part"]),
        ("model.layers.0.self_attn.q_proj.bias", torch.zeros(128), ["q_proj.bias", "not a part"]),
        ("model.layers.0.mlp.up_proj.weight", torch.zeros(1), ["feed_forward.up_proj", "mlp.up_proj", "both"]),
        ("lm_head.weight", torch.zeros(320, 64, dtype=torch.bfloat16), ["lm_head.weight", "differs"]),
        ("lm_head.weight", torch.zeros(320, 63, dtype=torch.bfloat16), ["lm_head.weight", "[320, 63]"]),
        (
            "model.layers.0.input_layernorm.weight" + SCALE_SUFFIX,
            torch.ones(64, 1),
            ["input_layernorm", "learned scale"],
        ),
        (Q + SCALE_SUFFIX, torch.ones(128, 1), ["missing", "1 other"]),
    ],
)
def test_damaged_tensors_are_named(key: str, value: torch.Tensor | None, words: list[str], tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    change(tmp_path, key, value)
    refused(tmp_path, *words)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (Q + SCALE_SUFFIX, None, [Q + SCALE_SUFFIX, "missing"]),
        ("lm_head.weight" + SCALE_SUFFIX, None, ["lm_head.weight" + SCALE_SUFFIX, "missing"]),
        (Q + SCALE_SUFFIX, torch.ones(128), [Q + SCALE_SUFFIX, "[128]", "[128, 1]"]),
        (Q + SCALE_SUFFIX, torch.ones(128, 2), [Q + SCALE_SUFFIX, "[128, 2]"]),
        (Q + SCALE_SUFFIX, torch.ones(128, 1, dtype=torch.bfloat16), [Q + SCALE_SUFFIX, "BF16", "F32"]),
        (Q + SCALE_SUFFIX, -torch.ones(128, 1), [Q + SCALE_SUFFIX, "128 of 128"]),
        (Q + SCALE_SUFFIX, torch.cat([torch.ones(127, 1), torch.zeros(1, 1)]), [Q + SCALE_SUFFIX, "1 of 128"]),
        (Q + SCALE_SUFFIX, torch.full((128, 1), float("nan")), [Q + SCALE_SUFFIX, "128 of 128"]),
        (Q + "_fake_quantizer.zero_point", torch.zeros(128, 1), [Q + "_fake_quantizer.zero_point", "not a part"]),
        (
            "model.layers.9.self_attn.q_proj.weight" + SCALE_SUFFIX,
            torch.ones(128, 1),
            ["layers.9", "without its weight"],
        ),
    ],
)
def test_damaged_scales_are_named(key: str, value: torch.Tensor | None, words: list[str], tmp_path: Path) -> None:
    write_checkpoint(tmp_path, kind="int4-accelerator")
    change(tmp_path, key, value)
    refused(tmp_path, *words)


def test_untied_checkpoint_without_head(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tied=False)
    change(tmp_path, "lm_head.weight", None)
    with pytest.raises(InputError, match=r"lm_head\.weight") as caught:
        read_checkpoint(tmp_path)
    assert "tie_word_embeddings" in caught.value.hint


def test_tied_checkpoint_with_an_equal_copy_of_the_head(tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    change(tmp_path, "lm_head.weight", load_file(tmp_path / "model.safetensors")[EMBED].clone())
    assert read_checkpoint(tmp_path).config.tied_embeddings


def test_frequencies_saved_by_old_transformers_are_let_by(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, "llama")
    change(tmp_path, "model.layers.0.self_attn.rotary_emb.inv_freq", torch.ones(16))
    read_checkpoint(tmp_path)


@pytest.mark.parametrize("length", [0, 4, 100, -1, -5000])
def test_truncated_file(length: int, tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path) / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:length])
    refused(tmp_path, "model.safetensors", "not a whole safetensors file")


def test_corrupt_header(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path) / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[8:40] = b"\xff" * 32
    file.write_bytes(data)
    refused(tmp_path, "model.safetensors")


def test_file_cut_off_after_it_was_opened(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_checkpoint(tmp_path))
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        checkpoint.tensor("norm")


def sharded(folder: Path) -> dict[str, Any]:
    write_checkpoint(folder, shards=3)
    index: dict[str, Any] = json.loads((folder / "model.safetensors.index.json").read_text())
    return index


def test_parts_without_their_index(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(InputError) as told:
        read_checkpoint(tmp_path)
    assert "model-00001-of-00003.safetensors" in told.value.hint and "fetch the index" in told.value.hint


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "base_model.model."])
def test_a_model_that_was_saved_with_its_wrapper(prefix: str, tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path) / "model.safetensors"
    save_file({f"{prefix}{key}": tensor for key, tensor in load_file(file).items()}, file)
    with pytest.raises(InputError, match="missing from the checkpoint") as told:
        read_checkpoint(tmp_path)
    assert f"it holds `{prefix}{EMBED}`" in told.value.hint


def test_missing_shard(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    refused(tmp_path, "model-00002-of-00003.safetensors", "missing")


def test_a_shard_with_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    index["weight_map"][EMBED] = 300 * "x"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(tmp_path, 300 * "x", "too long")


def test_truncated_shard(tmp_path: Path) -> None:
    sharded(tmp_path)
    file = tmp_path / "model-00003-of-00003.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    refused(tmp_path, "model-00003-of-00003.safetensors")


@pytest.mark.parametrize("name", ["../model.safetensors", "/model.safetensors", "..", ""])
def test_shard_outside_the_folder(name: str, tmp_path: Path) -> None:
    index = sharded(tmp_path)
    index["weight_map"][EMBED] = name
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(tmp_path, repr(name), "same folder")


@pytest.mark.parametrize("weight_map", [None, {}, [], {"a": 1}])
def test_damaged_index(weight_map: object, tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    refused(tmp_path, "weight_map")


def test_index_that_places_a_tensor_elsewhere(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    index["weight_map"][EMBED] = "model-00002-of-00003.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(tmp_path, EMBED, "model-00002-of-00003.safetensors")


def test_tensor_in_two_shards(tmp_path: Path) -> None:
    sharded(tmp_path)
    source, target = (tmp_path / f"model-0000{i}-of-00003.safetensors" for i in (1, 2))
    target.write_bytes(source.read_bytes())
    refused(tmp_path, "is in both")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickles_are_not_opened(name: str, tmp_path: Path) -> None:
    write_checkpoint(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / name)
    refused(tmp_path, name, "pickle")


def test_no_weights_and_no_folder(tmp_path: Path) -> None:
    (write_checkpoint(tmp_path) / "model.safetensors").unlink()
    refused(tmp_path, "model.safetensors.index.json")
    with pytest.raises(InputError, match="no folder"):
        read_checkpoint(tmp_path / "absent")


def test_unknown_names_are_a_programming_error(tmp_path: Path) -> None:
    checkpoint: Checkpoint = read_checkpoint(write_checkpoint(tmp_path))
    with pytest.raises(KeyError):
        checkpoint.tensor("layers.99.q")
    with pytest.raises(KeyError):
        checkpoint.learned_scale("layers.99.q")


def test_parameter_keys_cover_the_model() -> None:
    for tied in (True, False):
        config = config_from_json(config_json(tied=tied))
        sizes = (torch.Size(shape).numel() for shape in (parameter.shape for parameter in parameters(config).values()))
        assert sum(sizes) == config.num_parameters


@pytest.mark.parametrize("head", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("embedding", [torch.float32, torch.bfloat16, torch.float16])
def test_an_equal_head_in_any_dtype(embedding: torch.dtype, head: torch.dtype, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "llama", dtype=embedding)
    values = torch.randint(-8, 8, (VOCAB_SIZE, 64)).to(embedding)  # which each of them holds
    change(folder, "model.embed_tokens.weight", values)
    change(folder, "lm_head.weight", values.to(head))
    assert bits_equal(read_checkpoint(folder).tensor("head"), values)
    changed = values.to(head)
    changed[3, 5] += 1
    change(folder, "lm_head.weight", changed)
    refused(folder, "differs from the embedding", *([] if head == embedding else [" and "]))


def test_a_head_that_rounds_to_the_embedding_is_another(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "llama", dtype=torch.bfloat16)
    values = torch.full((VOCAB_SIZE, 64), 1.0)
    change(folder, "model.embed_tokens.weight", values.bfloat16())
    change(folder, "lm_head.weight", values + 2**-20)
    refused(folder, "differs from the embedding (F32 and BF16)")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model.embed_tokens.weight", torch.zeros(VOCAB_SIZE, 64), "is zero throughout"),
        ("model.norm.weight", torch.zeros(64), "is zero throughout"),
        ("lm_head.weight", torch.zeros(VOCAB_SIZE, 64), "is zero throughout"),
        ("lm_head.weight", torch.arange(64.0).expand(VOCAB_SIZE, 64).contiguous(), "all rows of"),
        ("model.norm.weight", torch.full((64,), float("nan")), "NaN"),
    ],
)
def test_weights_that_make_all_logits_alike(key: str, value: torch.Tensor, said: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, "llama", tied=False, dtype=torch.float32)
    check_answers_differ(read_checkpoint(folder))
    change(folder, key, value)
    with pytest.raises(InputError, match=said) as caught:
        check_answers_differ(read_checkpoint(folder))
    assert key in caught.value.message


def test_layers_of_zeros_are_a_model(tmp_path: Path) -> None:
    """Blocks that were added for a further training begin with zeros in `o` and `down`."""
    folder = write_checkpoint(tmp_path, "llama", dtype=torch.float32)
    change(folder, "model.layers.0.self_attn.o_proj.weight", torch.zeros(64, 128))
    check_answers_differ(read_checkpoint(folder))
