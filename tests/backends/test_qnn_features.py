"""QNN: each feature of the recipe on Qualcomm's simulator of the HTP, against the reference with the same encodings.

Needs Qualcomm's libraries (`make qnn`); what runs on them is skipped without, the rest is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from artifacts import QUIET
from qnn_libraries import libraries

from mlp_export.backends.base import CalibrationText, get_backend
from mlp_export.backends.qnn.calibration import calibrate
from mlp_export.backends.qnn.encodings import Encoding, Encodings, Jitter, RangeObserver, StaticNumerics, point_names
from mlp_export.models.config import ModelConfig
from mlp_export.models.eager import decode
from mlp_export.models.quantized_weight import QuantizedWeight
from mlp_export.models.tensors import parameters
from mlp_export.models.token_sequence import TokenSequence
from mlp_export.program.embedding import EmbeddingTable
from mlp_export.quantization.scheme import Scheme

simulated = pytest.mark.skipif(not libraries(), reason="Qualcomm's libraries are not installed: make qnn")

CONTEXT, ROWS, WINDOW = 96, 32, 32
LLAMA = ModelConfig(
    family="llama",
    vocab_size=96,
    hidden_size=128,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    ffn_size=256,
    norm_eps=1e-6,
    rope_theta=1e6,
    rope_scaling=None,
    max_positions=4096,
    window=0,
    local_layers=(False, False),
    qk_norm=False,
    tied_embeddings=True,
    bos_id=1,
    eos_ids=(2,),
)
# What families have: the features, and changes to the reference each of which must be told from the program.
FEATURES: dict[str, tuple[dict[str, Any], dict[str, dict[str, Any]]]] = {
    "biases of q, k and v, as in Qwen2.5": (
        {"biases": ("q", "k", "v")},
        {"no bias of k": {"biases": ("q", "v")}, "no bias of v": {"biases": ("q", "k")}},
    ),
    "biases of all linears": (
        {"biases": ("q", "k", "v", "o", "gate", "up", "down")},
        {
            f"no bias of {part}": {"biases": ("q", "k", "v", "o", "gate", "up", "down")[:end]}
            for part, end in (("down", 6), ("up and down", 5), ("o", 3))
        },
    ),
    "weighted norms of q and k before RoPE, as in Qwen3": (
        {"qk_norm": True, "qk_norm_weights": True, "qk_norm_before_rope": True},
        {
            "without weights": {"qk_norm_weights": False},
            "behind RoPE": {"qk_norm_before_rope": False},
            "no norm": {"qk_norm": False},
        },
    ),
    "layers without positions, as in SmolLM3": (
        {"num_layers": 3, "local_layers": (False,) * 3, "nope_layers": (1,)},
        {"RoPE everywhere": {"nope_layers": ()}, "another layer": {"nope_layers": (2,)}},
    ),
    "all that Gemma 3 has": (
        {
            "family": "gemma3",
            "num_layers": 3,
            "num_heads": 4,
            "num_kv_heads": 1,
            "window": WINDOW,
            "local_layers": (True, False, True),
            "local_rope_theta": 1e4,
            "qk_norm": True,
            "qk_norm_weights": True,
            "qk_norm_before_rope": True,
            "attention_scale": 0.2,
            "activation": "gelu_tanh",
            "post_norms": True,
            "embedding_scale": 128**0.5,
        },
        {
            "one base": {"local_rope_theta": None},
            "no norms behind": {"post_norms": False},
            "SiLU": {"activation": "silu"},
            "head_dim as scale": {"attention_scale": None},
            "all layers global": {"local_layers": (False,) * 3, "local_rope_theta": None},
        },
    ),
}


@dataclass(frozen=True)
class RandomModel:
    """As a QuantizedModel, of random weights in 8 bits a channel."""

    config: ModelConfig
    _made: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def scheme(self) -> Scheme:
        return Scheme(8, None)

    def weight(self, name: str) -> QuantizedWeight:
        values = self._values("embed" if name == "head" else name)
        scales = values.abs().amax(1, keepdim=True) / 127
        return QuantizedWeight((values / scales).round().to(torch.int8), scales, 8, values.shape[1])

    def matrix(self, name: str) -> torch.Tensor:
        return self.weight(name).dequantize()

    def rows(self, name: str, ids: torch.Tensor) -> torch.Tensor:
        return self.weight(name).dequantize_rows(ids)

    def vector(self, name: str) -> torch.Tensor:
        return self._values(name)

    def _values(self, name: str) -> torch.Tensor:
        if name not in self._made:
            parameter = parameters(self.config)[name]
            values = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(sum(map(ord, name))))
            if parameter.role == "bias":
                values = values * (5 if name.endswith("k_bias") else 1)
            elif "norm" in parameter.role:
                values = (1 + 0.3 * values) * (3 if parameter.role == "post norm" else 1)
            else:
                values = values * (1 if name == "embed" else parameter.shape[1] ** -0.5)
            self._made[name] = values
        return self._made[name]

    def of(self, **features: Any) -> RandomModel:
        """The same weights in a model with other features."""
        return RandomModel(replace(self.config, **features), self._made)


IDS = [(29 * n) % 95 + 1 for n in range(80)]
CHUNKS = (32, 7, 1, 32, 8)  # past the window


def encodings_of(model: Any) -> Encodings:
    return calibrate(model, CalibrationText(IDS, ""), QUIET)


def simulate(model: Any, encodings: Encodings, path: Path) -> torch.Tensor:
    """Logits [chunks, vocabulary] of the last token of each chunk."""
    get_backend("qnn").runtime.load()
    from mlp_export.backends.qnn.compiler import compile_graph
    from mlp_export.backends.qnn.decoder_graph import decoder_graph
    from mlp_export.backends.qnn.program import emit_program
    from mlp_export.backends.qnn.simulator import SimulatorSession
    from mlp_export.runtime.native_output import capture_native_output

    with capture_native_output():
        payload = compile_graph(decoder_graph(model, encodings, CONTEXT, ROWS), "sm8750")
        table = EmbeddingTable.of(model.weight("embed"), torch.float32, share_with_head=False)
        program = emit_program(model.config, CONTEXT, ROWS, table, encodings.hidden, payload, "sm8750")
    with path.open("wb") as file:
        program.write_to_file(file)
    session = SimulatorSession(path)
    logits, at = [], 0
    for size in CHUNKS:
        logits.append(session.forward(IDS[at : at + size], at).view(-1).clone())
        at += size
    return torch.stack(logits)


def reference(model: Any, numerics: Any) -> torch.Tensor:
    ends = [sum(CHUNKS[: n + 1]) - 1 for n in range(len(CHUNKS))]
    return decode(model, [TokenSequence(IDS, ends)], numerics)[0]


def apart(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


class Asked(dict[str, Encoding]):
    """Encodings that remember which of them were asked for."""

    def __init__(self, points: Mapping[str, Encoding]) -> None:
        super().__init__(points)
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> Encoding:
        self.names.add(name)
        return super().__getitem__(name)


@pytest.mark.parametrize("name", FEATURES)
def test_the_graph_rounds_what_the_reference_rounds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each encoding that calibration finds is one of `point_names`, and is that of a result of the graph."""
    from mlp_export.backends.qnn import decoder_graph as module
    from mlp_export.backends.qnn.graph import Graph

    model: Any = RandomModel(replace(LLAMA, **FEATURES[name][0]))
    encodings = encodings_of(model)
    names = set(encodings.points)
    assert names == point_names(model.config)
    asked: list[Asked] = []

    class Asking(Graph):
        def __init__(self, points: Mapping[str, Encoding]) -> None:
            asked.append(Asked(points))
            super().__init__(asked[-1])

    monkeypatch.setattr(module, "Graph", Asking)
    module.decoder_graph(model, encodings, CONTEXT, ROWS)
    caches = {point for point in names if point.endswith(".cache")}  # inputs, too
    assert names <= asked[0].names | caches and not asked[0].names - names - {"mask.global", "mask.local"}
    last = f"layers.{model.config.num_layers - 1}.{model.config.activation.partition('_')[0]}"
    fewer = replace(encodings, points={point: e for point, e in encodings.points.items() if point != last})
    with pytest.raises(KeyError, match=last):
        module.decoder_graph(model, fewer, CONTEXT, ROWS)


@simulated
@pytest.mark.slow
@pytest.mark.parametrize("name", FEATURES)
def test_the_graph_computes_each_feature(name: str, tmp_path: Path) -> None:
    features, others = FEATURES[name]
    model = RandomModel(replace(LLAMA, **features))
    encodings = encodings_of(model)
    found = simulate(model, encodings, tmp_path / "model.pte")
    jitter = Jitter(model.scheme, torch.Generator().manual_seed(0))
    right = reference(model, StaticNumerics(encodings))
    floor = apart(reference(model, StaticNumerics(encodings, jitter)), right)
    error = apart(found, right)
    assert error <= 1.5 * floor < 0.05
    for other, changes in others.items():
        float_error = apart(reference(model.of(**changes), RangeObserver()), reference(model, RangeObserver()))
        assert float_error > 10 * error, f"{other} is not told from it"
