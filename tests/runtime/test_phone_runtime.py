"""Exported programs in a bare C++ process with a phone's settings: the logits are the Python runtime's, bit for bit.

The Android and Apple builds of ExecuTorch turn on XNNPACK's weights cache and map the file; the desktop wheel, and so
every other test, does neither. `phone_runtime/poison.c` makes memory that was given back unusable, so that a use of it
shows each time. The same on Arm code, and on an Android library: `make test-phone`.
"""

from __future__ import annotations

import itertools
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from artifacts import QUIET, small_model
from phone_runtime import forms
from phone_runtime.tools import build_poison, poisoned, same
from small_checkpoints import config_json

from mlp_export.backends.base import BuildOptions, get_backend
from mlp_export.backends.xnnpack.lower import lower
from mlp_export.backends.xnnpack.options import XnnpackOptions
from mlp_export.errors import MissingError, UsageError
from mlp_export.models.families import config_from_json
from mlp_export.models.quantized_weight import WeightFormat
from mlp_export.quantization.scheme import GROUP_SIZE, Scheme
from mlp_export.runtime.native_runner import (
    FUNCTION_SCHEMA_BYTES,
    MEMORY,
    SOURCES,
    UNLOAD,
    LoadMode,
    NativeRunError,
    Runner,
    RunnerOptions,
    Sdk,
    build_runner,
    call,
    find_compiler,
    host_sdk,
    load,
    use,
)

MODES: tuple[LoadMode, ...] = ("file", "mmap", "mlock-ignore-errors")
SETTINGS = [RunnerOptions(mode, cache, threads=2) for mode, cache in itertools.product(MODES, (False, True))]
PHONE = RunnerOptions("mmap", weights_cache=True, threads=2)


@pytest.fixture(scope="module")
def plain() -> Runner:
    return build_runner(host_sdk("backend_xnnpack"))


@pytest.fixture(scope="module")
def runner(plain: Runner, tmp_path_factory: pytest.TempPathFactory) -> Runner:
    return poisoned(plain, build_poison(host_sdk("backend_xnnpack").compiler, tmp_path_factory.mktemp("poison")))


@pytest.mark.parametrize("form", forms.FORMS, ids=str)
def test_a_form_gives_the_python_runtimes_bits_with_a_phones_settings(runner: Runner, form: forms.Form) -> None:
    path = forms.exported(form)
    expected = forms.python_logits(path)
    assert not torch.equal(expected[0], expected[1]) and expected[0].isfinite().all()
    wrong = []
    for options in SETTINGS:
        try:
            ended = "" if same(runner.run([load(path), *forms.call_lines()], options).logits, expected) else "logits"
        except NativeRunError as error:
            ended = error.message
        if ended:
            wrong.append((options.load_mode, options.weights_cache, ended))
    assert not wrong


# Programs of one delegate


@pytest.mark.parametrize("biased", [False, True], ids=["no-bias", "bias"])
@pytest.mark.parametrize(
    "form", [WeightFormat(4, GROUP_SIZE), WeightFormat(4, None), WeightFormat(8, None)], ids=lambda s: s.name
)
def test_a_linear_alone_is_right_with_the_weights_cache(
    runner: Runner, tmp_path: Path, form: WeightFormat, biased: bool
) -> None:
    path = tmp_path / "linear.pte"
    forms.tiny_program(path, forms.linear(form, biased), inline=True)
    expected = forms.tiny_logits(path)
    # ExecuTorch's issue 18946: a linear without a bias under the weights cache.
    for options in SETTINGS:
        assert same(runner.run([load(path), *forms.call_lines()], options).logits, expected), options


@pytest.mark.parametrize(
    ("emit", "inline", "without_cache"),
    [
        (forms.factor_in_named_data, False, True),
        (forms.factor_in_the_payload, False, False),
        (forms.factor_in_the_payload, True, True),
    ],
    ids=["named-data", "payload-in-a-segment", "payload-in-the-program"],
)
def test_where_a_float_constant_stands_decides_whether_it_is_read_after_it_was_freed(
    runner: Runner, tmp_path: Path, emit: forms.Emit, inline: bool, without_cache: bool
) -> None:
    """The negative control of everything here: what the tests of forms see if such a constant comes back."""
    path, right = tmp_path / "factor.pte", tmp_path / "right.pte"
    forms.tiny_program(path, emit, inline)
    forms.tiny_program(right, forms.factor_in_the_payload, inline=True)
    expected = forms.tiny_logits(right)
    script = [load(path), *forms.call_lines()]
    for options in SETTINGS:
        if inline or (without_cache and not options.weights_cache):
            assert same(runner.run(script, options).logits, expected), options
        elif options.load_mode == "file":
            assert runner.run(script, options).logits[0].isnan().all()  # what poison.c leaves in freed blocks
        else:
            with pytest.raises(NativeRunError, match="killed by SIGSEGV after load") as raised:
                runner.run(script, options)
            assert raised.value.signal == "SIGSEGV" and raised.value.done == 1


