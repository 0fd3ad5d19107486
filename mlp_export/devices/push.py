"""`push`: copies a bundle to an Android phone, whole or not at all; what is there already is not copied again."""

from __future__ import annotations

import hashlib
import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mlp_export.backends.base import backends_for_any_chip, get_backend
from mlp_export.bundle.bundle import Bundle, bundle_errors
from mlp_export.bundle.manifest import MANIFEST, Manifest
from mlp_export.devices.adb import DEVICE_FOLDER, Phone, PhoneFacts
from mlp_export.devices.device_command import transfer_seconds
from mlp_export.devices.device_fit import DeviceFit, FitKind
from mlp_export.errors import InputError, MissingError, ResourceError, UsageError
from mlp_export.hashing import file_sha256
from mlp_export.paths import check_reachable
from mlp_export.progress import Progress, Stage
from mlp_export.resources import human_bytes
from mlp_export.scratch import scratch_folder

_PIECE_BYTES = 64 << 20  # what a broken transfer may cost again

_HINTS = {
    FitKind.WRONG_SOC: f"export for this chip with --soc, or for any phone with {backends_for_any_chip()}",
    FitKind.WRONG_ABI: "choose another phone",
    FitKind.TOO_LITTLE_MEMORY: "export with a smaller --context, or a smaller model",
}


@dataclass(frozen=True)
class PushReport:
    """Where the bundle is now."""

    serial: str
    path: str
    bytes: int
    copied_bytes: int  # without those that were on the phone already
    warnings: list[str]  # about this bundle on this phone
    installed: bool
    opened: bool

    def to_json(self) -> dict[str, Any]:
        """The object `push --json` prints."""
        return asdict(self)


def push(
    bundle: Bundle,
    progress: Progress,
    *,
    serial: str | None = None,
    device_folder: str = DEVICE_FOLDER,
    install: Path | None = None,
    start: bool = False,
    piece_bytes: int = _PIECE_BYTES,
) -> PushReport:
    """Copy the bundle to `device_folder`/NAME with adb, check its hashes there, and only then give it its name.

    `install` is an APK to install before, with `start` the app is started on the bundle. A push that broke off leaves
    NAME.partial, and the next one goes on from there.

    Raises InputError for a program that fails on phones, MissingError without adb, without a device, where one
    refuses or where this one cannot run the bundle, UsageError for a bundle for iOS, or where several devices are there
    and none is chosen, ResourceError where the device is full or its memory too small for the bundle.
    """
    manifest = bundle.manifest
    if "ios" in manifest.backend.min_runtime:
        raise UsageError("this bundle is for iOS, push copies to Android", "give --device ios, or --device simulator")
    check_program(bundle)
    if install is not None:
        check_reachable(install)
        if not install.is_file():
            raise UsageError(f"{install} is not a file, expected an APK", "build it: make apk")
    phone = Phone.find(serial)
    fit = check_fit(manifest, phone.facts())
    warnings = [warning.sentence() for warning in fit.warnings]
    for warning in warnings:
        progress.note(f"warning: {warning}")
    if install is not None:
        with progress.stage("install the app"):
            phone.install(install)
    target = str(PurePosixPath(device_folder) / bundle.path.resolve().name)
    with bundle_errors(bundle.path):
        transfer = _Transfer(bundle, phone, target, piece_bytes)
        copied = transfer.run(progress)
    if start:
        phone.start(".BundlesActivity", {"bundle": PurePosixPath(target).name})
    return PushReport(phone.serial, target, transfer.bytes, copied, warnings, install is not None, start)


def check_program(bundle: Bundle) -> None:
    """Raises InputError for a program that fails on phones."""
    with get_backend(bundle.manifest.backend.name).open_artifact(bundle.pte) as reader:
        compatibility_issues = reader.compatibility_issues()
    if compatibility_issues:
        raise InputError("; ".join(compatibility_issues), "export it again with this mlp-export")


def check_fit(manifest: Manifest, facts: PhoneFacts) -> DeviceFit:
    """The warnings of `PhoneFacts.fit`.

    Raises ResourceError where the phone's memory is too small for the bundle, MissingError where it cannot run it for
    another reason, whatever app it has.
    """
    name = f"{facts.manufacturer} {facts.model}".strip() or facts.serial
    system_issue = facts.system_issue()
    if system_issue is not None:
        raise MissingError(f"{name} has {system_issue}", "choose another phone")
    fit = facts.fit(manifest)
    if not fit.runs:
        first = fit.reasons[0].kind  # too little memory comes last: it is the only reason then
        kind = ResourceError if first is FitKind.TOO_LITTLE_MEMORY else MissingError
        raise kind(
            f"{name} cannot run this bundle: {'; '.join(reason.sentence() for reason in fit.reasons)}",
            _HINTS.get(first, "choose another phone"),
        )
    return fit


