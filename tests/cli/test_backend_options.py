"""Options that backends declare, as the command line has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from mlp_export.backends import base
from mlp_export.backends.base import BackendOptions, Delegate, check_options, delegates, get_delegate, option
from mlp_export.backends.coreml.options import CoremlOptions
from mlp_export.backends.qnn.options import QnnOptions
from mlp_export.backends.xnnpack.options import XnnpackOptions
from mlp_export.cli import backend_options
from mlp_export.cli.backend_options import chosen_options, with_backend_options
from mlp_export.errors import UsageError


def test_what_is_not_given_is_the_backends_own() -> None:
    assert chosen_options("xnnpack", {"kv_cache": None, "soc": None, "compiled_model": False}) == [XnnpackOptions()]
    assert chosen_options("xnnpack", {"kv_cache": "fp32"}) == [XnnpackOptions("fp32")]
    asked = {"compute_unit": "cpu_only", "deployment_target": "ios18", "compiled_model": True, "kv_cache": "fp16"}
    assert chosen_options("coreml", asked) == [CoremlOptions("cpu_only", "ios18", True)]


def test_a_chip_given_twice_makes_two_programs() -> None:
    assert chosen_options("qnn", {"soc": ["sm8650", "sm8750"]}) == [QnnOptions("sm8650"), QnnOptions("sm8750")]
    assert [options.repeated for options in chosen_options("qnn", {"soc": []})] == ["sm8750"]


@pytest.mark.parametrize(
    ("backend", "given", "says", "hint"),
    [
        ("qnn", {"soc": ["sm8560"]}, "--soc sm8560 with --backend qnn", "sm8650"),
        ("qnn", {"soc": ["sm8750", "x"]}, "--soc x with", "choose one of: sm8750, sm8650"),
        ("qnn", {"kv_cache": "fp32"}, "--kv-cache fp32 with --backend qnn", "int8"),
        ("xnnpack", {"soc": ["sm8650"]}, "--soc sm8650 with --backend xnnpack", "it is for --backend qnn"),
        ("xnnpack", {"compute_unit": "all"}, "--compute-unit all with --backend xnnpack", "it is for --backend coreml"),
        ("qnn", {"deployment_target": "ios18"}, "--deployment-target ios18 with", "it is for --backend coreml"),
        ("qnn", {"compiled_model": True}, "--compiled-model with --backend qnn", "it is for --backend coreml"),
        ("qnm", {}, "no backend 'qnm'", "did you mean qnn"),
        ("opencl", {}, "no backend 'opencl'", "choose one of: "),
    ],
)
def test_values_that_are_no_choice(backend: str, given: dict[str, Any], says: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        chosen_options(backend, given)
    assert says in raised.value.message and hint in raised.value.hint


def test_options_of_another_backend_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="QnnOptions, expected XnnpackOptions"):
        check_options(get_delegate("xnnpack"), QnnOptions())


def test_a_new_backend_brings_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the command line is written anew for a delegate with a choice of its own."""

    @dataclass(frozen=True)
    class OpenclOptions(BackendOptions):
        tile: str = option("wide", "how weights are tiled", choices=("wide", "tall"))

    found: dict[str, Delegate] = {**delegates(), "opencl": replace(get_delegate("xnnpack"), options=OpenclOptions)}
    for module in (base, backend_options):
        monkeypatch.setattr(module, "delegates", lambda: found)

    given: list[dict[str, Any]] = []

    @with_backend_options
    def command(backend: str, **own: Any) -> None:
        given.append(own)

    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    told = " ".join(CliRunner().invoke(app, ["--help"]).output.split())
    assert "opencl: how weights are tiled (wide if not given)." in told
    assert CliRunner().invoke(app, ["opencl", "--tile", "tall"]).exit_code == 0
    assert CliRunner().invoke(app, ["opencl", "--tile", "low"]).exit_code == 2
    assert [own["tile"] for own in given] == ["tall"] and {"soc", "kv_cache"} <= set(given[0])
    assert chosen_options("opencl", {"tile": "tall"}) == [OpenclOptions("tall")]
    with pytest.raises(UsageError, match="--tile tall with --backend qnn"):
        chosen_options("qnn", {"tile": "tall"})
