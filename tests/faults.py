"""Faulty builds of an XNNPACK program: the shipped file with another payload, or with a change in its tables.

    with scaled("layers.7.down", 0.9) as fault: ...

Faults are of computation: weights stay bit for bit what they were.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from executorch.exir.schema import DataLocation, EValue, Instruction, Int, KernelCall, Program

from mlp_export.backends.xnnpack.graph import XnnpackOps, decoder_subgraph
from mlp_export.backends.xnnpack.subgraph import Subgraph, Value
from mlp_export.backends.xnnpack.tapped import write_program
from mlp_export.models.config import ModelConfig, Rope
from mlp_export.models.rope import rope_frequencies
from mlp_export.program.pte import mapped, read_layout, read_program
from mlp_export.progress import Progress
from mlp_export.quantization.store import QuantizedModel

Fault = Callable[[pytest.MonkeyPatch, QuantizedModel], QuantizedModel]


def times(weights: str, factor: float) -> Fault:
    """What each linear whose name ends with `weights` gives, times `factor`."""

    def fault(patch: pytest.MonkeyPatch, model: QuantizedModel) -> QuantizedModel:
        return _behind_linears(
            patch,
            model,
            lambda graph, name, rows: graph.multiply(rows, graph.scalar(factor)) if name.endswith(weights) else rows,
        )

    return fault


def turned_head(layer: int, head: int) -> Fault:
    """The sign of one query head."""

    def fault(patch: pytest.MonkeyPatch, model: QuantizedModel) -> QuantizedModel:
        size = model.config.head_dim

        def behind(graph: Subgraph, name: str, rows: Value) -> Value:
            if name not in (f"layers.{layer}.q", f"layers.{layer}.qkv"):
                return rows
            signs = torch.ones(rows.shape)[:1]
            signs[:, head * size : (head + 1) * size] = -1
            return graph.multiply(rows, graph.constant(signs))

        return _behind_linears(patch, model, behind)

    return fault


def _behind_linears(
    patch: pytest.MonkeyPatch, model: QuantizedModel, behind: Callable[[Subgraph, str, Value], Value]
) -> QuantizedModel:
    names: dict[int, str] = {}
    right_weight, right_linear = Subgraph.weight, Subgraph.linear

    def weight(self: Subgraph, name: str, *rest: Any) -> Value:
        value = right_weight(self, name, *rest)
        names[value.id] = name
        return value

    def linear(self: Subgraph, rows: Value, weight: Value, *rest: Any) -> Value:
        result = right_linear(self, rows, weight, *rest)
        return behind(self, names[weight.id], result) if weight.id in names else result

    patch.setattr(Subgraph, "weight", weight)
    patch.setattr(Subgraph, "linear", linear)
    return model


def scalar_times(number: float, factor: float) -> Fault:
    """A constant of the graph, times `factor`."""

    def fault(patch: pytest.MonkeyPatch, model: QuantizedModel) -> QuantizedModel:
        right = Subgraph.scalar
        patch.setattr(Subgraph, "scalar", lambda self, found: right(self, found * factor if found == number else found))
        return model

    return fault


def vector_times(name: str, factor: float) -> Fault:
    """A norm or a bias."""

    def fault(patch: pytest.MonkeyPatch, model: QuantizedModel) -> QuantizedModel:
        right = type(model).vector
        patch.setattr(
            type(model), "vector", lambda self, asked: right(self, asked) * (factor if asked == name else 1.0)
        )
        return model

    return fault


def swapped_norms(layer: int) -> Fault:
    """A layer's two norms."""

    def fault(patch: pytest.MonkeyPatch, model: QuantizedModel) -> QuantizedModel:
        right = type(model).vector
        names = [f"layers.{layer}.attention_norm", f"layers.{layer}.ffn_norm"]
        other: dict[str, str] = dict(zip(names, reversed(names), strict=True))
        patch.setattr(type(model), "vector", lambda self, name: right(self, other.get(name) or name))
        return model

    return fault


