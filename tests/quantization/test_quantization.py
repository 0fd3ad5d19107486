"""Codes and scales against torchao's QAT fake-quantizer, in the cases where roundings part ways."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifacts import quantized
from small_checkpoints import learned_scale, write_checkpoint
from torchao.quantization.qat import IntxFakeQuantizeConfig, IntxFakeQuantizer
from torchao.quantization.quantize_.workflows.intx.intx_unpacked_to_int8_tensor import IntxUnpackedToInt8Tensor

from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.errors import InputError, UsageError
from mlp_export.models.quantized_weight import QuantizedWeight, WeightFormat
from mlp_export.quantization.nearest import quantize_weight
from mlp_export.quantization.scheme import Scheme, group_scheme

GROUPS = Scheme(4, 32)
INT4: torch.dtype = torch.int4  # type: ignore[attr-defined]  # torch's stubs lack it
GROUP_FORMAT = WeightFormat(4, 32)


def random_weight(dtype: torch.dtype, rows: int = 256, columns: int = 256, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.logspace(-4, 1, rows).view(-1, 1)
    return (torch.randn(rows, columns, generator=generator) * spread).to(dtype)


def cases() -> dict[str, torch.Tensor]:
    halves = (torch.arange(256).float() / 2 - 64).repeat(8, 1)  # quotients on the half, where rounding modes differ
    zeros = random_weight(torch.bfloat16)
    zeros[::3, 32:64] = 0
    outlier = random_weight(torch.bfloat16)
    outlier[:, 5] *= 1000
    return {
        "bf16": random_weight(torch.bfloat16),
        "bf16 with halves": halves.to(torch.bfloat16),
        "groups of zeros": zeros,
        "outliers": outlier,
        "subnormal": torch.full((2, 64), 1e-40).to(torch.bfloat16),
        "one sign": random_weight(torch.bfloat16).abs(),
        "more rows than a block": random_weight(torch.bfloat16, rows=9000, seed=1),
    }


def fake_quantized(weight: torch.Tensor, config: IntxFakeQuantizeConfig) -> tuple[IntxFakeQuantizer, torch.Tensor]:
    quantizer = IntxFakeQuantizer(config)
    return quantizer, quantizer(weight)


@pytest.mark.parametrize("name", cases())
def test_group_codes_are_the_fake_quantizers(name: str) -> None:
    """Scale and fake-quantized value are equal; so are the codes, wherever the scale is not nothing."""
    weight = cases()[name]
    quantizer, expected = fake_quantized(weight, IntxFakeQuantizeConfig(INT4, group_size=32))
    found = quantize_weight(weight, GROUP_FORMAT)
    assert quantizer.scale is not None
    assert torch.equal(found.scales.float(), quantizer.scale)
    assert torch.equal(found.dequantize().to(weight.dtype), expected)
    assert found.codes.min() >= -8 and found.codes.max() <= 7


def test_ptq_of_torchao_rounds_otherwise() -> None:
    """Negative control, and the reason for this module: torchao's own PTQ in bf16 flips 1 to 2 codes in 100."""
    weight = random_weight(torch.bfloat16, rows=1024)
    ptq = IntxUnpackedToInt8Tensor.from_hp(weight, (1, 32), INT4)
    upcast = IntxUnpackedToInt8Tensor.from_hp(weight.float(), (1, 32), INT4)
    ours = quantize_weight(weight, GROUP_FORMAT)
    assert torch.equal(ours.scales, ptq.scale.view(ours.scales.shape))
    assert 0.005 < float((ours.codes != ptq.qdata).float().mean()) < 0.05
    assert 0.001 < float((ours.codes != upcast.qdata).float().mean()) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_group_scales_of_other_dtypes_are_bf16(dtype: torch.dtype) -> None:
    weight = random_weight(dtype)
    found = quantize_weight(weight, GROUP_FORMAT)
    assert found.scales.dtype == torch.bfloat16
    # Codes fit the rounded scale: no weight is further than half a step from its value, unless it was clamped.
    steps = found.scales.float().repeat_interleave(32, 1)
    away = (found.dequantize() - weight.float()).abs() / steps
    assert away[(found.codes > -8) & (found.codes < 7)].max() <= 0.5001


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channel_codes_are_the_fake_quantizers(bits: int, dtype: torch.dtype) -> None:
    weight = random_weight(dtype)
    integer = INT4 if bits == 4 else torch.int8
    quantizer, expected = fake_quantized(weight, IntxFakeQuantizeConfig(integer, "per_channel"))
    found = quantize_weight(weight, WeightFormat(bits, None))  # type: ignore[arg-type]
    assert quantizer.scale is not None
    assert torch.equal(found.scales, quantizer.scale.view(-1, 1))
    assert torch.equal(found.dequantize().to(dtype), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_learned_scales_are_used_bit_for_bit(dtype: torch.dtype) -> None:
    weight = random_weight(dtype)
    scale = learned_scale(weight, torch.Generator().manual_seed(5))
    quantizer = IntxFakeQuantizer(IntxFakeQuantizeConfig(INT4, "per_channel", is_dynamic=False, range_learning=True))
    quantizer.scale, quantizer.zero_point = torch.nn.Parameter(scale), torch.zeros(len(scale), 1)
    quantizer._initialized = True
    found = quantize_weight(weight, WeightFormat(4, None), scale)
    assert torch.equal(found.scales, scale)
    assert torch.equal(found.dequantize().to(dtype), quantizer(weight).detach())
    doubled = quantize_weight(weight, WeightFormat(4, None), 2 * scale)
    assert not torch.equal(found.codes, doubled.codes)


def test_rows_are_rounded_as_in_the_whole(tmp_path: Path) -> None:
    for kind in ("float", "int4-accelerator"):
        checkpoint = read_checkpoint(write_checkpoint(tmp_path / kind, kind=kind))
        model = quantized(checkpoint, group_scheme(checkpoint.kind, checkpoint.config, None))
        ids = torch.tensor([3, 0, 319, 3])
        for name in ("embed", "head"):
            assert torch.equal(model.rows(name, ids), model.matrix(name)[ids])


def test_tied_models_share_codes_unless_ranges_were_learned(tmp_path: Path) -> None:
    plain = quantized(read_checkpoint(write_checkpoint(tmp_path / "a")), GROUPS)
    assert plain.tied and plain.weight("embed").equals(plain.weight("head"))
    learned = read_checkpoint(write_checkpoint(tmp_path / "b", kind="int4-accelerator"))
    model = quantized(learned, Scheme(4, None, learned=True))
    assert not model.tied and not model.weight("embed").equals(model.weight("head"))


def test_equality_sees_one_code_and_one_scale() -> None:
    weight = quantize_weight(random_weight(torch.bfloat16), GROUP_FORMAT)
    codes, scales = weight.codes.clone(), weight.scales.clone()
    codes[3, 3] ^= 1
    scales[2, 2] *= 2
    assert weight.equals(QuantizedWeight(weight.codes.clone(), weight.scales.float(), 4, 32))
    assert not weight.equals(QuantizedWeight(codes, weight.scales, 4, 32))
    assert not weight.equals(QuantizedWeight(weight.codes, scales, 4, 32))


def test_schemes(tmp_path: Path) -> None:
    config = read_checkpoint(write_checkpoint(tmp_path)).config
    assert group_scheme("float", config, None) == group_scheme("int4-cpu", config, "int4") == GROUPS
    assert group_scheme("float", config, "int8") == Scheme(8, None)
    assert group_scheme("int4-accelerator", config, None) == Scheme(4, None, learned=True)
    mixed = Scheme(4, None, half_scales=True, exceptions={"head": WeightFormat(8, None), "layers.1.down": GROUP_FORMAT})
    for scheme in (GROUPS, Scheme(8, None), Scheme(4, None, learned=True), mixed):
        assert Scheme.from_manifest(scheme.manifest()) == scheme
    with pytest.raises(InputError, match="int2"):
        Scheme.from_manifest({"scheme": "int2-g8", "scales": "weights"})


@pytest.mark.parametrize("kind", ["int4-cpu", "int4-accelerator"])
def test_trained_checkpoints_are_not_rounded_to_int8(tmp_path: Path, kind: str) -> None:
    config = read_checkpoint(write_checkpoint(tmp_path)).config
    with pytest.raises(UsageError, match="trained for int4"):
        group_scheme(kind, config, "int8")  # type: ignore[arg-type]


def test_groups_that_do_not_divide_are_refused_by_name(tmp_path: Path) -> None:
    config = read_checkpoint(write_checkpoint(tmp_path, intermediate_size_mlp=80)).config
    with pytest.raises(InputError, match="FFN width is 80"):
        group_scheme("float", config, None)
    assert group_scheme("float", config, "int8") == Scheme(8, None)
