"""Builds a signed APK from the app's sources and a runtime: an npm package's, or an AAR's that the user has."""

from __future__ import annotations

import re
import shutil
import struct
import tempfile
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from android_demo.tools.classfile import ClassFile, Member, read_classes
from android_demo.tools.common import BuildError, java_home, java_tool, run
from android_demo.tools.compile import ANDROID_NAMESPACE, Project, content_digest, make_jar
from android_demo.tools.fetch import ANDROID, jars
from mlp_export.errors import InputError

ABIS = ("arm64-v8a", "x86_64")
PAGE = 16384  # a library that is mapped out of the APK starts at a multiple of the largest page size
_TIME = (1981, 1, 1, 1, 1, 2)  # of every entry, so that two builds are equal
_ALIGNMENT = 0xD935  # extra field of a zip entry: Android's own, which apksigner leaves alone
KEYSTORE_PASSWORD = "MLP_KEYSTORE_PASSWORD"
_MACHINE_PASSWORD = "android"  # of the key that is made here: it protects nothing
_HALVES = ("Stub", "Skel")  # of Qualcomm's libraries for a chip: on the CPU's side, and on the DSP
QAIRT_VERSION = re.compile(rb"v(\d+\.\d+\.\d+)\.\d{6,}")


@dataclass(frozen=True)
class Runtime:
    """ExecuTorch for Android.

    `libraries`: ABI -> files. `qnn`: they have to be files on the phone. `versions`: of executorch and qairt, as far as
    they are known.
    """

    jars: list[Path]
    libraries: dict[str, list[Path]]
    qnn: bool
    versions: dict[str, str]

    @property
    def flavor(self) -> str:
        return "qnn" if self.qnn else "cpu"


@dataclass(frozen=True)
class Key:
    keystore: Path
    password: str  # as apksigner takes it: pass:..., env:..., file:...


def npm_runtime(cache: Path) -> Runtime:
    """The runtime of react-native-executorch: about ExecuTorch 1.3.1, XNNPACK, no QNN."""
    package = cache / ANDROID / "package"
    libraries = package / "third-party/android/libs/executorch"
    found = {abi: [libraries / abi / "libexecutorch.so"] for abi in ABIS}
    return Runtime([package / "android/libs/classes.jar"], found, qnn=False, versions={"executorch": "1.3.1"})


def aar_runtime(aar: Path, folder: Path) -> Runtime:
    """The runtime of executorch-android or executorch-android-qnn, unpacked into `folder`. Raises InputError."""
    _unpack(aar, folder)
    classes = [jar for jar in [folder / "classes.jar", *sorted(folder.glob("libs/*.jar"))] if jar.is_file()]
    names = {c.name for jar in classes for c in read_classes(jar)}
    if "org/pytorch/executorch/extension/llm/LlmModule" not in names:
        raise InputError(
            f"{aar} has no class org.pytorch.executorch.extension.llm.LlmModule, expected ExecuTorch's Android library",
            "take org.pytorch:executorch-android, of version 1.3 or later",
        )
    libraries = {abi: sorted((folder / "jni" / abi).glob("*.so")) for abi in ABIS}
    libraries = {abi: files for abi, files in libraries.items() if files}
    if not libraries:
        raise InputError(f"{aar} has no library for {' or '.join(ABIS)}", "take the AAR that Maven Central has")
    qnn = any("qnn" in file.name.lower() for files in libraries.values() for file in files)
    # The file says its version nowhere but in its name.
    version = re.search(r"executorch-android(?:-qnn)?-(\d+\.\d+\.\d+)", aar.name)
    return Runtime(classes, libraries, qnn, {"executorch": version[1]} if version else {})


def add_qnn_libraries(runtime: Runtime, source: Path, folder: Path) -> Runtime:
    """The runtime with Qualcomm's libraries out of `source`: the AAR qnn-runtime, or a folder. Raises InputError."""
    if source.is_dir():
        found = sorted(source.rglob("libQnn*.so"))
    else:
        _unpack(source, folder)
        found = sorted((folder / "jni/arm64-v8a").glob("*.so"))
    names = {file.name for file in found}
    for needed in ("libQnnHtp.so", "libQnnSystem.so"):
        if needed not in names:
            raise InputError(
                f"{source} has no {needed}", "take com.qualcomm.qti:qnn-runtime, or QAIRT's Android libraries"
            )
    halves = [{m[1] for name in names if (m := re.fullmatch(rf"libQnnHtpV(\d+){half}\.so", name))} for half in _HALVES]
    if not set.intersection(*halves):
        raise InputError(
            f"{source} has no pair of libQnnHtpV75Stub.so and libQnnHtpV75Skel.so, or of another chip's number",
            "the DSP runs the skel, the CPU calls it through the stub: take both out of one release",
        )
    if len(names) < len(found):
        raise InputError(
            f"{source} has a library twice", "name a folder with those of one system: Android's, and Hexagon's"
        )
    versions = {file.name: version for file in found if (version := qairt_version(file))}
    if len(set(versions.values())) != 1:
        listed = ", ".join(f"{name} {version}" for name, version in versions.items()) or "none that says its version"
        raise InputError(f"{source} mixes releases of QAIRT: {listed}", "take all libraries out of one release")
    everything = {file.name: file for file in [*runtime.libraries.get("arm64-v8a", []), *found]}
    versions_of_all = {**runtime.versions, "qairt": next(iter(versions.values()))}
    return Runtime(runtime.jars, {"arm64-v8a": list(everything.values())}, qnn=True, versions=versions_of_all)