def cache_codes_times(factor: float) -> Fault:
    """What is rounded to the cache's codes, beside scales that stay."""

    def fault(patch: pytest.MonkeyPatch, model: QuantizedModel) -> QuantizedModel:
        right = Subgraph.round_to_int8
        patch.setattr(
            Subgraph, "round_to_int8", lambda self, rows: right(self, self.multiply(rows, self.scalar(factor)))
        )
        return model

    return fault


def window_of_one_layer(layer: int, window: int) -> Fault:
    """The mask of one local layer."""

    def fault(patch: pytest.MonkeyPatch, model: QuantizedModel) -> QuantizedModel:
        right = XnnpackOps.attention

        def wrong(self: Any, name: str, query: Value, key: Value, value: Value, number: int) -> Value:
            if number != layer:
                return right(self, name, query, key, value, number)
            masks, config, inputs = self.masks, self.config, self.inputs
            self.config = replace(config, window=window)
            mask = self.attention_mask(inputs.query_positions, inputs.key_positions()[True], True)
            self.config, self.masks = config, {**masks, True: mask}
            result = right(self, name, query, key, value, number)
            self.masks = masks
            return result

        patch.setattr(XnnpackOps, "attention", wrong)
        return model

    return fault


def with_payload(
    shipped: Path, out: Path, model: QuantizedModel, chunk: int, context: int, kv_cache: Any, fault: Fault
) -> None:
    """Write the file at `shipped` to `out` with the payload of a faulty build."""
    with pytest.MonkeyPatch.context() as patch:
        faulty = fault(patch, model)
        with Progress().stage("fault") as stage:
            payload, _ = decoder_subgraph(faulty, context, chunk, kv_cache, stage).serialize()

    def change(program: Program) -> None:
        plan = next(plan for plan in program.execution_plan if plan.name == "forward")
        assert plan.delegates[0].processed.location == DataLocation.INLINE
        program.backend_delegate_data[plan.delegates[0].processed.index].data = payload

    with_tables(shipped, out, change)


def with_tables(shipped: Path, out: Path, change: Callable[[Program], None]) -> None:
    """Write the file at `shipped` to `out` with changed tables."""
    with mapped(shipped) as data, out.open("wb") as file:
        layout = read_layout(data)
        program = read_program(data, layout)
        change(program)
        write_program(program, data, layout, file)


def pick_a_row_too_early(program: Program) -> None:
    """The row whose logits are wanted is told to the delegate as one of the rows' numbers, the last."""
    plan = next(plan for plan in program.execution_plan if plan.name == "forward")
    names = [(operator.name, operator.overload) for operator in plan.operators]
    chain = plan.chains[0].instructions
    kernels = [(n, i.instr_args) for n, i in enumerate(chain) if isinstance(i.instr_args, KernelCall)]
    subtraction = next(call for _, call in kernels if names[call.op_index][0] == "executorch_prim::sub")
    at, picks = next((n, call) for n, call in kernels if names[call.op_index] == ("aten::eq", "Scalar_out"))
    assert picks.args[1] == subtraction.args[-1]  # rows - 1
    two, result = len(plan.values), len(plan.values) + 1
    plan.values += [EValue(Int(2)), EValue(Int(0))]
    other = copy.deepcopy(subtraction)
    other.args = [subtraction.args[0], two, result]
    picks.args[1] = result
    chain.insert(at, Instruction(other))


def with_rope_base(shipped: Path, out: Path, config: ModelConfig, factor: float) -> None:
    """Write the file at `shipped` to `out` with the frequencies of another base."""

    def spelled(of: ModelConfig) -> bytes:
        return (
            rope_frequencies(Rope(of.rope_theta, of.rope_scaling), of.head_dim).repeat_interleave(2).numpy().tobytes()
        )

    data = shipped.read_bytes()
    right = spelled(config)
    assert data.count(right) == 1
    out.write_bytes(data.replace(right, spelled(replace(config, rope_theta=config.rope_theta * factor))))


@contextmanager
def removed(path: Path) -> Iterator[Path]:
    """`path`, which is removed afterwards."""
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