# Several programs in one process


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, list[torch.Tensor]]]:
    """Two programs of one shape with other weights, and their logits."""

    def write(seed: int) -> Path:
        def lower_it(path: Path) -> None:
            folder = tmp_path_factory.mktemp(f"seed-{seed}")
            model = small_model(folder, "llama", num_hidden_layers=2, seed=seed)
            lower(model, BuildOptions(forms.CONTEXT, forms.CHUNK, XnnpackOptions()), path, QUIET)

        return forms.cached(f"llama-seed-{seed}.pte", lower_it)

    paths = [write(1), write(2)]
    return [(path, forms.python_logits(path)) for path in paths]


@pytest.mark.parametrize("cache", [False, True], ids=["no-cache", "weights-cache"])
def test_a_model_loaded_after_another_was_let_go_is_right(
    runner: Runner, two_models: list[tuple[Path, list[torch.Tensor]]], cache: bool
) -> None:
    (first, expected), (second, others) = two_models
    assert not torch.equal(expected[0], others[0])
    script = [load(first), *forms.call_lines(), UNLOAD, load(second), *forms.call_lines(), UNLOAD]
    script += [load(first), *forms.call_lines()]
    found = runner.run(script, replace(PHONE, weights_cache=cache)).logits
    assert same(found, expected + others + expected)


@pytest.mark.parametrize("cache", [False, True], ids=["no-cache", "weights-cache"])
def test_two_models_loaded_at_once_keep_their_own_weights(
    runner: Runner, two_models: list[tuple[Path, list[torch.Tensor]]], cache: bool
) -> None:
    """XNNPACK's weights cache is one for the process, and finds packed weights by the names that a file gives them."""
    (first, expected), (second, others) = two_models
    script = [load(first), load(second)]
    for line in forms.call_lines():  # by turns
        script += [use(0), line, use(1), line]
    found = runner.run(script, replace(PHONE, weights_cache=cache)).logits
    assert same(found[0::2], expected)
    assert same(found[1::2], others)


# Packed weights in a file


def test_packed_weights_are_written_once_and_mapped_later(plain: Runner, tmp_path: Path) -> None:
    path = forms.exported(forms.FORMS[0])
    expected = forms.python_logits(path)
    packed = tmp_path / "packed"
    script = [load(path), MEMORY, *forms.call_lines()]
    options = replace(PHONE, packed_cache=packed)
    first = plain.run(script, options)
    written = packed.read_bytes()
    second = plain.run(script, options)
    without = plain.run(script, PHONE)
    assert same(first.logits, expected) and same(second.logits, expected) and same(without.logits, expected)
    assert packed.read_bytes() == written
    assert second.memory[0].anonymous_bytes < without.memory[0].anonymous_bytes


def test_packed_weights_of_another_model_are_not_taken(
    plain: Runner, two_models: list[tuple[Path, list[torch.Tensor]]], tmp_path: Path
) -> None:
    (first, expected), (second, others) = two_models
    packed = tmp_path / "packed"
    options = replace(PHONE, packed_cache=packed)
    assert same(plain.run([load(first), *forms.call_lines()], options).logits, expected)
    written = packed.read_bytes()
    assert same(plain.run([load(second), *forms.call_lines()], options).logits, others)
    assert (
        packed.read_bytes() == written
    )  # so the second model has no use of the file: one for each version of a bundle
    assert same(plain.run([load(first), *forms.call_lines()], options).logits, expected)


def test_an_app_can_turn_packed_weights_on_for_classes_that_cannot_ask(plain: Runner, tmp_path: Path) -> None:
    """`native/packed_cache.h`, in a library that is loaded before the model, as an app's JNI function would call it."""
    packed, source, library = tmp_path / "packed", tmp_path / "hook.cpp", tmp_path / "libhook.so"
    source.write_text(
        '#include "packed_cache.h"\n'
        f'static const bool used = mlp_export::use_packed_cache("{packed}") || (std::abort(), false);\n'
        f'static const bool refused = mlp_export::use_packed_cache("/{"x" * 255}") && (std::abort(), true);\n'
    )
    sdk = host_sdk("backend_xnnpack")
    flags = [f"-I{SOURCES}", *sdk.compile_flags(), "-shared", "-fPIC"]
    subprocess.run([*sdk.compiler, *flags, "-o", library, source], check=True)
    hooked = replace(plain, arguments=(*plain.arguments, "--ops", str(library)))
    path = forms.exported(forms.FORMS[0])
    expected = forms.python_logits(path)
    script = [load(path), MEMORY, *forms.call_lines()]
    plainly = RunnerOptions("mmap", threads=2, load_options=False)  # as those classes load a model
    assert same(hooked.run(script, plainly).logits, expected)
    written = packed.read_bytes()
    again, without = hooked.run(script, plainly), plain.run(script, plainly)
    assert same(again.logits, expected) and same(without.logits, expected)
    assert packed.read_bytes() == written
    assert again.memory[0].anonymous_bytes < without.memory[0].anonymous_bytes


# What the runner and its build say


