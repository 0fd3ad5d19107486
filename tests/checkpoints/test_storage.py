"""Errors of disks and connections under the caches, and folders whose files are not what they seem."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from small_checkpoints import write_checkpoint

from mlp_export.checkpoints.checkpoint import read_checkpoint
from mlp_export.checkpoints.local_folder import check_folder
from mlp_export.checkpoints.safetensors_folder import Stored, open_error, read
from mlp_export.checkpoints.storage import make_cache, storage_errors
from mlp_export.errors import InputError, MissingError, ResourceError
from mlp_export.text.tokenizer import Tokenizer

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), ResourceError, "no space left"),
        (OSError(errno.EFBIG, "File too large"), ResourceError, "no space left"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory"), MissingError, "cannot write the cache: Not a directory"),
        (OSError(errno.ENAMETOOLONG, "File name too long"), MissingError, "cannot write the cache"),
        (OSError(errno.ELOOP, "Too many levels"), MissingError, "cannot write the cache"),
        (OSError(errno.EIO, "Input/output error"), MissingError, "the cache failed"),
        (OSError(errno.EMFILE, "Too many open files"), MissingError, "Too many open files"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset"), MissingError, "the network failed: Connection"),
        (TimeoutError("timed out"), MissingError, "the network failed: timed out"),
        (TimeoutError(errno.ETIMEDOUT, "timed out", "/nfs/x"), MissingError, "the cache failed: timed out"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), BrokenPipeError, "Broken pipe"),  # stdout or stderr was closed
        (socket.gaierror(-2, "Name or service not known"), MissingError, "the network failed: Name"),
        (ssl.SSLError(1, "certificate verify failed"), MissingError, "the network failed: certificate"),
    ],
)
def test_errors_of_the_system_are_told(error: OSError, kind: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=said), storage_errors(tmp_path):
        raise error


def test_a_cache_that_cannot_be_made(tmp_path: Path) -> None:
    make_cache(tmp_path / "deep" / "cache")
    assert (tmp_path / "deep" / "cache").is_dir()
    (tmp_path / "file").write_text("x")
    for wrong in (tmp_path / "file", tmp_path / "file" / "cache", tmp_path / ("x" * 300)):
        with pytest.raises(MissingError, match="cannot write the cache"):
            make_cache(wrong)


@pytest.mark.parametrize(
    "name", ["tokenizer_config.json", "chat_template.jinja", "config.json", "model.safetensors", "a.safetensors"]
)
def test_a_link_to_nothing_is_no_file_that_was_never_there(name: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "llama", num_hidden_layers=1)
    for other in ("README.md", "trainer_state.json", "pytorch_model.bin.index.json"):  # which nobody reads
        (folder / other).symlink_to("nowhere")
    assert check_folder(folder) == folder
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("../blobs/abc")
    with pytest.raises(InputError, match=rf"{name} is a link to \.\./blobs/abc, which is not there"):
        check_folder(folder)


def test_a_folder_that_may_be_listed_and_not_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, real = write_checkpoint(tmp_path / "m", "llama", num_hidden_layers=1), os.stat

    def stat(path: Any, **options: Any) -> os.stat_result:
        if str(path).startswith(f"{folder}/"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, **options)

    monkeypatch.setattr(os, "stat", stat)
    with pytest.raises(InputError, match=r"cannot read .*: Permission denied"):
        check_folder(folder)


def test_why_a_file_cannot_be_opened(tmp_path: Path) -> None:
    """safetensors calls each of these missing."""
    (tmp_path / "loop").symlink_to("loop")
    for name, said in (
        ("loop", "Too many levels of symbolic links"),
        ("none", "No such file"),
        ("x" * 300, "too long"),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            load_file(tmp_path / name)
        told = open_error(tmp_path / name, caught.value)
        assert said in str(told) and told.filename == str(tmp_path / name)
        with pytest.raises(InputError, match=f"cannot read .*: .*{said}"):
            read(Stored(tmp_path / name, "a", (1, 1), "BF16"))
    (tmp_path / "there").touch()
    other = FileNotFoundError("of something else")
    assert open_error(tmp_path / "there", other) is other


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer_config.json"])
def test_pointers_of_git_lfs_are_named(name: str, tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "m", "llama", num_hidden_layers=1)
    (folder / name).write_text(POINTER)
    with pytest.raises(InputError, match=rf"{name} is a pointer of Git LFS") as refused:
        read_checkpoint(folder)
    assert "git lfs pull" in refused.value.hint


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer.model"])
def test_tokenizers_that_are_pointers_of_git_lfs(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(POINTER)
    with pytest.raises(InputError, match=rf"{name} is a pointer of Git LFS"):
        Tokenizer.from_folder(tmp_path)


def test_half_a_surrogate_pair(tmp_path: Path) -> None:
    """JSON can spell it; no file in UTF-8, such as a manifest, can hold it."""
    folder = write_checkpoint(tmp_path / "m", "llama", num_hidden_layers=1)
    (folder / "tokenizer_config.json").write_text(r'{"pad_token": "\ud83d\ude00"}')
    read_checkpoint(folder)
    (folder / "tokenizer_config.json").write_text(r'{"pad_token": "\ud83d"}')
    with pytest.raises(InputError, match="half a surrogate pair"):
        read_checkpoint(folder)
