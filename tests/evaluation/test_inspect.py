"""What `inspect` reads out of files, and the files it refuses."""

from __future__ import annotations

import json
import random
import zipfile
from pathlib import Path

import pytest
import torch
from bigram import write_bigram
from executorch.exir import to_edge
from fake_backend import CONFIG, successors, write_bundle
from small_checkpoints import BOS_ID, EOS_ID, EOT_ID, VOCAB_SIZE
from typer.testing import CliRunner

from mlp_export.bundle.bundle import Bundle
from mlp_export.cli.app import app
from mlp_export.errors import InputError
from mlp_export.evaluation.inspect_artifact import inspect_artifact

# What scripts rely on
KEYS = """
    backend target context prefill_chunk file_bytes kv_cache_bytes kv_scale_bytes tied_weights_stored_once methods
    delegates operators quantization
""".split()
CONSTANT_METHODS = """
    enable_dynamic_shape get_bos_id get_eos_ids get_max_context_len get_max_seq_len get_vocab_size use_kv_cache
    use_sdpa_with_kv_cache
""".split()


@pytest.fixture(scope="module")
def pte(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inspect") / "model.pte"
    return write_bigram(path, successors("AB"), vocab_size=VOCAB_SIZE, eos_ids=[EOS_ID, EOT_ID], context=48)


@pytest.fixture(scope="module")
def bundle(pte: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("inspect") / "b", pte.read_bytes(), context=48)


@pytest.fixture(scope="module")
def other_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.pte` with methods that no text runner knows."""

    class Double(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + x

    exported = torch.export.export(Double(), (torch.ones(2),))
    program = to_edge({"encode": exported, "decode": exported}).to_executorch()
    path = tmp_path_factory.mktemp("inspect") / "other.pte"
    path.write_bytes(program.buffer)
    return path


# What is found


def test_a_bare_program(pte: Path) -> None:
    found = inspect_artifact(pte)
    assert (found.context, found.prefill_chunk, found.vocab_size) == (48, 8, VOCAB_SIZE)
    assert (found.bos_id, found.eos_ids) == (BOS_ID, [EOS_ID, EOT_ID])
    assert found.methods == sorted(["forward", *CONSTANT_METHODS])
    assert found.operators == sorted(found.operators) and "aten::embedding" in found.operators
    assert (found.delegates, found.backend, found.target, found.model) == ({}, None, None, None)
    assert (found.kv_cache_bytes, found.kv_scale_bytes, found.quantization["kv_cache"]) == (0, 0, None)
    assert found.tied_weights_stored_once is False
    assert found.file_bytes == pte.stat().st_size


def test_segments_are_spans_of_the_file(pte: Path) -> None:
    found = inspect_artifact(pte)
    table = 4 * VOCAB_SIZE * VOCAB_SIZE
    assert [segment.name for segment in found.segments] == ["program", "constants"]
    assert table <= found.segments[1].bytes < table + 1000
    assert sum(segment.bytes for segment in found.segments) <= found.file_bytes
    assert not any(segment.shared for segment in found.segments)


def test_a_bundle_tells_what_its_manifest_adds(bundle: Bundle) -> None:
    found = inspect_artifact(bundle.path)
    assert (found.backend, found.target) == ("xnnpack", None)
    assert found.quantization["scheme"] == "int4-g32" and "embedding" in found.quantization
    assert found.runtimes == {"executorch": "1.5"}
    assert found.model is not None
    assert (found.model["id"], found.model["parameters"]) == ("owner/model", CONFIG.num_parameters)
    assert found.methods == inspect_artifact(bundle.pte).methods
    assert found.file_bytes == bundle.pte.stat().st_size


def test_json_has_the_keys_that_scripts_rely_on(bundle: Bundle, pte: Path) -> None:
    for path in (bundle.path, pte):
        values = inspect_artifact(path).to_json()
        assert set(KEYS) <= set(values)
        assert json.loads(json.dumps(values, allow_nan=False)) == values
        assert isinstance(values["delegates"], dict) and isinstance(values["operators"], list)


def test_the_summary_adds_up_segments(pte: Path) -> None:
    found = inspect_artifact(pte)
    assert found.summary()["segments"] == {segment.name: segment.bytes for segment in found.segments}
    assert set(found.summary()) == set(found.to_json())


# What is refused


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "model.pte").touch()
    with pytest.raises(InputError, match="is empty"):
        inspect_artifact(tmp_path / "model.pte")


@pytest.mark.parametrize("length", [1, 5, 6, 8, 31, 39, 40, 63, 64, 65, 1000, 5000, -4096, -1])
def test_a_file_that_is_cut_short(pte: Path, tmp_path: Path, length: int) -> None:
    (tmp_path / "model.pte").write_bytes(pte.read_bytes()[:length])
    with pytest.raises(InputError) as caught:
        inspect_artifact(tmp_path / "model.pte")
    if not 0 < length < 64:
        assert "cut short" in caught.value.message


def test_damage_in_the_tables_is_an_input_error_or_goes_unseen(pte: Path, tmp_path: Path) -> None:
    data, tables = pte.read_bytes(), inspect_artifact(pte).segments[0].bytes
    generator = random.Random(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(data)
        for _ in range(3):
            damaged[generator.randrange(64, tables)] = generator.randrange(256)
        (tmp_path / "model.pte").write_bytes(damaged)
        try:
            inspect_artifact(tmp_path / "model.pte")
        except InputError:
            refused += 1
    assert refused > 0


@pytest.mark.parametrize("kind", ["zip", "text", "safetensors", "zeros"])
def test_another_kind_of_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.pte"
    if kind == "zip":  # as torch.save writes
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("data.pkl", b"x" * 100)
    else:
        path.write_bytes(
            {"text": b"hello " * 50, "safetensors": b"\x08" + bytes(7) + b"{}" * 99, "zeros": bytes(999)}[kind]
        )
    with pytest.raises(InputError, match="not an ExecuTorch program"):
        inspect_artifact(path)


def test_a_program_that_is_no_text_model(other_program: Path) -> None:
    with pytest.raises(InputError, match="not a text model: its methods are decode, encode"):
        inspect_artifact(other_program)


def test_paths_that_are_neither(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none.pte", "No such file"),
        (tmp_path, "not a bundle"),
        (tmp_path / "manifest.json", "does not exist"),
    ):
        with pytest.raises(InputError, match=said):
            inspect_artifact(path)


def test_a_bundle_is_checked_first(bundle: Bundle, tmp_path: Path) -> None:
    damaged = write_bundle(tmp_path / "b", bundle.pte.read_bytes())
    data = bytearray(damaged.pte.read_bytes())
    data[-1] ^= 1
    damaged.pte.write_bytes(data)
    with pytest.raises(InputError, match="sha256"):
        inspect_artifact(damaged.path)


# On the command line


def test_the_command_prints_json(bundle: Bundle) -> None:
    done = CliRunner().invoke(app, ["inspect", str(bundle.path), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == inspect_artifact(bundle.path).to_json()


def test_the_command_prints_a_table(pte: Path) -> None:
    done = CliRunner().invoke(app, ["inspect", str(pte)])
    assert done.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if not line.startswith(" ")}
    assert (rows["context"], rows["eos_ids"], rows["model"]) == (["48"], ["301"], ["-"])


def test_the_command_exits_with_3(other_program: Path, pte: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.pte").touch()
    (tmp_path / "cut.pte").write_bytes(pte.read_bytes()[:9999])
    for path in (other_program, tmp_path / "empty.pte", tmp_path / "cut.pte", tmp_path / "none.pte", tmp_path):
        done = CliRunner().invoke(app, ["inspect", str(path)])
        assert (done.exit_code, done.stdout) == (3, "")
        assert done.stderr.startswith("error: ") and "\nhint: " in done.stderr
