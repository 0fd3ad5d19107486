"""The command line of the app's build and tests."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from android_demo.tools import fetch
from android_demo.tools.android_library import SHIM
from android_demo.tools.apk import (
    ABIS,
    KEYSTORE_PASSWORD,
    Key,
    aar_runtime,
    add_qnn_libraries,
    badging,
    build_apk,
    machine_key,
    npm_runtime,
)
from android_demo.tools.common import CACHE, ROOT, BuildError
from android_demo.tools.compile import PACKED, Project
from android_demo.tools.emulator import run_on_device, summary
from android_demo.tools.jvm_tests import Outcome, find_tests, run_tests
from mlp_export.errors import MlpExportError, UsageError

RUNNERS = ("core", "app", "end-to-end")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m android_demo.tools", description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of what is fetched (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("fetch", help="get what the purposes need, as far as it can be had")
    command.add_argument("purposes", nargs="+", choices=fetch.PURPOSES)
    command = commands.add_parser("test", help="run the JUnit tests")
    command.add_argument("runners", nargs="*", metavar="RUNNER", help=f"some of: {' '.join(RUNNERS)} (all)")
    command.add_argument("--only", action="append", default=[], metavar="CLASS", help="only this test class")
    command.add_argument("--bundles", type=Path, help="for the end-to-end tests: what tests/app_bundles.py made")
    command.add_argument("--screenshots", type=Path, default=ROOT / "build/android/screenshots")
    command = commands.add_parser("apk", help="build a signed APK")
    command.add_argument(
        "--aar", type=Path, help="executorch-android, or -qnn (default: the runtime of an npm package)"
    )
    command.add_argument("--qnn-runtime", type=Path, help="Qualcomm's libraries: the AAR qnn-runtime, or a folder")
    command.add_argument("--abi", action="append", choices=ABIS, help="default: all that the runtime has")
    command.add_argument("--keystore", type=Path, help=f"sign with its key; {KEYSTORE_PASSWORD} holds the password")
    command.add_argument("--out", type=Path, default=ROOT / "build/apk", help="folder (%(default)s)")
    command = commands.add_parser("device", help="run the instrumented test on a connected device or emulator")
    command.add_argument("bundle", type=Path)
    command.add_argument("tests", type=Path, help="the APK of the tests, as Gradle builds it")
    command.add_argument("--question", default="What is the capital of Japan?")
    command.add_argument("--tokens", type=int, default=64, help="of the answer, at most (%(default)s)")
    command.add_argument("--expected", help="the whole answer, where it is known")
    command.add_argument("--serial", help="of several devices")
    command.add_argument("--summary", type=Path, help="append the result as Markdown to this file")
    options = parser.parse_args()
    try:
        return {"apk": _apk, "device": _device, "fetch": _fetch, "test": _test}[options.command](options)
    except MlpExportError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code


def _fetch(options: argparse.Namespace) -> int:
    missing = fetch.fetch(options.cache, [name for purpose in options.purposes for name in fetch.PURPOSES[purpose]])
    for why in missing.values():
        print(f"missing: {why}", file=sys.stderr)
    return 0


def _apk(options: argparse.Namespace) -> int:
    for given in (options.aar, options.qnn_runtime, options.keystore):
        if given and not given.exists():
            raise UsageError(f"{given} is not there", "check the path")
    if options.keystore and KEYSTORE_PASSWORD not in os.environ:
        raise UsageError(
            f"{KEYSTORE_PASSWORD} is not set", "put the keystore's password into this environment variable"
        )
    fetch.require(options.cache, fetch.APK)
    out = ROOT / "build/android"
    runtime = aar_runtime(options.aar, out / "aar") if options.aar else npm_runtime(options.cache)
    if options.qnn_runtime:
        runtime = add_qnn_libraries(runtime, options.qnn_runtime, out / "qnn-runtime")
    elif runtime.qnn:
        raise UsageError(f"{options.aar} needs Qualcomm's libraries, too", "name them with --qnn-runtime")
    project = Project(options.cache, out / runtime.flavor if options.aar else out, runtime.jars)
    key = Key(options.keystore, f"env:{KEYSTORE_PASSWORD}") if options.keystore else machine_key(options.cache)
    name = f"mlp-export-demo-{project.properties['versionName']}-{runtime.flavor}.apk"
    abis = options.abi or [abi for abi in ABIS if abi in runtime.libraries]
    apk = build_apk(project, runtime, key, options.out / name, abis)
    print(badging(apk))
    print(f"{apk}: {apk.stat().st_size:,} bytes, signed with {key.keystore}")
    return 0


def _device(options: argparse.Namespace) -> int:
    asked = (options.question, options.tokens, options.expected, options.serial)
    measured = run_on_device(options.bundle.resolve(), options.tests, *asked)
    print(json.dumps(measured, ensure_ascii=False, indent=2))
    if options.summary:
        with options.summary.open("a", encoding="utf-8") as file:
            file.write(summary(options.bundle, options.question, measured))
    return 0


def _test(options: argparse.Namespace) -> int:
    if unknown := set(options.runners) - set(RUNNERS):
        raise UsageError(f"there is no runner {', '.join(sorted(unknown))}", f"known are {', '.join(RUNNERS)}")
    if options.bundles and not (options.bundles / "real/manifest.json").is_file():
        raise UsageError(f"{options.bundles} has no bundle `real`", "`make test-android` exports it")
    fetch.require(options.cache, fetch.TESTS)
    options.screenshots.mkdir(parents=True, exist_ok=True)
    package = options.cache / fetch.ANDROID / "package"
    project = Project(options.cache, ROOT / "build/android", [package / "android/libs/classes.jar"])
    outcomes = []
    for runner in options.runners or [name for name in RUNNERS if name != "end-to-end" or options.bundles]:
        try:
            folder, path, properties, arguments = _runner(runner, project, options)
            classes = find_tests(folder, options.only)
            if classes or not options.only:
                outcomes.append(run_tests(runner, classes, path, properties, arguments))
        except BuildError as error:  # the others may still compile and run
            print(f"error: {error.message}", file=sys.stderr)
            outcomes.append(Outcome(runner, 0, 1, 1, 0.0))
    print(*outcomes, sep="\n")
    return 0 if outcomes and all(outcome.succeeded for outcome in outcomes) else 1


def _runner(
    name: str, project: Project, options: argparse.Namespace
) -> tuple[Path, list[Path], dict[str, object], list[str]]:
    """Compile a runner's tests; returns their folder, the class path, system properties and the JVM's arguments."""
    properties: dict[str, object] = {"vectors": ROOT / "tests/vectors", "screenshots": options.screenshots.resolve()}
    common = [project.fixtures, project.core, *project.libraries, *project.test_libraries]
    if name == "core":
        return project.core_tests, [project.core_tests, *common], properties, []
    properties |= {"robolectric.offline": "true", "robolectric.enabledSdks": "35"}
    properties["robolectric.dependency.dir"] = project.cache / "robolectric"
    # Android's own classes last: annotations name them outside of Robolectric's sandbox.
    common += [project.app, *project.runtime, *fetch.jars(project.cache, "platform")]
    tests = project.app_tests("test")
    path = [_robolectric_config(project), tests, *common]
    if name == "app":
        return tests, path, properties, []
    if not options.bundles:
        raise UsageError("the end-to-end tests need bundles", "name them with --bundles, or run `make test-android`")
    folder = project.app_tests("endToEnd")
    bundles = options.bundles.resolve()
    properties |= {"bundle": bundles / "real", "tiny.bundle": bundles / "tiny", "answers": bundles / "answers.json"}
    properties["packed.library"] = project.native / PACKED
    agent = [f"-agentpath:{project.native / SHIM}", f"-Djava.library.path={project.native}"]
    return folder, [folder, *path], properties, agent


def _robolectric_config(project: Project) -> Path:
    """A class path folder that tells Robolectric where manifest and resources are."""
    folder = project.out / "robolectric"
    config = folder / "com/android/tools/test_config.properties"
    config.parent.mkdir(parents=True, exist_ok=True)
    made = project.resources
    config.write_text(
        f"android_merged_manifest={made.manifest}\nandroid_resource_apk={made.linked}\n"
        f"android_custom_package={project.properties['applicationId']}\n"
    )
    return folder


if __name__ == "__main__":
    sys.exit(main())
