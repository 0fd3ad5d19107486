"""Which tests `make quick` runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from affected import FOLDERS, ROOT, affected, changed_files

FILES = {
    "mlp_export/__init__.py": "",
    "mlp_export/low.py": "",
    "mlp_export/lazy.py": "def later():\n    from mlp_export import low\n",
    "mlp_export/top.py": "import mlp_export.lazy\n",
    "backends/base.py": 'def get(name):\n    return import_module(f"mlp_export.backends.{name}.backend")\n',
    "backends/one/backend.py": "",
    "tests/helper.py": "from mlp_export.top import anything\n",
    "tests/room/test_low.py": "from mlp_export.low import anything\n",
    "tests/room/test_top.py": 'import helper\n\nDOCUMENT = "manual.md"\n',
    "tests/room/test_table.py": 'TABLE = {"later": "mlp_export.lazy"}\n',
    "tests/room/test_backends.py": "from mlp_export.backends.base import get\n",
    "tests/room/test_alone.py": "",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "tests"),
    [
        ("mlp_export/low.py", ["low", "table", "top"]),
        ("mlp_export/lazy.py", ["table", "top"]),
        ("mlp_export/top.py", ["top"]),
        ("tests/helper.py", ["top"]),
        ("tests/room/test_alone.py", ["alone"]),
        ("backends/one/backend.py", ["backends"]),
        ("docs/manual.md", ["top"]),
        ("docs/other.md", []),
    ],
)
def test_tests_by_their_distance(tree: Path, changed: str, tests: list[str]) -> None:
    assert affected(tree, [changed]) == [f"tests/room/test_{name}.py" for name in tests]


def test_nearer_tests_come_first(tree: Path) -> None:
    (tree / "tests/room/test_a.py").write_text("from mlp_export import top\n")
    (tree / "tests/room/test_z.py").write_text("from mlp_export import lazy\n")
    found = [Path(test).stem for test in affected(tree, ["mlp_export/lazy.py"])]
    assert found == ["test_table", "test_z", "test_a", "test_top"]


def test_changes_are_those_of_the_branch_and_those_not_committed(tree: Path) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", *identity, *arguments], cwd=tree, check=True, capture_output=True)

    git("init", "--initial-branch", "main")
    git("add", ".")
    git("commit", "--message", "first")
    git("checkout", "-b", "branch")
    (tree / "mlp_export/low.py").write_text("1\n")
    git("commit", "--all", "--message", "second")
    (tree / "mlp_export/top.py").write_text("2\n")
    (tree / "mlp_export/new file.py").write_text("3\n")
    assert sorted(changed_files(tree, "main")) == ["mlp_export/low.py", "mlp_export/new file.py", "mlp_export/top.py"]
    assert sorted(changed_files(tree, "HEAD")) == ["mlp_export/new file.py", "mlp_export/top.py"]


def test_this_repository() -> None:
    assert all((ROOT / folder).is_dir() for folder in FOLDERS)
    assert affected(ROOT, ["tests/affected.py"]) == ["tests/test_affected.py"]
    near = affected(ROOT, ["backends/qnn/targets.py"])
    assert near[0] == "tests/backends/test_qnn.py" and "tests/test_pipeline.py" in near


@pytest.mark.parametrize(("limit", "result"), [("0", "8 skipped"), ("600", "8 passed")])
def test_what_would_start_too_late_is_skipped_with_a_reason(limit: str, result: str) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--time-limit", limit]
    command += [__file__, "-k", "by_their_distance"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert result in done.stdout and done.returncode == 0, done.stdout + done.stderr
    assert ("not within 0 s" in done.stdout) == (limit == "0")
