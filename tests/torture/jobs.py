"""What is disturbed: exports, `quantize`, `push` and `verify` of small random models, as command lines in a box."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from fake_adb import FakePhone
from fake_backend import write_bundle
from small_checkpoints import small_tokenizer, write_checkpoint
from small_gguf import write_gguf
from torture.box import Box

import mlp_export.backends.xnnpack.lower as lower
import mlp_export.pipeline as pipeline
from mlp_export.checkpoints import resolve
from mlp_export.checkpoints.catalog import KnownModel
from mlp_export.checkpoints.package_index import Wheel
from mlp_export.checkpoints.packaged import PackagedModel
from mlp_export.devices.push import push as push_bundle
from mlp_export.models.license import GEMMA
from mlp_export.progress import Progress

TOKENS = 2048  # of the calibration text: as few as are taken
PIECE_BYTES = 16_384  # of a push: the bundle has seven of them
_SIZES = ["--context", "64", "--prefill-chunk", "16"]
_NEAREST = ["--quantizer", "nearest"]
_LICENSE = ["--accept-license", "gemma"]


@dataclass(frozen=True)
class Job:
    """A command. `result` is the path in the box at which there is all or nothing of what it makes."""

    name: str
    verb: str  # what the figures call it
    arguments: Callable[[Box], list[str]]
    result: str
    prepare: Callable[[Box], object] = lambda box: None

    @property
    def startable(self) -> bool:
        """Whether it can be a new process, in which nothing is replaced."""
        return self.verb != "push" and not any(word in self.name for word in ("download", "GPTQ"))

    @property
    def needs_free_target(self) -> bool:
        """Whether it is refused where there is something already."""
        return self.result == "out/b" and "over" not in self.name and self.verb != "verify"


@dataclass(frozen=True)
class Programs:
    """Programs that were emitted before, as files in `folder`: without torch.export an export takes seconds."""

    folder: Path

    def emit(self, *given: Any) -> _Emitted:
        """In place of `emit_program`."""
        config, *sizes, _, subgraph = given
        key = f"{config} {sizes} {hashlib.sha256(subgraph.serialize()[0]).hexdigest()}"
        file = self.folder / hashlib.sha256(key.encode()).hexdigest()
        if not file.is_file():
            unfinished = file.with_suffix(f".{os.getpid()}")
            with unfinished.open("wb") as target:
                _EMIT(*given).write_to_file(target)
            unfinished.rename(file)
        return _Emitted(file.read_bytes())


_EMIT = lower.emit_program


@dataclass(frozen=True)
class _Emitted:
    data: bytes

    def write_to_file(self, file: BinaryIO) -> None:
        file.write(self.data)


@dataclass(frozen=True)
class Material:
    """What the jobs need, made once in `root`: a checkpoint, its bundle, wheels of a packaged model, and programs."""

    root: Path
    packaged: PackagedModel
    wheels: dict[str, bytes]
    programs: Programs

    def jobs(self) -> list[Job]:
        """All there are."""
        model, bundle = str(self.root / "model"), self.root / "bundle"

        def export(*more: str) -> Callable[[Box], list[str]]:
            return lambda box: ["--backend", "xnnpack", *_SIZES, "--out", str(box.out), *more]

        def quantize(*more: str) -> Callable[[Box], list[str]]:
            given = ["quantize", model, "--calibration-tokens", str(TOKENS)]
            return lambda box: [*given, "--out", str(box.out), *more]

        def older_on_the_phone(box: Box) -> None:
            there = box.root / "phone/device/bundle"
            shutil.copytree(bundle, there)
            (there / "LICENSE").write_text("another")

        return [
            Job("export", "export", export("--model", model, *_NEAREST), "out/b"),
            Job(
                "export over a bundle",
                "export",
                export("--model", model, *_NEAREST, "--overwrite"),
                "out/b",
                lambda box: write_bundle(box.out),
            ),
            Job("export by GPTQ", "export", export("--model", model, "--no-verify"), "out/b"),
            Job(
                "export of a download",
                "export",
                export("--model", "demo", *_LICENSE, *_NEAREST, "--no-verify"),
                "out/b",
            ),
            Job("quantize", "quantize", quantize(), "out/b"),
            Job("quantize to gguf", "quantize", quantize("--format", "gguf"), "out/b"),
            Job("push", "push", lambda box: ["push", str(bundle)], "phone/device/bundle"),
            Job(
                "push over a bundle",
                "push",
                lambda box: ["push", str(bundle)],
                "phone/device/bundle",
                older_on_the_phone,
            ),
            Job(
                "verify",
                "verify",
                lambda box: ["verify", str(box.out), "--model", model],
                "out/b",
                lambda box: shutil.copytree(bundle, box.out),
            ),
        ]


def make_material(root: Path) -> Material:
    """Write the material into `root`, which is a new folder."""
    model = write_checkpoint(root / "model", "llama", num_hidden_layers=2, seed=1)
    tokenizer = small_tokenizer()
    tokenizer.model.ignore_merges = False  # as GPT-2's, which gguf has
    tokenizer.save(str(model / "tokenizer.json"))
    programs = Programs(root / "programs")
    programs.folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lower, "emit_program", programs.emit)
        asked = pipeline.ExportOptions(
            "xnnpack", str(model), root / "bundle", 64, 16, quantizer="nearest", verify=False
        )
        pipeline.export(asked, Progress())
    wheels, packaged = _packaged_model(root)
    return Material(root, packaged, wheels, programs)


def _packaged_model(root: Path) -> tuple[dict[str, bytes], PackagedModel]:
    """A model in two wheels, to take the place of the demo."""
    small = write_gguf(root / "model.gguf")
    data = small.file.read_bytes()
    files = {}
    for number, part in enumerate((data[: len(data) // 2], data[len(data) // 2 :])):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr(f"data/part{number}", part)
        files[f"small-{number}.whl"] = buffer.getvalue()
    wheels = tuple(
        Wheel("small", str(number), name, len(wheel), hashlib.sha256(wheel).hexdigest())
        for number, (name, wheel) in enumerate(files.items())
    )
    model = PackagedModel(
        alias="demo",
        description="a small model",
        id="owner/small",
        wheels=wheels,
        gguf=("data/part0", "data/part1"),
        gguf_sha256=hashlib.sha256(data).hexdigest(),
        license=GEMMA,
        config=small.config,
        folder_name="small-1",
        note="",
    )
    return files, model


def enter(material: Material, box: Box, index: str, patch: pytest.MonkeyPatch) -> None:
    """Make this process one of a run in `box`: environment, packaged model, programs, a phone. `index` is a URL."""
    for name, value in environment(box, index).items():
        patch.setenv(name, value)
    demo = KnownModel("demo", "a small model", GEMMA, packaged=material.packaged)
    patch.setattr(resolve, "find_alias", lambda name: demo if name == "demo" else None)
    patch.setattr(lower, "emit_program", material.programs.emit)
    patch.setattr(pipeline, "CALIBRATION_TOKENS", TOKENS)
    phone = FakePhone(box.root / "phone", patch)
    defaults = {"device_folder": str(phone.folder), "piece_bytes": PIECE_BYTES}
    patch.setattr(push_bundle, "__kwdefaults__", {**(push_bundle.__kwdefaults__ or {}), **defaults})


def environment(box: Box, index: str) -> dict[str, str]:
    """Variables that keep a run in its box."""
    return {
        "TMPDIR": str(box.root / "tmp"),
        "HOME": str(box.root / "home"),
        "XDG_CACHE_HOME": str(box.root / "cache"),
        "XDG_STATE_HOME": str(box.root / "state"),
        "PIP_INDEX_URL": index,
        "PIP_FIND_LINKS": "",
    }
