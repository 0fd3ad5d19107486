"""XNNPACK files whose constants a phone build frees while they are still read: told, whoever wrote them."""

import errno
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from artifacts import compatibility_issues, export_model, small_model
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema
from executorch.exir import to_edge_transform_and_lower
from typer.testing import CliRunner

from mlp_export.backends.xnnpack import payload as payload_module
from mlp_export.backends.xnnpack import program as program_module
from mlp_export.backends.xnnpack.payload import BACKEND_ID, NAMED_OFFSET, parse_payloads, weight_keys
from mlp_export.backends.xnnpack.subgraph import Subgraph, Value
from mlp_export.bundle.bundle import Bundle
from mlp_export.cli.app import app
from mlp_export.devices.push import push
from mlp_export.errors import InputError, MissingError, MlpExportError, ResourceError
from mlp_export.evaluation.inspect_artifact import inspect_artifact
from mlp_export.program.executorch_private import serialize_pte_binary
from mlp_export.program.layout import tensor_bytes
from mlp_export.program.pte import mapped, read_layout
from mlp_export.progress import Progress
from mlp_export.verification.verify import verify_bundle

QUIET = Progress()
REFUSAL = "constants that XNNPACK reads at each call stand in named data"


def named_constant(self: Subgraph, tensor: torch.Tensor) -> Value:
    """As releases before format 2 of the manifest stored them."""
    data = tensor_bytes(tensor.float())
    self._store.add_named_data(name := f"constant.{len(self._constants)}", data, alignment=64)
    self._constants.append(schema.ConstantDataOffset(NAMED_OFFSET, len(data), name))
    return self._value(tensor.shape, constant=len(self._constants) - 1)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    """One as this release writes it, one as an earlier one did, one whose payload is a segment of its own."""
    folder = tmp_path_factory.mktemp("bundles")
    model = small_model(folder)

    def export(name: str) -> Bundle:
        return export_model(model, folder / name)

    def outside(pte: object, extract_delegate_segments: bool) -> object:
        return serialize_pte_binary(pte, extract_delegate_segments=True)

    with pytest.MonkeyPatch.context() as patch:
        made = {"now": export("now")}
        patch.setattr(program_module, "serialize_pte_binary", outside)
        made["segment"] = export("segment")
        patch.setattr(Subgraph, "constant", named_constant)
        made["old"] = export("old")
    return made


def test_this_releases_files_have_nothing_to_refuse(bundles: dict[str, Bundle]) -> None:
    assert inspect_artifact(bundles["now"].pte).compatibility_issues == []


def test_only_quantized_weights_are_named_data(bundles: dict[str, Bundle]) -> None:
    with mapped(bundles["now"].pte) as data:
        layout = read_layout(data)
        (where,) = layout.payloads[BACKEND_ID]
        (payload,) = parse_payloads([data[where.offset : where.offset + where.size]])
    assert where.inline and len(payload.kept_constants()) > 10
    assert not any(constant.get("named_key") for constant in payload.kept_constants())
    names = {key.partition("@")[0] for key in layout.named_data}
    scales = {name for name in names if name.endswith(".scales")}
    assert scales and scales == {f"{name}.scales" for name in names - scales}


@pytest.mark.parametrize(("name", "said"), [("old", REFUSAL), ("segment", "a payload outside the program")])
def test_inspect_refuses(bundles: dict[str, Bundle], name: str, said: str) -> None:
    (told,) = inspect_artifact(bundles[name].pte).compatibility_issues
    assert said in told
    for path in (bundles[name].pte, bundles[name].path):
        result = CliRunner().invoke(app, ["inspect", str(path), "--json"])
        assert result.exit_code == 3 and told in result.stderr and "export it again" in result.stderr
        assert json.loads(result.stdout)["compatibility_issues"] == [told]


def test_verify_fails(bundles: dict[str, Bundle]) -> None:
    report = verify_bundle(bundles["old"].path, None, QUIET)
    assert not report.passed
    assert [check.name for check in report.checks if not check.passed] == ["structure"]
    assert REFUSAL in next(check.detail for check in report.checks if check.name == "structure")
    assert verify_bundle(bundles["now"].path, None, QUIET).passed


