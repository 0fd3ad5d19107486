"""Checks the Xcode project as far as that goes without Xcode: its objects, its files, the settings that the app needs.

Xcode tells of a damaged project only when it opens it, and of a missing `-all_load` never: the app then starts, and has
no backends. Structure is checked here, not Xcode's schema.
"""

from __future__ import annotations

import plistlib
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from ios_demo.tools.common import ROOT, CheckError
from ios_demo.tools.openstep import Value, parse

APP = "com.apple.product-type.application"
EXTENSION = "com.apple.product-type.app-extension"
TESTS = ("com.apple.product-type.bundle.unit-test", "com.apple.product-type.bundle.ui-testing")
APP_ID = "org.mlpexport.demo"
GROUP = "group.org.mlpexport.demo"
OLDEST_IOS = 18.0
# What the app links of ExecuTorch's package: without one of them a model fails to load, or does not link.
PRODUCTS = {
    "executorch",
    "executorch_llm",
    "backend_coreml",
    "backend_xnnpack",
    "kernels_llm",
    "kernels_optimized",
    "kernels_quantized",
}
_ID = re.compile(r"[0-9A-F]{24}")
_COPY_PLUGINS = "13"  # dstSubfolderSpec
# Key of an object -> what the object is that it names
_KINDS = {
    "baseConfigurationReference": "PBXFileReference",
    "buildConfigurationList": "XCConfigurationList",
    "buildConfigurations": "XCBuildConfiguration",
    "dependencies": "PBXTargetDependency",
    "fileSystemSynchronizedGroups": "PBXFileSystemSynchronizedRootGroup",
    "mainGroup": "PBXGroup",
    "packageProductDependencies": "XCSwiftPackageProductDependency",
    "productRef": "XCSwiftPackageProductDependency",
    "productRefGroup": "PBXGroup",
    "productReference": "PBXFileReference",
    "target": "PBXNativeTarget",
    "targetProxy": "PBXContainerItemProxy",
    "targets": "PBXNativeTarget",
}
Object = dict[str, Value]


def check_project(project: Path) -> list[str]:
    """What is wrong with the folder `project` (NAME.xcodeproj), a sentence each."""
    file = project / "project.pbxproj"
    if not file.is_file():
        return [f"{project.name}: there is no project.pbxproj"]
    try:
        tree = parse(file.read_text(encoding="utf-8"), file.name)
    except CheckError as error:
        return [error.message]
    objects = tree.get("objects")
    root = tree.get("rootObject")
    if not isinstance(objects, dict) or not isinstance(root, str):
        return [f"{file.name}: there are no objects, or there is no rootObject"]
    known = {name: item for name, item in objects.items() if isinstance(item, dict) and "isa" in item}
    problems = [f"{name} has no isa" for name in objects if name not in known]
    if tree.get("objectVersion") != "77":
        problems.append(f"objectVersion is {tree.get('objectVersion')}, expected 77: synchronized folders need it")
    problems += _links(known, root)
    if problems:
        return [f"{file.name}: {problem}" for problem in problems]
    found = _Project(project.parent, known, known[root])
    return [f"{file.name}: {problem}" for problem in found.problems()] + _schemes(project, known)


def _links(objects: dict[str, Object], root: str) -> list[str]:
    """Ids that nothing has, objects that nothing names, and names of an object of the wrong kind."""
    problems, seen, todo = [], set(), [root]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in objects:
            problems.append(f"{name} is named and not there")
            continue
        for key, value in objects[name].items():
            for other in _ids(value, objects):
                todo.append(other)
                kind = objects[other]["isa"] if other in objects else ""
                if kind and key in _KINDS and kind != _KINDS[key]:
                    problems.append(f"{key} of {name} names a {kind}, expected a {_KINDS[key]}")
                if kind and key == "buildPhases" and not str(kind).endswith("BuildPhase"):
                    problems.append(f"{key} of {name} names a {kind}, expected a build phase")
    return problems + [f"{name} ({item['isa']}) is never used" for name, item in objects.items() if name not in seen]


