"""The public API: what `import mlp_export` offers, its page in the docs, and the examples that use it."""

from __future__ import annotations

import pkgutil
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from fake_backend import FakeSession, successors, write_bundle
from small_checkpoints import EOT, write_checkpoint

import mlp_export
from mlp_export.runtime.loaded_model import LoadedModel

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_import_loads_nothing_heavy_and_every_name_is_there() -> None:
    script = """
import sys, mlp_export
print(mlp_export.__version__, mlp_export.errors.UsageError.exit_code, "export" in dir(mlp_export))
print([name for name in ("torch", "executorch", "transformers", "numpy", "rich", "typer") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{version('mlp-export')} 2 True\n[]\n", "")
    for name in mlp_export.__all__:
        assert getattr(mlp_export, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'exprot'"):
        mlp_export.exprot  # noqa: B018


def test_no_name_hides_a_module() -> None:
    """A module of the name would take its place as soon as something imports it."""
    modules = {module.name for module in pkgutil.iter_modules(mlp_export.__path__)}
    assert {"errors", "models", "pipeline"} <= modules
    assert modules & set(mlp_export.__all__) == {"errors"}  # which is the module


def test_names_are_the_same_for_the_type_checker() -> None:
    """The imports that mypy sees and the table that Python uses say the same."""
    import ast

    tree = ast.parse((ROOT / "mlp_export/__init__.py").read_text())
    (seen,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    typed = {
        alias.asname or alias.name: (f"{node.module}:{alias.name}")
        for node in seen.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    table = {}
    for name, place in mlp_export._DEFINED_IN.items():
        module, _, other = place.partition(":")
        table[name] = f"mlp_export.{module}:{other or name}"
    assert typed == table


def test_py_typed_is_there() -> None:
    assert (ROOT / "mlp_export/py.typed").is_file()


def test_the_api_page_is_current(tmp_path: Path) -> None:
    script = runpy.run_path(str(ROOT / "docs/make_api_reference.py"))
    assert script["reference"]() == (ROOT / "docs/api.md").read_text(encoding="utf-8"), "run docs/make_api_reference.py"


# A loaded model


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(successors(f"\nHello world{EOT}"), context=128)


def loaded(tmp_path: Path, session: FakeSession, **changes: Any) -> LoadedModel:
    bundle = write_bundle(tmp_path / "b", **changes)
    return LoadedModel(bundle, session, bundle.tokenizer())


def test_a_loaded_model_answers_and_converses(tmp_path: Path, session: FakeSession) -> None:
    model = loaded(tmp_path, session)
    assert (model.context, model.prefill_chunk, model.vocab_size) == (128, 8, 320)
    assert model.generate("Hi").text == "Hello world"
    pieces: list[str] = []
    conversation = model.chat(max_new_tokens=3)
    assert conversation.ask("Hi", pieces.append).text == "".join(pieces) == "Hello world"[: len("".join(pieces))]
    assert conversation.ask("And?").prompt_tokens < model.generate("And?").prompt_tokens + 10  # not fed again


def test_forward_is_the_session_s(tmp_path: Path, session: FakeSession) -> None:
    model = loaded(tmp_path, session)
    (newline,) = model.tokenizer.encode("\n", bos=False, special=False)
    logits = model.forward([newline], 0)
    assert model.tokenizer.decode([int(logits.argmax())]) == "Hello"
    assert session.calls == [(1, 0)]
    with pytest.raises(mlp_export.InputError):
        model.forward([newline] * 9, 0)


def test_what_a_loaded_model_refuses(tmp_path: Path, session: FakeSession) -> None:
    model = loaded(tmp_path, session, chat=False)
    for call in (
        model.chat,
        lambda: model.generate("Hi", max_new_tokens=0),
        lambda: model.generate("Hi", temperature=2),
    ):
        with pytest.raises(mlp_export.UsageError):
            call()
    for prompt in ("x" * 200, "\udcff"):
        with pytest.raises(mlp_export.InputError):
            model.generate(prompt)
    assert session.calls == []


def test_load_refuses_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(mlp_export.InputError, match="does not exist, expected the folder of a bundle"):
        mlp_export.load(str(tmp_path / "none"))


# Examples


def example(name: str, *arguments: str | Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(ROOT / "examples" / name)
    monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
    runpy.run_path(path, run_name="__main__")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("examples")


def test_export_and_run(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_checkpoint(folder / "model", kind="int4-cpu")
    example("export_and_run.py", folder / "model", folder / "bundle", monkeypatch=monkeypatch)
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert (
        lines[0].startswith("model: 1.1 MB") and "verified: " in said.out and "16 tokens, ended by length" in said.out
    )
    assert "read the checkpoint: " in said.err


def test_the_other_examples_on_that_bundle(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (folder / "bundle").exists():
        test_export_and_run(folder, monkeypatch, capsys)
    with pytest.raises(SystemExit) as ended:
        example("verify_bundle.py", folder / "bundle", folder / "model", monkeypatch=monkeypatch)
    said = capsys.readouterr().out
    assert ended.value.code == 0, said
    assert "XnnpackBackend: " in said and said.count("passed  ") > 5 and "FAILED" not in said
    example("rank_answers.py", folder / "bundle", "A text", " one", " two", monkeypatch=monkeypatch)
    scores = [float(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert len(scores) == 2 and 0 > scores[0] >= scores[1]


def test_quantize_finetune(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_checkpoint(folder / "finetune")
    example("quantize_finetune.py", model, folder / "mine", ROOT / "README.md", monkeypatch=monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert "int4-g32" in lines[0] and "weights as quantized, 4096 tokens" in lines[1]


def test_an_example_shows_errors_as_a_person_reads_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(SystemExit, match=r"config.json.*\nhint: "):
        example("export_and_run.py", folder / "empty", folder / "out", monkeypatch=monkeypatch)


def test_every_example_is_run_here_and_in_the_readme() -> None:
    source, readme = Path(__file__).read_text(), (ROOT / "examples/README.md").read_text()
    assert len(EXAMPLES) == 4
    for path in EXAMPLES:
        assert f'"{path.name}"' in source and f"({path.name})" in readme