def test_run_answers_and_warns(bundles: dict[str, Bundle]) -> None:
    for name, warned in (("old", True), ("now", False)):
        result = CliRunner().invoke(app, ["run", str(bundles[name].path), "--prompt", "Hello", "--max-new-tokens", "2"])
        assert result.exit_code == 0 and (REFUSAL in result.stderr) == warned, result.stderr


def test_push_refuses(bundles: dict[str, Bundle]) -> None:
    with pytest.raises(InputError, match=REFUSAL):
        push(bundles["old"], QUIET)


def foreign(module: torch.nn.Module, path: Path) -> Path:
    """A file by ExecuTorch's own exporter."""
    exported = torch.export.export(module.eval(), (torch.rand(1, 8, 4, 8),))
    path.write_bytes(to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch().buffer)
    return path


def test_anybodys_file(tmp_path: Path) -> None:
    """Its PReLU was the operator that ExecuTorch's own fault was found with."""
    (told,) = compatibility_issues("xnnpack", foreign(torch.nn.PReLU(8), tmp_path / "prelu.pte"))
    assert told.startswith(f"1 {REFUSAL}")
    with pytest.raises(InputError, match=REFUSAL):  # no text model either, but that is not why a phone crashes
        inspect_artifact(tmp_path / "prelu.pte")
    assert compatibility_issues("xnnpack", foreign(torch.nn.Linear(8, 4), tmp_path / "linear.pte")) == []


def test_a_damaged_payload(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    path = Path(shutil.copy(bundles["now"].pte, tmp_path / "model.pte"))
    with mapped(path) as data:
        (where,) = read_layout(data).payloads[BACKEND_ID]
    whole = bytearray(path.read_bytes())
    whole[where.offset : where.offset + where.size] = bytes(where.size)
    path.write_bytes(whole)
    with pytest.raises(InputError, match="payload is damaged"):
        compatibility_issues("xnnpack", path)


def test_keys_of_weights_are_of_their_content() -> None:
    """A phone's weights cache tells weights apart by the key of their codes alone."""
    keys = weight_keys("layers.0.q", b"codes", b"scales")
    assert keys == weight_keys("layers.0.q", b"codes", b"scales")
    assert (
        keys[0]
        != weight_keys("layers.0.q", b"codes", b"other!")[0]
        != weight_keys("layers.0.q", b"other", b"scales")[0]
    )
    assert keys[0].startswith("layers.0.q@") and keys[1].startswith("layers.0.q.scales@")


@pytest.mark.parametrize("gone", [False, True])
def test_a_disk_that_fails_is_no_damage(gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It became read-only, or the folder was removed, while flatc ran: it fails alike, or does not notice."""

    def fail(options: list[str]) -> None:
        if gone:
            shutil.rmtree(options[options.index("-o") + 1])
            return
        refuse = OSError(errno.EROFS, os.strerror(errno.EROFS), options[options.index("-o") + 1] + "/probe")
        monkeypatch.setattr(Path, "write_bytes", Mock(side_effect=refuse))
        raise subprocess.CalledProcessError(1, "flatc")

    monkeypatch.setattr(payload_module, "run_flatc", fail)
    said = "No such file" if gone else "Read-only file system"
    with pytest.raises(MissingError, match=f"temporary files cannot be written at .*: {said}"):
        parse_payloads([b"x" * 100])


@pytest.mark.parametrize(
    ("free", "later", "code", "kind", "said"),
    [
        (799, 799, 1, ResourceError, "needs 800 B for temporary files, 799 B are free"),
        (800, 600, 1, ResourceError, "needs 700 B for temporary files, 600 B are free"),  # 100 B were written
        (800, 700, 1, InputError, "damaged"),
        (800, 700, -signal.SIGXFSZ, ResourceError, "no space left for temporary files .*File too large"),
    ],
)
def test_a_full_disk_is_no_damage(
    free: int, later: int, code: int, kind: type[MlpExportError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """flatc fails alike for both."""

    def fail(options: list[str]) -> None:
        (Path(options[options.index("-o") + 1]) / "0.json").write_bytes(b"x" * 100)
        monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=later))
        raise subprocess.CalledProcessError(code, "flatc")

    monkeypatch.setattr(payload_module, "run_flatc", fail)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=free))
    with pytest.raises(kind, match=said):
        parse_payloads([b"x" * 100])
