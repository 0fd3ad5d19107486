"""The command line: fetch, apk, test."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mlp_export.errors import MlpExportError

from android_demo.tools import fetch
from android_demo.tools.common import CACHE, ROOT
from android_demo.tools.compile import APP, Project
from android_demo.tools.jvm_tests import Outcome, run_tests, test_classes

RUNNERS = ("core", "app")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m android_demo.tools", description=__doc__)
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of what is fetched (%(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("fetch", help="get what the purposes need; exits with 0 even where something is missing")
    command.add_argument("purposes", nargs="+", choices=fetch.PURPOSES)
    command = commands.add_parser("test", help="run the JUnit tests")
    command.add_argument("runners", nargs="*", metavar="RUNNER", help=f"some of: {' '.join(RUNNERS)} (all)")
    command.add_argument("--only", action="append", default=[], metavar="CLASS", help="only this test class")
    command.add_argument("--screenshots", type=Path, default=ROOT / "build/android/screenshots")
    options = parser.parse_args()
    try:
        return {"fetch": _fetch, "test": _test}[options.command](options)
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


def _test(options: argparse.Namespace) -> int:
    fetch.require(options.cache, fetch.TESTS)
    package = options.cache / fetch.ANDROID / "package"
    project = Project(options.cache, ROOT / "build/android", [package / "android/libs/classes.jar"])
    properties = {"vectors": ROOT / "tests/vectors", "screenshots": options.screenshots.resolve()}
    outcomes: list[Outcome] = []
    for runner in options.runners or RUNNERS:
        if runner == "core":
            folder = project.core_tests
            path = [folder, project.fixtures, project.core, *project.libraries, *project.test_libraries]
            values: dict[str, object] = dict(properties)
        else:
            folder = project.app_tests("test")
            path = [_robolectric_config(project), APP / "test/resources", folder, project.fixtures, project.app]
            path += [project.core, *project.libraries, *project.runtime, *project.test_libraries]
            values = {**properties, "robolectric.offline": "true", "robolectric.enabledSdks": "35"}
            values["robolectric.dependency.dir"] = options.cache.resolve() / "robolectric"
        options.screenshots.mkdir(parents=True, exist_ok=True)
        classes = test_classes(folder, options.only)
        if classes or not options.only:
            outcomes.append(run_tests(runner, classes, path, values))
    print(*outcomes, sep="\n")
    return 0 if outcomes and all(outcome.succeeded for outcome in outcomes) else 1


def _robolectric_config(project: Project) -> Path:
    """A class path folder that tells Robolectric where manifest and resources are."""
    folder = project.out / "robolectric"
    config = folder / "com/android/tools/test_config.properties"
    config.parent.mkdir(parents=True, exist_ok=True)
    made = project.resources
    config.write_text(
        f"android_merged_manifest={made.manifest}\nandroid_resource_apk={made.linked}\n"
        "android_custom_package=org.mlpexport.demo\n"
    )
    return folder


if __name__ == "__main__":
    sys.exit(main())