def _ids(value: Value, objects: dict[str, Object]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _ids(key, objects)
            yield from _ids(inner, objects)
    elif isinstance(value, list):
        for inner in value:
            yield from _ids(inner, objects)
    elif value in objects or _ID.fullmatch(value):
        yield value


class _Project:
    """A project whose links are sound."""

    def __init__(self, folder: Path, objects: dict[str, Object], root: Object) -> None:
        self.folder, self.objects, self.root = folder, objects, root
        self.paths: dict[str, Path] = {}  # of groups and files on disk

    def problems(self) -> list[str]:
        problems = self._files(str(self.root["mainGroup"]), self.folder) + self._packages()
        targets = {name: self.objects[name] for name in _strings(self.root.get("targets"))}
        kinds = [str(target.get("productType")) for target in targets.values()]
        for kind in (APP, EXTENSION):
            if kinds.count(kind) != 1:
                problems.append(f"{kinds.count(kind)} targets are of type {kind}, expected one")
        names = self._configuration_names(self.root)
        for target in targets.values():
            found = self._configuration_names(target)
            if found != names:
                problems.append(f"{target['name']} has the configurations {found}, the project {names}")
            problems += self._linked(target) + self._settings(target) + self._embedded(target, targets)
        return problems

    def _files(self, name: str, parent: Path) -> list[str]:
        """Folders and files that are missing. Notes where each lies."""
        item = self.objects[name]
        if item.get("sourceTree") == "BUILT_PRODUCTS_DIR":
            return []
        base = self.folder if item.get("sourceTree") == "SOURCE_ROOT" else parent
        path = base / str(item.get("path", ""))
        self.paths[name] = path
        problems = [problem for child in _strings(item.get("children")) for problem in self._files(child, path)]
        is_folder = item["isa"] == "PBXFileSystemSynchronizedRootGroup"
        if (is_folder and not path.is_dir()) or not path.exists():
            problems.append(f"{path.relative_to(self.folder)} is not there")
        for exceptions in _strings(item.get("exceptions")):
            for member in _strings(self.objects[exceptions].get("membershipExceptions")):
                if not (path / member).exists():
                    problems.append(f"{path.relative_to(self.folder) / member}, an exception, is not there")
        return problems

    def _packages(self) -> list[str]:
        """Swift packages: the local one there, ExecuTorch's at the version that models are exported for."""
        problems = []
        references = [self.objects[name] for name in _strings(self.root.get("packageReferences"))]
        branch = f"swiftpm-{_executorch_version()}"
        remotes = [item for item in references if item["isa"] == "XCRemoteSwiftPackageReference"]
        for item in remotes:
            requirement = item.get("requirement")
            found = requirement.get("branch") if isinstance(requirement, dict) else None
            if "pytorch/executorch" in str(item.get("repositoryURL")) and found != branch:
                problems.append(f"ExecuTorch's package is of branch {found}, expected {branch} as in requirements.txt")
        if not any("pytorch/executorch" in str(item.get("repositoryURL")) for item in remotes):
            problems.append("ExecuTorch's package is not among packageReferences")
        local: set[str] = set()
        for item in references:
            if item["isa"] == "XCLocalSwiftPackageReference":
                manifest = self.folder / str(item.get("relativePath")) / "Package.swift"
                if manifest.is_file():
                    local |= set(re.findall(r'\.library\(\s*name: "(\w+)"', manifest.read_text(encoding="utf-8")))
                else:
                    problems.append(f"{item.get('relativePath')} has no Package.swift")
        for item in self.objects.values():
            if item["isa"] != "XCSwiftPackageProductDependency":
                continue
            package = self.objects.get(str(item.get("package")), {})
            remote = package.get("isa") == "XCRemoteSwiftPackageReference"
            if not remote and item.get("productName") not in local:
                problems.append(f"no package has the product {item.get('productName')}")
        return problems

    def _linked(self, target: Object) -> list[str]:
        """Products that a target depends on and does not link, or links and does not depend on."""
        depends = set(_strings(target.get("packageProductDependencies")))
        links = {
            str(item["productRef"]) for item in self._built(target, "PBXFrameworksBuildPhase") if "productRef" in item
        }
        problems = [
            f"{target['name']}: {self.objects[name].get('productName')} is a dependency or linked, expected both"
            for name in sorted(depends ^ links)
        ]
        names = {str(self.objects[name].get("productName")) for name in links}
        if target.get("productType") == APP and (missing := PRODUCTS - names):
            problems.append(f"{target['name']} does not link {', '.join(sorted(missing))}")
        return problems

    def _built(self, target: Object, phase: str) -> list[Object]:
        """Build files of a target's phases of one kind."""
        phases = [self.objects[name] for name in _strings(target.get("buildPhases"))]
        return [self.objects[name] for item in phases if item["isa"] == phase for name in _strings(item.get("files"))]

    def _settings(self, target: Object) -> list[str]:
        """What a target's build settings lack, in each configuration."""
        problems = []
        for configuration, settings in self._configurations(target):
            where = f"{target['name']}, {configuration}"
            problems += [f"{where}: {problem}" for problem in self._setting_problems(target, settings)]
        return problems

    def _setting_problems(self, target: Object, settings: Object) -> Iterator[str]:
        kind = target.get("productType")
        oldest = settings.get("IPHONEOS_DEPLOYMENT_TARGET")
        try:
            new_enough = float(str(oldest)) >= OLDEST_IOS
        except ValueError:
            new_enough = False
        if not new_enough:
            yield f"IPHONEOS_DEPLOYMENT_TARGET is {oldest}, expected {OLDEST_IOS} or later"
        if settings.get("SDKROOT") != "iphoneos":
            yield f"SDKROOT is {settings.get('SDKROOT')}, expected iphoneos"
        if not settings.get("SWIFT_VERSION"):
            yield "SWIFT_VERSION is not set"
        identifier = {APP: APP_ID, EXTENSION: f"{APP_ID}.share"}.get(str(kind))
        if identifier and settings.get("PRODUCT_BUNDLE_IDENTIFIER") != identifier:
            yield f"PRODUCT_BUNDLE_IDENTIFIER is {settings.get('PRODUCT_BUNDLE_IDENTIFIER')}, expected {identifier}"
        if kind == APP and "-all_load" not in _words(settings.get("OTHER_LDFLAGS")):
            yield "OTHER_LDFLAGS has no -all_load: backends and kernels would not be registered"
        if kind == APP and settings.get("TARGETED_DEVICE_FAMILY") != "1,2":
            yield f"TARGETED_DEVICE_FAMILY is {settings.get('TARGETED_DEVICE_FAMILY')}, expected 1,2: iPhone and iPad"
        for key in ("INFOPLIST_FILE", "CODE_SIGN_ENTITLEMENTS"):
            path = settings.get(key)
            if path and not (self.folder / str(path)).is_file():
                yield f"{key} names {path}, which is not there"
            elif not path and kind in (APP, EXTENSION):
                yield f"{key} is not set"
        yield from self._info_plist_twice(target, settings.get("INFOPLIST_FILE"))
        if kind in (APP, EXTENSION) and (entitlements := settings.get("CODE_SIGN_ENTITLEMENTS")):
            yield from _entitlement_problems(self.folder / str(entitlements), settings, memory=kind == APP)
        if kind in (APP, EXTENSION) and (info := _read_plist(self.folder / str(settings.get("INFOPLIST_FILE")))):
            group = _expanded(str(info.get("AppGroup")), settings)
            if group != GROUP:
                yield f"{settings.get('INFOPLIST_FILE')}: AppGroup is {group}, expected {GROUP}"

    def _info_plist_twice(self, target: Object, info: Value | None) -> Iterator[str]:
        """An Info.plist in a synchronized folder is copied as a resource, too, unless it is an exception there."""
        if not info:
            return
        for name in _strings(target.get("fileSystemSynchronizedGroups")):
            folder = self.paths.get(name)
            path = self.folder / str(info)
            if not folder or folder not in path.parents:
                continue
            excepted = [
                member
                for exceptions in _strings(self.objects[name].get("exceptions"))
                for member in _strings(self.objects[exceptions].get("membershipExceptions"))
            ]
            if path.relative_to(folder).as_posix() not in excepted:
                yield f"{info} lies in a synchronized folder and is no exception there: it would be copied twice"

    def _embedded(self, target: Object, targets: dict[str, Object]) -> list[str]:
        """What an app lacks to carry its extensions, and tests to have an app."""
        dependencies = [self.objects[name] for name in _strings(target.get("dependencies"))]
        on = {str(item.get("target")) for item in dependencies}
        problems = []
        for item in dependencies:
            proxy = self.objects[str(item.get("targetProxy"))]
            if proxy.get("remoteGlobalIDString") != item.get("target"):
                problems.append(f"{target['name']}: a dependency and its proxy name different targets")
        if target.get("productType") == APP:
            phases = [self.objects[name] for name in _strings(target.get("buildPhases"))]
            copied = {
                str(self.objects[name].get("fileRef"))
                for phase in phases
                if phase["isa"] == "PBXCopyFilesBuildPhase" and phase.get("dstSubfolderSpec") == _COPY_PLUGINS
                for name in _strings(phase.get("files"))
            }
            for name, other in targets.items():
                if other.get("productType") != EXTENSION:
                    continue
                if name not in on:
                    problems.append(f"{target['name']} does not depend on {other['name']}")
                if other.get("productReference") not in copied:
                    problems.append(
                        f"{target['name']} does not embed {other['name']} (dstSubfolderSpec {_COPY_PLUGINS})"
                    )
        if target.get("productType") in TESTS and not any(targets[name].get("productType") == APP for name in on):
            problems.append(f"{target['name']} does not depend on the app that it tests")
        return problems

    def _configurations(self, target: Object) -> list[tuple[str, Object]]:
        """Name and settings of each configuration, those of the project included."""
        project = dict(self._own_configurations(self.root))
        found = []
        for name, own in self._own_configurations(target):
            settings: Object = {"TARGET_NAME": target.get("name", ""), **project.get(name, {}), **own}
            found.append((name, {key: _expanded(value, settings) for key, value in settings.items()}))
        return found

    def _own_configurations(self, item: Object) -> list[tuple[str, Object]]:
        listed = _strings(self.objects[str(item["buildConfigurationList"])].get("buildConfigurations"))
        found = []
        for configuration in (self.objects[name] for name in listed):
            settings = configuration.get("buildSettings")
            own = settings if isinstance(settings, dict) else {}
            file = self.paths.get(str(configuration.get("baseConfigurationReference")))
            below = read_xcconfig(file.read_text(encoding="utf-8")) if file and file.is_file() else {}
            found.append((str(configuration.get("name")), {**below, **own}))
        return found

    def _configuration_names(self, item: Object) -> list[str]:
        return [name for name, _ in self._own_configurations(item)]


def read_xcconfig(text: str) -> Object:
    """The settings of a configuration file; those with a condition, and included files, are left out."""
    lines = (line.partition("//")[0] for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if re.match(r"\s*\w+\s*=", line))
    return {key.strip(): value.strip() for key, _, value in pairs}


def _expanded(value: Value, settings: Object, depth: int = 8) -> Value:
    """A setting's value with $(NAME) replaced, as far as the project tells what NAME is."""
    if isinstance(value, list):
        return [_expanded(item, settings) for item in value]
    if isinstance(value, dict) or not depth:
        return value

    def known(name: re.Match[str]) -> str:
        inner = settings.get(name[1])
        return inner if isinstance(inner, str) and inner != value else name[0]

    once = re.sub(r"\$[({](\w+)[)}]", known, value)
    return once if once == value else _expanded(once, settings, depth - 1)


def _read_plist(file: Path) -> dict[str, Any]:
    """A property list; an empty one where it cannot be read, which is told where all property lists are checked."""
    try:
        found = plistlib.loads(file.read_bytes())
    except (OSError, plistlib.InvalidFileException, ValueError, ExpatError):
        return {}
    return found if isinstance(found, dict) else {}


def _entitlement_problems(file: Path, settings: Object, memory: bool) -> Iterator[str]:
    found = _read_plist(file)
    groups = [_expanded(str(group), settings) for group in found.get("com.apple.security.application-groups", [])]
    if groups != [GROUP]:
        yield f"{file.name} has the app groups {groups}, expected {GROUP}"
    if memory and found.get("com.apple.developer.kernel.increased-memory-limit") is not True:
        yield f"{file.name} lacks com.apple.developer.kernel.increased-memory-limit"


def _schemes(project: Path, objects: dict[str, Object]) -> list[str]:
    """Shared schemes: well-formed, of targets that are there. A scheme of the project's name has to be there."""
    folder = project / "xcshareddata/xcschemes"
    problems = []
    if not (folder / f"{project.stem}.xcscheme").is_file():
        problems.append(f"{project.name} has no shared scheme {project.stem}: xcodebuild would find none")
    for file in sorted(folder.glob("*.xcscheme")):
        try:
            root = ElementTree.parse(file).getroot()
        except ElementTree.ParseError as error:
            problems.append(f"{file.name}: {error}")
            continue
        references = list(root.iter("BuildableReference"))
        if not references:
            problems.append(f"{file.name} builds nothing")
        for reference in references:
            target = objects.get(reference.get("BlueprintIdentifier", ""), {})
            container = reference.get("ReferencedContainer", "")
            if container != f"container:{project.name}":
                problems.append(f"{file.name} names {container}, expected container:{project.name}")
            elif target.get("name") != reference.get("BlueprintName"):
                problems.append(f"{file.name}: {reference.get('BlueprintName')} is no target of that id")
    return problems


def _executorch_version() -> str:
    """The version of ExecuTorch that is tested."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return next(line.partition("==")[2].split()[0] for line in lines if line.startswith("executorch=="))


def _strings(value: Value | None) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _words(value: Value | None) -> list[str]:
    return _strings(value) if isinstance(value, list) else str(value or "").split()
