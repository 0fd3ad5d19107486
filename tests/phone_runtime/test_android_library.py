"""Exported programs on the library that an Android app ships: react-native-executorch 0.9.3's, about ExecuTorch 1.3.

Its runtime frees every named constant once the model is loaded, whatever the settings. The x86-64 build runs as it is,
the arm64 build emulated; both through a shim of Android's C library.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from phone_runtime import android_runner, forms
from phone_runtime.tools import ARM_COMPILER, ARM_CPUS, build_poison, emulated, near_x86, poisoned, same

from android_demo.tools.fetch import ANDROID
from mlp_export.runtime.native_runner import LoadMode, NativeRunError, Runner, RunnerOptions, load

MODES: tuple[LoadMode, ...] = ("file", "mmap")
FORMS = [form for form in forms.FORMS if form.runtime == "1.3"]


@pytest.fixture(scope="module")
def x86(needs: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Runner:
    package = needs("g++", "npm", ANDROID) / ANDROID / "package"
    folder = tmp_path_factory.mktemp("x86_64")
    runner = Runner(android_runner.build(package, "x86_64", ["g++"], folder))
    return poisoned(runner, build_poison(["g++"], folder))


@pytest.fixture(scope="module")
def arm64(needs: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Runner:
    package = needs("qemu-aarch64-static", "aarch64-linux-gnu-g++", "npm", ANDROID) / ANDROID / "package"
    folder = tmp_path_factory.mktemp("arm64")
    runner = Runner(android_runner.build(package, "arm64-v8a", ARM_COMPILER, folder))
    return poisoned(runner, build_poison(ARM_COMPILER, folder))


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_form_gives_the_python_runtimes_bits_on_x86(x86: Runner, form: forms.Form) -> None:
    path = forms.exported(form)
    expected = forms.python_logits(path)
    for mode in MODES:
        assert same(x86.run([load(path), *forms.call_lines()], RunnerOptions(mode, threads=2)).logits, expected), mode


@pytest.mark.parametrize("cpu", ARM_CPUS)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_form_gives_the_same_bits_in_every_mode_on_arm64(arm64: Runner, form: forms.Form, cpu: str) -> None:
    path = forms.exported(form)
    script = [load(path), *forms.call_lines()]
    mapped, read = [emulated(arm64, cpu).run(script, RunnerOptions(mode, threads=2)).logits for mode in MODES]
    assert same(mapped, read)
    assert near_x86(mapped, forms.python_logits(path))


@pytest.mark.parametrize("machine", ["x86", "arm64"])
def test_a_float_constant_in_named_data_breaks(request: pytest.FixtureRequest, tmp_path: Path, machine: str) -> None:
    """The negative control: what `--runtime 1.3` files did here before their constants stood in the program."""
    runner = request.getfixturevalue(machine)
    runner = emulated(runner, "i8mm") if machine == "arm64" else runner
    path = tmp_path / "factor.pte"
    forms.tiny_program(path, forms.factor_in_named_data, inline=False)
    assert all(logits.isfinite().all() for logits in forms.tiny_logits(path))  # on 1.5.1, without the weights cache
    script = [load(path), *forms.call_lines()]
    assert runner.run(script, RunnerOptions("file", threads=2)).logits[0].isnan().all()
    with pytest.raises(NativeRunError, match="killed by SIGSEGV after load"):
        runner.run(script, RunnerOptions("mmap", threads=2))