def test_the_runner_reports_memory_and_times(plain: Runner) -> None:
    path = forms.exported(forms.FORMS[0])
    run = plain.run([MEMORY, load(path), MEMORY, call([1, 2], 0), MEMORY], RunnerOptions("file"))
    before, loaded, called = run.memory
    assert len(run.load_s) == len(run.call_s) == len(run.logits) == 1 and min(run.load_s + run.call_s) > 0
    for memory in run.memory:
        assert memory.resident_bytes == memory.anonymous_bytes + memory.file_bytes
        assert memory.peak_bytes >= memory.resident_bytes * 0.9  # the kernel's counter may lag
    # The file is read into the heap, and packed beside that.
    assert loaded.anonymous_bytes - before.anonymous_bytes > path.stat().st_size
    assert called.resident_bytes > loaded.resident_bytes


def test_what_is_wrong_is_said_in_a_line(plain: Runner, tmp_path: Path) -> None:
    path = forms.exported(forms.FORMS[0])
    for script, message in (
        (["dance"], "exit code 2 before the first event: runner: unknown command: dance"),
        ([call([1], 0)], "exit code 2 .* no program is loaded"),
        ([load(path), "call 0"], r"exit code 2 after load \(1 events\): runner: no tokens"),
        ([load(tmp_path / "none.pte")], "exit code 3 before the first event: runner: load .*none.pte: error 0x"),
        ([load(path), call([1] * (forms.CHUNK + 1), 0)], "exit code 4 after load"),
        ([load(path), call([1], forms.CONTEXT)], "exit code 4 after load"),  # as an app that overruns the context
        ([load(path), call([1, 1], forms.CONTEXT - 1)], "exit code 4 after load"),
    ):
        with pytest.raises(NativeRunError, match=message) as raised:
            plain.run(script)
        assert raised.value.signal == ""
    with pytest.raises(NativeRunError, match="longer than the runtime takes"):
        plain.run([MEMORY], RunnerOptions(packed_cache=Path("/" + "x" * 300)))
    with pytest.raises(UsageError, match="line break"):
        load(Path("a\nb.pte"))


def test_a_wheel_without_the_sdk_is_refused(tmp_path: Path) -> None:
    sdk = Sdk(tmp_path / "executorch", host_sdk("backend_xnnpack").compiler, "backend_xnnpack")
    with pytest.raises(MissingError, match=r"has no whole C\+\+ SDK: 10 of 10 files are missing") as raised:
        build_runner(sdk, tmp_path / "cache")
    assert "pip install" in raised.value.hint
    for name in ("include", "lib"):
        (tmp_path / "executorch").mkdir(exist_ok=True)
        (tmp_path / "executorch" / name).symlink_to(host_sdk("backend_xnnpack").root / name)
    with pytest.raises(MissingError, match="1 of 10 files are missing, extension/llm/custom_ops"):
        build_runner(sdk, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_no_compiler_is_said_with_the_command_that_installs_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler() == ""
    with pytest.raises(MissingError, match=r"no C\+\+ compiler was found") as raised:
        host_sdk("backend_xnnpack")
    assert raised.value.hint == "sudo apt-get install g++"


def test_a_compiler_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    broken = tmp_path / "c++"
    broken.write_text("#!/bin/sh\ncase $1 in --version) echo 1;; *) echo 'x.cpp: error: no' >&2; exit 3;; esac\n")
    broken.chmod(0o755)
    with pytest.raises(MissingError, match=r"failed with exit code 3: x\.cpp: error: no"):
        build_runner(Sdk(host_sdk("backend_xnnpack").root, [str(broken)], "backend_xnnpack"), tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "native").iterdir()] == ["build.lock"]


def test_the_stub_of_pytorch_returns_schemas_of_the_right_size(tmp_path: Path) -> None:
    include = Path(torch.__file__).parent / "include"
    source = tmp_path / "size.cpp"
    source.write_text(
        "#include <ATen/core/function_schema.h>\n"
        f"static_assert(sizeof(c10::FunctionSchema) == {FUNCTION_SCHEMA_BYTES});\n"
    )
    flags = ["-std=c++20", "-fsyntax-only", "-w", f"-I{include}", f"-I{include / 'torch/csrc/api/include'}"]
    subprocess.run([*host_sdk("backend_xnnpack").compiler, *flags, source], check=True)
    source.write_text(source.read_text().replace(str(FUNCTION_SCHEMA_BYTES), str(FUNCTION_SCHEMA_BYTES + 8)))
    assert subprocess.run([*host_sdk("backend_xnnpack").compiler, *flags, source], capture_output=True).returncode


def test_the_plan_counts_weights_as_xnnpack_packs_them() -> None:
    """Of a mapped file the embedding's pages are the system's to drop: an untied one takes no more memory."""
    compiler, options = get_backend("xnnpack").compiler, BuildOptions(2048, 128, XnnpackOptions())
    tied, untied = (config_from_json(config_json(tied=tied, vocab_size=32_000)) for tied in (True, False))
    scheme = Scheme(4, GROUP_SIZE)
    one, two = compiler.plan(tied, scheme, options), compiler.plan(untied, scheme, options)
    assert two.file_bytes > one.file_bytes
    assert two.device_ram_bytes == one.device_ram_bytes