def qairt_version(library: Path) -> str | None:
    """`2.49.40` out of a library of Qualcomm's, where it says it."""
    found = QAIRT_VERSION.search(library.read_bytes())
    return found.group(1).decode() if found else None


def _unpack(aar: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(aar) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{aar} cannot be read: {error}, expected an AAR", "an AAR is a zip file") from None


def build_apk(project: Project, runtime: Runtime, key: Key, target: Path, abis: Sequence[str] = ABIS) -> Path:
    """Compile, shrink, pack and sign; returns `target`. Raises BuildError."""
    if absent := [abi for abi in abis if abi not in runtime.libraries]:
        raise InputError(
            f"the runtime has no libraries for {', '.join(absent)}", f"it has {', '.join(runtime.libraries)}"
        )
    if missing := missing_members(read_classes(project.app), runtime.jars):
        listed = "\n".join(f"  {member}" for member in missing)
        raise BuildError(f"the app calls what this runtime does not have:\n{listed}", "take another version of the AAR")
    dex = shrink(project)
    fbjni = next((project.cache / "app").glob("fbjni-*")) / "jni"
    libraries = {
        f"lib/{abi}/{file.name}": file
        for abi in abis
        for file in [*sorted((fbjni / abi).glob("*.so")), *runtime.libraries[abi]]
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        linked, packed, signed = (Path(temporary, name) for name in ("linked.apk", "packed.apk", "signed.apk"))
        _link_for_release(project, runtime, target=linked)
        pack(linked, dex, libraries, compress_libraries=runtime.qnn, target=packed)
        sign(packed, key, signed)
        signed.replace(target)
    return target


def missing_members(classes: Iterator[ClassFile], runtime: Sequence[Path]) -> list[Member]:
    """Fields and methods of ExecuTorch that `classes` use and no class of the jars `runtime` declares or inherits."""
    known = {c.name: c for jar in runtime for c in read_classes(jar)}
    declared = {member for c in known.values() for member in c.declared}

    def exists(member: Member) -> bool:
        owner = known.get(member.owner)
        if member in declared:
            return True
        # What every object has, or a platform interface such as Closeable declares, is not in the jar.
        parents = owner.parents if owner else ()
        return any(
            exists(Member(parent, member.name, member.descriptor))
            if parent in known
            else parent in _PLATFORM and (member.name, member.descriptor) in _PLATFORM[parent]
            for parent in parents
        )

    used = {member for c in classes for member in c.called if member.owner.startswith("org/pytorch/")}
    return sorted((member for member in used if not exists(member)), key=str)


_PLATFORM = {
    "java/lang/Object": {
        ("<init>", "()V"),
        ("toString", "()Ljava/lang/String;"),
        ("hashCode", "()I"),
        ("equals", "(Ljava/lang/Object;)Z"),
    },
    "java/lang/RuntimeException": {
        ("getMessage", "()Ljava/lang/String;"),
        ("getCause", "()Ljava/lang/Throwable;"),
        ("getStackTrace", "()[Ljava/lang/StackTraceElement;"),
    },
    "java/io/Closeable": {("close", "()V")},
}


def shrink(project: Project) -> list[Path]:
    """The dex files of app, core and libraries, without what is not used."""
    out = project.out / "dex"
    folders = [project.app, project.core]
    program = [*project.libraries, *project.runtime]
    rules = [project.resources.rules, project.app_source.parent / "proguard-rules.pro"]
    rules += sorted((project.cache / "app").glob("*/proguard.txt"))
    platform = jars(project.cache, "platform")

    def make() -> None:
        code = make_jar(folders, out / "app.jar")
        command = [java_tool("java"), "-Xmx1500m", "-XX:+UseSerialGC", "-cp", *jars(project.cache, "r8")]
        command += ["com.android.tools.r8.R8", "--release", "--min-api", project.properties["minSdk"], "--output", out]
        # Android's classes as Robolectric packs them have no java.*: the JDK has.
        command += [part for jar in platform for part in ("--lib", jar)] + ["--lib", java_home()]
        command += [part for file in rules for part in ("--pg-conf", file)]
        run("r8", [*command, code, *program])

    project.unless_made(out, content_digest([*folders, *program, *rules], ["r8"]), make)
    return sorted(out.glob("*.dex"))


def _link_for_release(project: Project, runtime: Runtime, target: Path) -> None:
    """The linked resources, with `extractNativeLibs` and the runtime's versions in the manifest."""
    tree = ET.parse(project.resources.manifest)
    application = tree.getroot().find("application")
    assert application is not None
    application.set(f"{{{ANDROID_NAMESPACE}}}extractNativeLibs", str(runtime.qnn).lower())
    for entry in application.iter("meta-data"):
        name = entry.get(f"{{{ANDROID_NAMESPACE}}}name", "").rpartition(".")[2]
        entry.set(f"{{{ANDROID_NAMESPACE}}}value", runtime.versions.get(name, ""))
    manifest = target.with_name("AndroidManifest.xml")
    tree.write(manifest, encoding="utf-8", xml_declaration=True)
    project.link(manifest, target)


def pack(
    linked: Path, dex: Sequence[Path], libraries: Mapping[str, Path], *, compress_libraries: bool, target: Path
) -> None:
    """Write the unsigned APK. Stored entries are aligned: libraries to 16 KiB, since they are mapped out of the APK."""
    with zipfile.ZipFile(linked) as source:
        entries = [(info.filename, source.read(info), info.compress_type) for info in source.infolist()]
    entries += [(file.name, file.read_bytes(), zipfile.ZIP_DEFLATED) for file in dex]
    method = zipfile.ZIP_DEFLATED if compress_libraries else zipfile.ZIP_STORED
    entries += [(name, file.read_bytes(), method) for name, file in sorted(libraries.items())]
    with zipfile.ZipFile(target, "w") as archive:
        for name, data, compression in entries:
            info = zipfile.ZipInfo(name, _TIME)
            info.compress_type = compression
            info.external_attr = 0o644 << 16
            if compression == zipfile.ZIP_STORED:
                alignment = _alignment(name)
                assert archive.fp
                starts = archive.fp.tell() + 30 + len(name.encode()) + 6
                padding = -starts % alignment
                info.extra = struct.pack("<HHH", _ALIGNMENT, 2 + padding, alignment) + bytes(padding)
            archive.writestr(info, data)


def _alignment(name: str) -> int:
    return PAGE if name.endswith(".so") else 4


def misaligned(apk: Path) -> list[str]:
    """Stored entries that do not start where Android maps them from."""
    found = []
    with zipfile.ZipFile(apk) as archive, apk.open("rb") as file:
        for info in archive.infolist():
            if info.compress_type == zipfile.ZIP_STORED:
                file.seek(info.header_offset + 26)
                name, extra = struct.unpack("<HH", file.read(4))
                if (info.header_offset + 30 + name + extra) % _alignment(info.filename):
                    found.append(info.filename)
    return found


def machine_key(cache: Path) -> Key:
    """A key of this machine, made when it is first asked for."""
    keystore = cache / "key.p12"
    if not keystore.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        unfinished = keystore.with_suffix(".new")
        unfinished.unlink(missing_ok=True)
        command = [java_tool("keytool"), "-genkeypair", "-keystore", unfinished, "-storetype", "PKCS12"]
        command += ["-storepass", _MACHINE_PASSWORD, "-alias", "key", "-keyalg", "RSA", "-keysize", "3072"]
        run("keytool", [*command, "-validity", "10950", "-dname", "CN=made on this machine by mlp-export"])
        unfinished.replace(keystore)
    return Key(keystore, f"pass:{_MACHINE_PASSWORD}")


def sign(apk: Path, key: Key, target: Path) -> None:
    """Sign for Android 9 and later (schemes 2 and 3), and verify."""
    options = ["--v1-signing-enabled", "false", "--v2-signing-enabled", "true", "--v3-signing-enabled", "true"]
    options += ["--v4-signing-enabled", "false", "--ks", str(key.keystore), "--ks-pass", key.password]
    run("apksigner sign", ["apksigner", "sign", *options, "--out", target, apk])
    run("apksigner verify", ["apksigner", "verify", target])
    if wrong := misaligned(target):
        raise BuildError(f"{target} has entries that are not aligned: {', '.join(wrong)}")


def badging(apk: Path) -> str:
    """What aapt2 says of an APK: package, SDK levels, permissions, activities, ABIs."""
    return run("aapt2 dump badging", ["aapt2", "dump", "badging", apk])
