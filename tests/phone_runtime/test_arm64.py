"""Exported programs on Arm code: ExecuTorch's aarch64 wheel, emulated, with the kernels that three kinds of CPU get."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from phone_runtime import forms
from phone_runtime.tools import ARM_COMPILER, ARM_CPUS, build_poison, emulated, near_x86, poisoned, same

from android_demo.tools.fetch import ARM_SDK
from mlp_export.runtime.native_runner import NativeRunError, Runner, RunnerOptions, Sdk, build_runner, load

SETTINGS = [
    RunnerOptions("file", weights_cache=False, threads=2),
    RunnerOptions("file", weights_cache=True, threads=2),
    RunnerOptions("mmap", weights_cache=False, threads=2),
    RunnerOptions("mmap", weights_cache=True, threads=2),
    RunnerOptions("mlock-ignore-errors", weights_cache=True, threads=2),
]


@pytest.fixture(scope="module")
def plain(needs: Callable[..., Path]) -> Runner:
    folder = needs("qemu-aarch64-static", "aarch64-linux-gnu-g++", ARM_SDK)
    return build_runner(Sdk(folder / ARM_SDK / "executorch", ARM_COMPILER, "backend_xnnpack"), folder)


@pytest.fixture(scope="module")
def runner(plain: Runner, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return poisoned(plain, build_poison(ARM_COMPILER, tmp_path_factory.mktemp("poison")))


def test_the_emulated_cpus_have_the_features_that_kernels_are_chosen_by(plain: Runner, tmp_path: Path) -> None:
    source, program = tmp_path / "features.c", tmp_path / "features"
    source.write_text(
        "#include <stdio.h>\n#include <sys/auxv.h>\n"
        'int main(void) { printf("%d%d%d", (int)(getauxval(AT_HWCAP) >> 22 & 1), (int)(getauxval(AT_HWCAP) >> 20 & 1),'
        " (int)(getauxval(AT_HWCAP2) >> 13 & 1)); }\n"
    )
    subprocess.run([*ARM_COMPILER, "-x", "c", source, "-o", program], check=True)
    found = {
        cpu: subprocess.run([*emulated(plain, cpu).prefix, program], check=True, capture_output=True, text=True).stdout
        for cpu in ARM_CPUS
    }
    assert found == {"i8mm": "011", "dotprod": "010", "neon": "000"}  # SVE, dotprod, i8mm


@pytest.mark.parametrize("cpu", ARM_CPUS)
@pytest.mark.parametrize("form", forms.FORMS, ids=str)
def test_a_form_gives_the_same_bits_in_every_setting(runner: Runner, form: forms.Form, cpu: str) -> None:
    path = forms.exported(form)
    script = [load(path), *forms.call_lines()]
    first, *others = [emulated(runner, cpu).run(script, options).logits for options in SETTINGS]
    assert [same(found, first) for found in others] == [True] * len(others)
    assert near_x86(first, forms.python_logits(path))


@pytest.mark.parametrize("cpu", ARM_CPUS)
def test_a_float_constant_in_named_data_breaks(runner: Runner, tmp_path: Path, cpu: str) -> None:
    """The negative control."""
    path = tmp_path / "factor.pte"
    forms.tiny_program(path, forms.factor_in_named_data, inline=False)
    script = [load(path), *forms.call_lines()]
    arm = emulated(runner, cpu)
    assert torch.cat(arm.run(script, SETTINGS[2]).logits).isfinite().all()
    assert arm.run(script, SETTINGS[1]).logits[0].isnan().all()
    with pytest.raises(NativeRunError, match="killed by SIGSEGV after load"):
        arm.run(script, SETTINGS[3])