class _Transfer:
    """The copy of one bundle to one phone: into `partial`, piece by piece, then renamed in one step."""

    def __init__(self, bundle: Bundle, phone: Phone, target: str, piece_bytes: int) -> None:
        self._folder, self._phone, self._target, self._piece = bundle.path, phone, target, piece_bytes
        self._partial = f"{target}.partial"
        self._sizes = {name: entry.bytes for name, entry in bundle.manifest.files.items()}
        self._hashes = {name: entry.sha256 for name, entry in bundle.manifest.files.items()}
        # Last: a folder that has it is whole.
        self._sizes[MANIFEST] = (bundle.path / MANIFEST).stat().st_size
        self._hashes[MANIFEST] = file_sha256(bundle.path / MANIFEST)
        self.bytes = sum(self._sizes.values())

    def run(self, progress: Progress) -> int:
        """Copy what is missing. Returns the bytes that were copied from this machine."""
        with progress.stage("look at the device"):
            there = self._phone.hashes(self._target)
            if there == self._hashes:
                self._make_parent_readable()
                return 0
            begun = self._phone.hashes(self._partial)
            self._phone.shell(f"mkdir -p {_quote(self._partial)}")
            stale = [name for name in begun if name not in self._sizes]
            if stale:
                self._phone.shell("rm -rf " + " ".join(_quote(f"{self._partial}/{name}") for name in stale))
            done = {name for name in self._sizes if begun.get(name) == self._hashes[name]}
            here = {name for name in self._sizes if there.get(name) == self._hashes[name]} - done
            offsets = {name: self._offset(name) if name in begun else 0 for name in set(self._sizes) - done - here}
            links = not here or self._can_link(min(here))
        to_copy = {name: self._sizes[name] - offset for name, offset in offsets.items()}
        duplicated = 0 if links else sum(self._sizes[name] for name in here)
        # A piece lies beside the file that it is appended to.
        pieces = [min(to_copy[name], self._piece) for name, offset in offsets.items() if self._in_pieces(name, offset)]
        self._check_space(sum(to_copy.values()) + duplicated + max(pieces, default=0))
        total = sum(max(1, math.ceil(size / self._piece)) for size in to_copy.values())
        with progress.stage("push", total=len(here) + total) as stage:
            for name in self._sizes:  # the manifest's order
                if name in here:
                    self._take_over(name)
                    stage.advance()
                elif name in offsets:
                    self._copy(name, offsets[name], stage)
        with progress.stage("check on the device"):
            self._check_hashes()
        # Apps must be able to read it, whatever the shell's umask.
        partial, target = _quote(self._partial), _quote(self._target)
        self._make_parent_readable()
        self._phone.shell(
            f"chmod 755 {partial} && chmod 644 {partial}/* && rm -rf {target} && mv {partial} {target}",
            transfer_seconds(0),
        )
        return sum(to_copy.values())

    def _offset(self, name: str) -> int:
        """Bytes at the start of an unfinished file that match; 0 where they do not."""
        path = f"{self._partial}/{name}"
        output = self._phone.shell(f"wc -c < {_quote(path)}").strip()
        size = int(output) if output.isdigit() else 0
        if not 0 < size < self._sizes[name] or name == MANIFEST:
            return 0
        found = self._phone.shell(f"sha256sum {_quote(path)}", transfer_seconds(size)).split()
        return size if found[:1] == [_prefix_sha256(self._folder / name, size)] else 0

    def _in_pieces(self, name: str, offset: int) -> bool:
        return offset > 0 or self._sizes[name] > self._piece

    def _can_link(self, name: str) -> bool:
        """Whether the phone makes hard links to files of the older copy. Some policies of SELinux do not allow it."""
        old, probe = _quote(f"{self._target}/{name}"), _quote(f"{self._partial}/.link")
        command = f"rm -f {probe}; ln {old} {probe} 2>/dev/null && echo linked; rm -f {probe}"
        return self._phone.shell(command).strip() == "linked"

    def _make_parent_readable(self) -> None:
        """The app lists the folder of all bundles. It may belong to another user, and be readable already."""
        self._phone.shell(f"chmod 755 {_quote(str(PurePosixPath(self._target).parent))} 2>/dev/null; true")

    def _check_space(self, needed: int) -> None:
        free = self._phone.free_bytes(self._partial)
        if free is not None and free < needed:
            raise ResourceError(
                f"the copy needs {human_bytes(needed)}, {human_bytes(free)} are free at "
                f"{PurePosixPath(self._target).parent} on {self._phone.serial}",
                "free some space on the device, and run the command again",
            )

    def _take_over(self, name: str) -> None:
        """A file of the older copy, which has these bytes: the older copy stays whole until the end."""
        old, new = _quote(f"{self._target}/{name}"), _quote(f"{self._partial}/{name}")
        seconds = transfer_seconds(self._sizes[name])
        self._phone.shell(f"rm -f {new}; ln {old} {new} 2>/dev/null || cp {old} {new}", seconds)

    def _copy(self, name: str, offset: int, stage: Stage) -> None:
        """Piece by piece: adb itself forgets a file that did not arrive whole."""
        source, target = self._folder / name, f"{self._partial}/{name}"
        if not self._in_pieces(name, offset):
            self._phone.copy_to(source, target)
            stage.advance()
            return
        if offset == 0:
            self._phone.shell(f"rm -f {_quote(target)}")
        arriving = f"{target}.piece"
        with scratch_folder() as scratch, source.open("rb") as file:
            file.seek(offset)
            piece = scratch / "piece"
            while data := file.read(self._piece):
                piece.write_bytes(data)
                self._phone.copy_to(piece, arriving)
                append = f"cat {_quote(arriving)} >> {_quote(target)} && rm {_quote(arriving)}"
                self._phone.shell(append, transfer_seconds(len(data)))
                stage.advance()

    def _check_hashes(self) -> None:
        found = self._phone.hashes(self._partial)
        for name, expected in self._hashes.items():
            if found.get(name) != expected:
                self._phone.shell(f"rm -f {_quote(f'{self._partial}/{name}')}")  # or the next push would go on with it
                raise MissingError(
                    f"{name} arrived damaged on {self._phone.serial}", "try again, with another cable or port"
                )


def _prefix_sha256(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while size and (data := file.read(min(size, 1 << 20))):
            digest.update(data)
            size -= len(data)
    return digest.hexdigest()


def _quote(path: str) -> str:
    return shlex.quote(path)
