from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_backend import PROGRAM, manifest, write_bundle

import mlp_export.folder_writer as folder_writer_module
from mlp_export.bundle.bundle import Bundle, BundleWriter, bundle_errors, check_target
from mlp_export.bundle.manifest import BundleError, BundleProblem, Manifest
from mlp_export.errors import InputError, MissingError, ResourceError, UsageError


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def edit(bundle: Bundle, **changes: object) -> None:
    path = bundle.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# What is written can be read


def test_round_trip(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "deep" / "bundle")
    read = Bundle.open(tmp_path / "deep" / "bundle")
    assert read.manifest == written.manifest
    assert read.manifest.to_json() == json.loads((read.path / "manifest.json").read_text())
    assert Manifest.from_json(read.manifest.to_json()) == read.manifest
    assert read.manifest.files["model.pte"].bytes == len(PROGRAM)
    assert read.tokenizer().encode("Hello", bos=True, special=False)[0] == 300
    assert left_in(tmp_path / "deep") == ["bundle"]


def test_a_bundle_without_chat_and_with_verification(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer:
        for name in ("model.pte", "tokenizer.json", "LICENSE"):
            (writer.folder / name).write_text("x")
        first = writer.write_manifest(manifest(chat=False))
        assert first.path == writer.folder
        assert first.manifest.verification is None
        writer.write_manifest(replace(first.manifest, verification={"passed": True}))
        published = writer.publish()
    assert published == Bundle.open(tmp_path / "b")
    assert published.manifest.chat is None
    assert published.manifest.verification == {"passed": True}


def test_a_manifest_of_format_1_is_read(tmp_path: Path) -> None:
    written = write_bundle(tmp_path / "b").manifest
    old = written.to_json()
    old["format"] = 1
    old["backend"]["least_runtime"] = old["backend"].pop("min_runtime")
    assert Manifest.from_json(old) == written and "least_runtime" in old["backend"]
    old["backend"]["min_runtime"] = old["backend"].pop("least_runtime")
    with pytest.raises(InputError, match="format"):
        Manifest.from_json(old)


# What is damaged is refused


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 3}, "format 3"),
        ({"format": "1"}, "format '1'"),
        ({"context": 0}, r"context: .* greater than or equal to 1, found 0"),
        ({"context": "2048"}, r"context: .* valid integer, found '2048'"),
        ({"model": {}}, r"model\.id: the key is missing"),
        ({"extra": 1}, "extra: an unknown key"),
        ({"chat": {"bos": ""}}, r"chat\.system_prefix: the key is missing"),
        ({"files": {}}, r"files: model\.pte is not among them"),
        ({"verification": {"passed": 1}}, r"verification\.passed: .* valid boolean, found 1"),
    ],
)
def test_a_manifest_that_does_not_fit_the_schema(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    edit(write_bundle(tmp_path / "b"), **changes)
    with pytest.raises(InputError, match=said):
        Bundle.open(tmp_path / "b")


@pytest.mark.parametrize("depth", [150, 250, 900, 1_100, 100_000])
def test_a_manifest_that_is_nested_deeply(tmp_path: Path, depth: int) -> None:
    bundle = write_bundle(tmp_path / "b")
    text = (bundle.path / "manifest.json").read_text()
    text = text.replace('"quantization": {', '"quantization": {"more": ' + "[" * depth + "]" * depth + ", ")
    (bundle.path / "manifest.json").write_text(text)
    if depth < 200:
        assert "more" in Bundle.open(bundle.path).manifest.quantization
    else:
        with pytest.raises(BundleError) as caught:
            Bundle.open(bundle.path)
        assert caught.value.problem == BundleProblem.DAMAGED_MANIFEST


def test_numbers_that_no_double_holds(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    text = (bundle.path / "manifest.json").read_text()
    for number, said in (("1e400", "1e400 is not a number"), ("NaN", "NaN is not a number")):
        (bundle.path / "manifest.json").write_text(
            text.replace('"quantization": {', f'"quantization": {{"x": {number}, ')
        )
        with pytest.raises(InputError, match=said):
            Bundle.open(bundle.path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": NaN}', '{"model": 1}', "\ufeff{}"])
def test_a_manifest_that_is_none(tmp_path: Path, text: str) -> None:
    bundle = write_bundle(tmp_path / "b")
    (bundle.path / "manifest.json").write_text(text)
    with pytest.raises(InputError):
        Bundle.open(bundle.path)


@pytest.mark.parametrize(
    "name",
    ["../x", "..", "a/b", "a\\b", "/etc/passwd", "", ".hidden", "a..b", "manifest.json", "a\n", "a\0b", "C:x"],
)
def test_names_that_lead_elsewhere(tmp_path: Path, name: str) -> None:
    bundle = write_bundle(tmp_path / "b")
    values = bundle.manifest.to_json()
    edit(bundle, files={**values["files"], name: {"bytes": 0, "sha256": "0" * 64}})
    with pytest.raises(InputError, match="files"):
        Bundle.open(bundle.path)


def test_files_that_are_not_what_the_manifest_says(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    bundle.pte.write_bytes(PROGRAM[:-1] + b"x")
    with pytest.raises(InputError, match="sha256"):
        Bundle.open(bundle.path)
    Bundle.open(bundle.path, hashes=False)
    bundle.pte.write_bytes(PROGRAM + b"longer")
    with pytest.raises(InputError, match=f"{len(PROGRAM) + 6} bytes, the manifest says {len(PROGRAM)}"):
        Bundle.open(bundle.path, hashes=False)
    bundle.pte.unlink()
    with pytest.raises(InputError, match="is missing"):
        Bundle.open(bundle.path)
    (tmp_path / "outside").write_bytes(b"a program")
    bundle.pte.symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="symbolic link"):
        Bundle.open(bundle.path)


def test_a_tokenizer_file_outside_the_checked_ones(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    edit(bundle, tokenizer={**bundle.manifest.to_json()["tokenizer"], "files": ["other.json"]})
    with pytest.raises(InputError, match=r"other\.json"):
        Bundle.open(bundle.path)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Bundle.open(tmp_path / "none")
    with pytest.raises(InputError, match="not a bundle"):
        Bundle.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file"):
        Bundle.open(tmp_path / "file")


# Targets


def test_an_existing_bundle_needs_overwrite(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", b"old")
    with pytest.raises(UsageError, match="exists already"):
        BundleWriter(tmp_path / "b")
    write_bundle(tmp_path / "b", b"new", overwrite=True)
    assert Bundle.open(tmp_path / "b").pte.read_bytes() == b"new"
    assert left_in(tmp_path) == ["b"]


def test_without_an_exchange_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_writer_module, "_exchange", lambda left, right: False)
    write_bundle(tmp_path / "b", b"old")
    write_bundle(tmp_path / "b", b"new", overwrite=True)
    assert Bundle.open(tmp_path / "b").pte.read_bytes() == b"new"
    assert left_in(tmp_path) == ["b"]


def test_an_old_bundle_that_was_moved_away_is_put_back(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", b"old").path.rename(tmp_path / ".b.old-1-00000000")
    with pytest.raises(RuntimeError), BundleWriter(tmp_path / "b", overwrite=True):
        assert Bundle.open(tmp_path / "b").pte.read_bytes() == b"old"
        raise RuntimeError
    assert left_in(tmp_path) == ["b"]


def test_only_bundles_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious").touch()
    (tmp_path / "file").touch()
    for target in (tmp_path / "home", tmp_path / "file"):
        with pytest.raises(UsageError):
            BundleWriter(target, overwrite=True)
    (tmp_path / "empty").mkdir()
    write_bundle(tmp_path / "empty")
    assert Bundle.open(tmp_path / "empty")


def test_a_target_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"), BundleWriter(tmp_path / "b") as writer:
        for name in ("model.pte", "tokenizer.json", "LICENSE"):
            (writer.folder / name).write_text("mine")
        writer.write_manifest(manifest())
        os.rename(write_bundle(tmp_path / "other", b"theirs").path, tmp_path / "b")
        writer.publish()
    assert Bundle.open(tmp_path / "b").pte.read_bytes() == b"theirs"
    assert left_in(tmp_path) == ["b"]


# Failures leave nothing


@pytest.mark.parametrize("error", [RuntimeError(), KeyboardInterrupt(), SystemExit(143), InputError("failed")])
def test_a_failure_before_publish_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), BundleWriter(tmp_path / "b") as writer:
        (writer.folder / "model.pte").touch()
        raise error
    assert left_in(tmp_path) == []


def test_leaving_without_publish_leaves_nothing(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "b") as writer, pytest.raises(ValueError, match="write_manifest"):
        writer.publish()
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, ResourceError),
        (errno.EDQUOT, ResourceError),
        (errno.EFBIG, ResourceError),
        (errno.EACCES, MissingError),
        (errno.EROFS, MissingError),
        (errno.EPIPE, BrokenPipeError),
        (errno.ENOENT, FileNotFoundError),
    ],
)
def test_errors_of_the_disk(tmp_path: Path, number: int, kind: type[Exception]) -> None:
    with pytest.raises(kind), BundleWriter(tmp_path / "b"):
        raise OSError(number, os.strerror(number))
    assert left_in(tmp_path) == []


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """RLIMIT_FSIZE ends a write as a full disk would, in a process of its own."""
    script = f"""
        import resource, signal
        from pathlib import Path
        from mlp_export.bundle.bundle import BundleWriter
        from mlp_export.errors import ResourceError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            with BundleWriter(Path({str(tmp_path / "b")!r})) as writer:
                (writer.folder / "model.pte").write_bytes(bytes(100_000))
        except ResourceError as error:
            print(error.exit_code)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], env=_environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "5"
    assert left_in(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(MissingError, match="Permission denied"), BundleWriter(tmp_path / "b"):
        pass


def test_a_parent_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError), BundleWriter(tmp_path / "file" / "b"):
        pass


def test_a_bundle_that_goes_away_while_it_is_read(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b")
    bundle.pte.unlink()
    with (
        pytest.raises(BundleError, match=r"cannot read .*model\.pte: No such file") as caught,
        bundle_errors(bundle.path),
    ):
        bundle.pte.stat()
    assert caught.value.problem == BundleProblem.UNREADABLE
    with pytest.raises(BundleError, match="Input/output error"), bundle_errors(bundle.path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(FileNotFoundError), bundle_errors(bundle.path):  # not the bundle's
        (tmp_path / "elsewhere").stat()
    with pytest.raises(OSError, match="No space"), bundle_errors(bundle.path):  # of a write, which names no file
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# Killed runs

# It takes tokenizer and manifest from a bundle, and so does without torch, which takes seconds to load.
_WRITER = """
import shutil, sys, time
from pathlib import Path
from mlp_export.bundle.bundle import Bundle, BundleWriter
target, fill, pause = Path(sys.argv[1]), sys.argv[2].encode(), float(sys.argv[3])
source = Bundle.open(Path(sys.argv[4]))
print("ready", flush=True)
while True:
    with BundleWriter(target, overwrite=True) as writer:
        print("begun", flush=True)
        (writer.folder / "model.pte").write_bytes(fill * 200_000)
        time.sleep(pause)
        (writer.folder / "LICENSE").write_text("text")
        shutil.copy(source.path / "tokenizer.json", writer.folder)
        writer.write_manifest(source.manifest)
        writer.publish()
"""


def _environment() -> dict[str, str]:
    here = Path(__file__).parents[1]
    return {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "OMP_NUM_THREADS": "1"}


def _start(target: Path, fill: str, source: Bundle, pause: float = 0.0) -> subprocess.Popen[str]:
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(target), fill, str(pause), str(source.path)],
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    return writer


def _kill(writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert writer.stdout is not None
    writer.stdout.close()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tmp_path_factory.mktemp("source") / "b")


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("delay", [0.0, 0.003, 0.011, 0.029])
def test_kill_9_at_some_moment(tmp_path: Path, source: Bundle, delay: float, existing: bool) -> None:
    """A writer that publishes over and over is killed: the target is a whole bundle, or nothing if there was none."""
    target = tmp_path / "b"
    if existing:
        write_bundle(target, b"old" * 10)
    writer = _start(target, "n", source)
    time.sleep(delay)
    _kill(writer)
    if existing or target.exists():
        found = Bundle.open(target).pte.read_bytes()
        assert found in ((b"old" * 10, b"n" * 200_000) if existing else (b"n" * 200_000,))
    write_bundle(target, b"rerun", overwrite=True)
    assert Bundle.open(target).pte.read_bytes() == b"rerun"
    assert left_in(tmp_path) == ["b"]


def test_a_killed_run_leaves_no_bundle_and_a_rerun_cleans_up(tmp_path: Path, source: Bundle) -> None:
    writer = _start(tmp_path / "b", "n", source, pause=60)
    assert writer.stdout is not None
    writer.stdout.readline()
    _kill(writer)
    (leftover,) = left_in(tmp_path)
    assert leftover.startswith(".b.tmp-")
    write_bundle(tmp_path / "b")
    assert left_in(tmp_path) == ["b"]


def test_a_running_export_is_left_alone(tmp_path: Path, source: Bundle) -> None:
    writer = _start(tmp_path / "b", "n", source, pause=60)
    assert writer.stdout is not None
    writer.stdout.readline()
    try:
        write_bundle(tmp_path / "b")
        write_bundle(tmp_path / "b-2")
        (running,) = [name for name in left_in(tmp_path) if name.startswith(".")]
        assert (tmp_path / running / "model.pte").exists()
    finally:
        _kill(writer)


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in (".b.tmp-x", ".b.tmp-1-zz", ".bb.tmp-1-00000000", "b.tmp-1-00000000"):
        (tmp_path / name).mkdir()
    write_bundle(tmp_path / "b")
    assert len(left_in(tmp_path)) == 5


@pytest.mark.parametrize("bind", [False, True])
def test_a_mount_point_is_refused_before_any_work(tmp_path: Path, bind: bool) -> None:
    """As `docker run -v` makes them; a bind mount of the same disk has the device of its parent."""
    target, source = tmp_path / "out", tmp_path / "source"
    target.mkdir()
    source.mkdir()
    mount = f"mount --bind {source} {target}" if bind else f"mount -t tmpfs tmpfs {target}"
    check = f"""
from pathlib import Path
from mlp_export.bundle.bundle import check_target
from mlp_export.errors import UsageError
check_target(Path({str(target / "inside")!r}), False)
for overwrite in (False, True):
    try:
        check_target(Path({str(target)!r}), overwrite)
    except UsageError as error:
        print(error.message, error.hint)
"""
    lay = ["unshare", "-m", "sh", "-c", f'{mount} && exec "$0" -c "$1"', sys.executable, check]
    if subprocess.run([*lay[:3], "-c", mount], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    done = subprocess.run(lay, env=_environment(), capture_output=True, text=True)
    assert done.stdout.count("is a mount point") == 2 and f"--out {target / 'NAME'}" in done.stdout, done.stderr
    check_target(target, False)  # without the mount


def test_a_folder_that_may_not_be_written_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_target(tmp_path / "a/b/out", False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write anywhere
    with pytest.raises(MissingError, match=f"cannot write {tmp_path}: Permission denied"):
        check_target(tmp_path / "a/b/out", False)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"caf\xe9", b"\xff"):
        with pytest.raises(UsageError, match=r"\\x(e9|ff) is not valid UTF-8"):
            check_target(tmp_path / os.fsdecode(name), False)
        with pytest.raises(UsageError, match="is not valid UTF-8"):
            check_target(tmp_path / os.fsdecode(name) / "out", False)
        with pytest.raises(InputError, match="is not valid UTF-8"):
            Bundle.open(tmp_path / os.fsdecode(name))
    check_target(tmp_path / "café", False)
    with pytest.raises(InputError, match="does not exist"):
        Bundle.open(tmp_path / "café")


def test_which_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary, target = tmp_path / "tmp", tmp_path / "out"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def told(file: Path | None) -> str:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *([] if file is None else [str(file)]))
        with pytest.raises(ResourceError) as caught, BundleWriter(target):
            raise error
        return caught.value.message

    assert f"temporary files at {temporary}" in told(temporary / "x.bin")
    assert "temporary" not in told(target.parent / ".out.tmp-1-00000000/model.pte")
    assert "temporary" not in told(None)  # one disk
    if not os.path.isdir("/dev/shm"):
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        monkeypatch.setattr(tempfile, "tempdir", other)
        assert f"{target}, or temporary files at {other}" in told(None)  # another disk, and nobody knows which


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EXDEV, errno.EIO, errno.ESTALE, errno.ELOOP])
def test_other_errors_of_a_disk_are_no_bugs(tmp_path: Path, number: int) -> None:
    with pytest.raises((UsageError, MissingError)) as caught, BundleWriter(tmp_path / "out"):
        raise OSError(number, os.strerror(number))
    assert os.strerror(number) in caught.value.message and left_in(tmp_path) == []


def test_a_folder_that_vanishes(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="No such file"), BundleWriter(tmp_path / "out") as writer:
        shutil.rmtree(writer.folder)
        (writer.folder / "LICENSE").write_text("")
    assert left_in(tmp_path) == []
    with pytest.raises(FileNotFoundError), BundleWriter(tmp_path / "out"):
        Path("/nonexistent/of/ours").read_text()  # not the bundle's


def test_a_second_interrupt_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shutil.rmtree
    calls: list[object] = []

    def interrupted(*args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) == 1:
            raise KeyboardInterrupt
        whole(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt), BundleWriter(tmp_path / "out"):
        raise KeyboardInterrupt
    assert left_in(tmp_path) == []
