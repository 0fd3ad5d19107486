"""Swift 6: the machine's own, or Debian 13's in a tree that this makes with debootstrap.

Debian 13's Swift needs a newer C library than Debian 12 has, so that its packages cannot be installed beside the
machine's. A command runs in the tree by chroot, in mount and process namespaces of its own: it ends with all that it
started, and no mount is left.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from android_demo.tools.common import install_tools
from ios_demo.tools.common import ROOT, run
from mlp_export.errors import InputError, MissingError

SUITE = "trixie"
PACKAGES = ("swiftlang", "libc6-dev", "libstdc++-14-dev", "git", "ca-certificates")
NEEDED_BYTES = 4_000_000_000
TREE_SECONDS = 1800.0  # to fetch and unpack it: minutes, unless nothing answers
# Program or file that makes the tree -> its Debian package. Ubuntu lacks the keys, though debootstrap is there.
HELPERS = {
    "debootstrap": "debootstrap",
    "/usr/share/keyrings/debian-archive-keyring.gpg": "debian-archive-keyring",
}
OLDEST = (6, 0)
_READY = ".swift-ready"  # in a tree: what it was made of
# In the namespaces: the repository at its own path, so that both sides name a file alike.
_ENTER = """
tree=$0 folder=$1
shift
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
while [ "$1" != -- ]; do
  mkdir -p "$tree$1"
  mount --bind "$1" "$tree$1"
  shift
done
shift
exec chroot "$tree" /usr/bin/env -C "$folder" "$@"
"""
_NAMESPACES = ["unshare", "--mount", "--pid", "--propagation", "private", "--kill-child"]


@dataclass(frozen=True)
class Toolchain:
    """A Swift that can be called."""

    name: str
    tree: Path | None = None  # None: the machine's own
    shared: Sequence[Path] = (ROOT,)  # folders that a command in the tree sees
    flags: Sequence[str] = ()  # for `swift build` and `swift test`
    variables: Mapping[str, str] = field(default_factory=dict)

    def command(self, arguments: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None) -> list[str]:
        """The command line that runs `arguments` in `folder` with environment `variables`."""
        pairs = [f"{name}={value}" for name, value in {**self.variables, **(variables or {})}.items()]
        if not self.tree:
            return ["sh", "-c", 'cd "$0" && exec env "$@"', str(folder), *pairs, *arguments]
        clean = ["-i", "HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/bin:/bin"]
        shared = [str(path) for path in self.shared]
        entered = ["bash", "-euc", _ENTER, str(self.tree), str(folder), *shared, "--"]
        return [*_NAMESPACES, *entered, *clean, *pairs, *arguments]


def find(cache: Path, tree: Path | None = None, shared: Sequence[Path] = (ROOT,)) -> Toolchain:
    """The machine's Swift where it is new enough, else that of `tree`, else of a tree that is made in `cache`.

    Raises MissingError where none can be had, and says why; InputError where `tree` is none.
    """
    if tree:
        if not os.path.lexists(tree / "usr/bin/swift"):  # a link to the tree's own root
            raise InputError(f"{tree} has no usr/bin/swift, expected a Debian tree with Swift", "leave --tree out")
        _need_namespaces()
        return _debian(tree, shared)
    own = _machine()
    if own:
        return own
    _need_namespaces()
    made = cache.resolve() / SUITE
    if not _is_ready(made):
        _make_tree(made)
    return _debian(made, shared)


def _machine() -> Toolchain | None:
    if not shutil.which("swift"):
        return None
    try:
        shown = run(["swift", "--version"], timeout=60).output
    except OSError:
        return None
    found = re.search(r"Swift version (\d+)\.(\d+)(\S*)", shown)
    if not found or (int(found[1]), int(found[2])) < OLDEST:
        return None
    return Toolchain(f"Swift {found[1]}.{found[2]}{found[3]} of this machine")


def _debian(tree: Path, shared: Sequence[Path]) -> Toolchain:
    # Debian's libswiftObservation.so leaves swift::threading::fatal undefined.
    flags = ("-Xlinker", "--allow-shlib-undefined")
    return Toolchain(f"Swift of Debian 13 in {tree}", tree.resolve(), [path.resolve() for path in shared], flags)


def _need_namespaces() -> None:
    """Raises MissingError where this process may not mount or change its root."""
    if sys.platform != "linux":
        raise MissingError("no Swift is on PATH, and a Debian tree runs on Linux only", "install Swift 6 or Xcode 16")
    if os.geteuid() != 0:
        raise MissingError(
            "no Swift 6 is on PATH, and a Debian tree needs root for chroot and mounts",
            "install Swift 6, or run this as root",
        )
    try:
        tried = run([*_NAMESPACES, "mount", "-t", "tmpfs", "none", "/mnt"], timeout=60)
        refusal = _last_line(tried.output) if tried.exit_code else ""
    except OSError as error:
        refusal = str(error)
    if refusal:
        raise MissingError(
            f"no Swift 6 is on PATH, and a Debian tree needs mounts, which fail here: {refusal}",
            "install Swift 6, or run this in a container with --privileged",
        )


def _is_ready(tree: Path) -> bool:
    stamp = tree / _READY
    return stamp.is_file() and stamp.read_text() == _key()


def _key() -> str:
    return " ".join((SUITE, *PACKAGES))


def _make_tree(target: Path) -> None:
    """Install Debian with Swift into `target`, which is there only once it is whole. Raises MissingError."""
    debootstrap = _debootstrap()
    partial = target.with_name(f"{target.name}.partial")
    for old in (target, partial):
        if old.exists():
            shutil.rmtree(old)
    partial.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(partial.parent).free
    if free < NEEDED_BYTES:
        raise MissingError(f"Swift needs {NEEDED_BYTES:,} bytes in {partial.parent}, {free:,} are free", "make room")
    print(f"installing Debian's Swift into {target}: 600 MB to fetch, some minutes", file=sys.stderr, flush=True)
    # In a mount namespace: what debootstrap mounts in the tree is gone before anything here is deleted.
    command = ["unshare", "--mount", "--propagation", "private", debootstrap, "--variant=minbase"]
    command += [f"--include={','.join(PACKAGES)}", SUITE, str(partial)]
    made = run(command, timeout=TREE_SECONDS)
    if made.exit_code:
        shutil.rmtree(partial, ignore_errors=True)
        why = f"not done after {TREE_SECONDS:,.0f} s: " if made.timed_out else ""
        raise MissingError(
            f"Debian's Swift could not be installed: {why}{_last_line(made.output)}",
            "check the network; `debootstrap` tells more",
        )
    for package in (partial / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    (partial / _READY).write_text(_key())
    partial.rename(target)


def _debootstrap() -> str:
    missing = install_tools(HELPERS)
    found = shutil.which("debootstrap")
    if not found:
        raise MissingError("debootstrap is not installed, and apt-get could not install it", missing["debootstrap"])
    return found


def _last_line(output: str) -> str:
    lines = output.strip().splitlines()
    return lines[-1] if lines else "it printed nothing"
