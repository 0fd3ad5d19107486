"""Compiles the app's Kotlin and resources. What has not changed since the last time, by content, is not done again."""

from __future__ import annotations

import hashlib
import shutil
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from android_demo.tools import android_library
from android_demo.tools.android_library import SHIM_SOURCE, prepare
from android_demo.tools.common import DEMO, ROOT, gradle_properties, java_home, java_tool, joined, run
from android_demo.tools.fetch import ANDROID, FRAMEWORK, jars

ANDROID_NAMESPACE = "http://schemas.android.com/apk/res/android"
ET.register_namespace("android", ANDROID_NAMESPACE)  # the prefix in every manifest that is written
PACKED = "libpacked.so"  # the JNI function for packed weights, in a library of its own
# Less memory and, for compilations this small, less time.
_SMALL_JVM = ["-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
# Android's classes as Robolectric packs them carry annotations that Google's stubs do not: whether null may be passed.
_ANDROID_ARGUMENTS = ["-Xnullability-annotations=@android.annotation:ignore", "-Xjsr305=ignore"]


@dataclass(frozen=True)
class Resources:
    """What aapt2 made of manifest, resources and assets."""

    linked: Path  # an APK without code
    manifest: Path
    sources: Path  # R.java
    rules: Path  # for R8: the classes that the manifest and layouts name


class Project:
    """Compiled parts of the app, each made when it is first asked for.

    `cache`: the folder of fetch.py. `out`: where the results go. `runtime`: jars of org.pytorch.executorch. `demo`: the
    folder of the app's sources.
    """

    def __init__(self, cache: Path, out: Path, runtime: Sequence[Path], demo: Path = DEMO) -> None:
        self.cache, self.out, self.runtime = cache.resolve(), out.resolve(), [jar.resolve() for jar in runtime]
        self.app_source, self.core_source = demo / "app/src", demo / "core/src"
        self.properties = gradle_properties(demo)
        self.out.mkdir(parents=True, exist_ok=True)

    @cached_property
    def libraries(self) -> list[Path]:
        """Jars of Kotlin, Gson, fbjni and its loader."""
        return jars(self.cache, "app")

    @cached_property
    def test_libraries(self) -> list[Path]:
        """JUnit and Robolectric, without Android: Robolectric brings an instrumented one at run time."""
        own = {jar.name for jar in self.libraries} - {"classes.jar"}
        found = jars(self.cache, "tests")
        return [jar for jar in found if jar.name not in own and not jar.name.startswith("android-all")]

    @cached_property
    def core(self) -> Path:
        return self.kotlin("core", [self.core_source / "main/kotlin"], self.libraries)

    @cached_property
    def fixtures(self) -> Path:
        return self.kotlin(
            "fixtures", [self.core_source / "testFixtures/kotlin"], [self.core, *self.libraries], [self.core]
        )

    @cached_property
    def core_tests(self) -> Path:
        path = [self.core, self.fixtures, *self.libraries, *self.test_libraries]
        return self.kotlin("core-tests", [self.core_source / "test/kotlin"], path, [self.core])

    @cached_property
    def app(self) -> Path:
        path = [self.core, *self.libraries, *self.runtime]
        return self.kotlin("app", [self.app_source / "main/kotlin", self.resources.sources], path, android=True)

    def app_tests(self, name: str) -> Path:
        """Classes of app/src/`name`: `test`, `androidTest`, or `endToEnd`, which may use those of `test`."""
        before = [self.app_tests("test")] if name == "endToEnd" else []
        path = [*before, self.app, self.core, self.fixtures, *self.libraries, *self.runtime, *self.test_libraries]
        friends = [self.app, *before]
        return self.kotlin(f"app-{name}", [self.app_source / name / "kotlin"], path, friends, android=True)

    @cached_property
    def resources(self) -> Resources:
        """Compile and link the resources of app/src/main, with a manifest as Gradle would merge it."""
        main, out = self.app_source / "main", self.out / "resources"
        made = Resources(out / "linked.apk", out / "AndroidManifest.xml", out / "sources", out / "rules.pro")
        given = [main / "AndroidManifest.xml", main / "res", main / "assets"]

        def make() -> None:
            _merge_manifest(main / "AndroidManifest.xml", made.manifest, self.properties)
            run("aapt2 compile", ["aapt2", "compile", "--dir", main / "res", "-o", out / "resources.zip"])
            self.link(made.manifest, made.linked, "--java", made.sources, "--proguard", made.rules)

        self.unless_made(out, content_digest(given, [*self.properties.items()]), make)
        return made

    def link(self, manifest: Path, target: Path, *options: object) -> None:
        """Link the compiled resources with `manifest`."""
        assets = self.app_source / "main/assets"
        command: list[object] = ["aapt2", "link", "--warn-manifest-validation", "-I", FRAMEWORK, "--manifest", manifest]
        command += ["-A", assets] if assets.is_dir() else []
        run("aapt2 link", [*command, *options, "-o", target, self.out / "resources/resources.zip"])

    def kotlin(
        self,
        name: str,
        sources: Sequence[Path],
        class_path: Sequence[Path],
        friends: Sequence[Path] = (),
        *,
        android: bool = False,
    ) -> Path:
        """Compile the Kotlin and Java files of the folders `sources`; returns the folder of classes.

        `friends`: class folders whose `internal` declarations are seen.
        """
        out = self.out / name
        files = sorted(file for folder in sources for file in folder.rglob("*") if file.suffix in (".kt", ".java"))
        path = [*class_path, *(jars(self.cache, "platform") if android else [])]
        language = self.properties["kotlinVersion"].rpartition(".")[0]
        arguments = ["-no-stdlib", "-no-reflect", "-jvm-target", "17", "-language-version", language, "-Werror"]
        arguments += _ANDROID_ARGUMENTS if android else []
        arguments += [f"-Xfriend-paths={','.join(map(str, friends))}"] if friends else []

        def make() -> None:
            if not files:
                return
            compiler = [java_tool("java"), *_SMALL_JVM, "-cp", joined(jars(self.cache, "kotlin"))]
            compiler += ["org.jetbrains.kotlin.cli.jvm.K2JVMCompiler", *arguments, "-cp", joined(path), "-d", str(out)]
            run(f"kotlinc {name}", [*compiler, *files])
            if java := [file for file in files if file.suffix == ".java"]:
                command = [
                    java_tool("javac"),
                    "-nowarn",
                    "--release",
                    "17",
                    "-cp",
                    joined([out, *path]),
                    "-d",
                    str(out),
                ]
                run(f"javac {name}", [*command, *java])

        self.unless_made(out, content_digest([*files, *path], arguments), make)
        return out

    @cached_property
    def native(self) -> Path:
        """The folder of the x86-64 libraries, patched for a JVM of this machine, with their loader; and of `PACKED`."""
        out, package = self.out / "native", self.cache / ANDROID / "package/third-party"
        fbjni = next((self.cache / "app").glob("fbjni-*")) / "jni/x86_64"
        libraries = [package / "android/libs/executorch/x86_64/libexecutorch.so"]
        libraries += [fbjni / "libfbjni.so", fbjni / "libc++_shared.so"]
        function, headers = self.app_source / "main/cpp", ROOT / "mlp_export/runtime/native"

        def make() -> None:
            prepare(libraries, ["g++"], out)
            java, included = Path(java_home(), "include"), package / "include"
            flags = "-std=c++17 -O1 -shared -fPIC -DC10_USING_CUSTOM_GENERATED_MACROS".split()
            folders = [included, included / "executorch/runtime/core/portable_type/c10", headers, java, java / "linux"]
            flags += [f"-I{folder}" for folder in folders]
            linked = [out / "libexecutorch.so", "-Wl,--allow-shlib-undefined"]
            source = function / "packed_weights_jni.cpp"
            run("g++ packed weights", ["g++", *flags, "-w", source, "-o", out / PACKED, *linked])

        sources = [*libraries, SHIM_SOURCE, Path(android_library.__file__), function, headers / "packed_cache.h"]
        self.unless_made(out, content_digest(sources, [PACKED]), make)
        return out

    def unless_made(self, out: Path, digest: str, make: Callable[[], object]) -> None:
        """`make` fills the folder `out`, unless it did so with the same `digest`."""
        stamp = self.out / f"{out.name}.made-from"
        if stamp.is_file() and stamp.read_text() == digest:
            return
        stamp.unlink(missing_ok=True)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        make()
        stamp.write_text(digest)


def _merge_manifest(source: Path, target: Path, properties: dict[str, str]) -> None:
    """What the Android Gradle plugin adds: the package, versions and SDK levels."""
    tree = ET.parse(source)
    manifest = tree.getroot()
    manifest.set("package", properties["applicationId"])
    for name in ("versionCode", "versionName"):
        manifest.set(f"{{{ANDROID_NAMESPACE}}}{name}", properties[name])
    levels = ET.SubElement(manifest, "uses-sdk")
    for name, key in (("minSdkVersion", "minSdk"), ("targetSdkVersion", "targetSdk")):
        levels.set(f"{{{ANDROID_NAMESPACE}}}{name}", properties[key])
    for entry in manifest.iter("meta-data"):  # the runtime's versions: apk.py knows them
        entry.set(f"{{{ANDROID_NAMESPACE}}}value", "")
    tree.write(target, encoding="utf-8", xml_declaration=True)


def content_digest(paths: Iterable[Path], values: Iterable[object]) -> str:
    """A hash of files and folders, by content; of jars by name and size, since their versions are pinned."""
    digest = hashlib.sha256(repr([*values]).encode())
    for path in paths:
        for file in sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]:
            digest.update(f"\0{file}\0".encode())
            if file.suffix == ".jar":
                digest.update(str(file.stat().st_size).encode())
            elif file.is_file():
                digest.update(file.read_bytes())
    return digest.hexdigest()


def make_jar(folders: Iterable[Path], target: Path) -> Path:
    """Class folders as one jar."""
    with zipfile.ZipFile(target, "w") as archive:
        for folder in folders:
            for file in sorted(folder.rglob("*.class")):
                archive.write(file, file.relative_to(folder).as_posix())
    return target
