"""The checks of the Xcode project, property lists, assets, texts and sources: of the app's own, and of broken ones."""

from __future__ import annotations

import json
import plistlib
import shutil
import struct
import zlib
from pathlib import Path

import pytest

from ios_demo.tools import checks
from ios_demo.tools.checks import check_all
from ios_demo.tools.common import DEMO, CheckError
from ios_demo.tools.openstep import parse
from ios_demo.tools.project import check_project, read_xcconfig
from ios_demo.tools.resources import check_assets, check_lists, check_sources
from ios_demo.tools.texts import Call, check_texts, find_calls
from ios_demo.tools.toolchain import Toolchain

PROJECT = "MlpDemo.xcodeproj/project.pbxproj"
SCHEME = "MlpDemo.xcodeproj/xcshareddata/xcschemes/MlpDemo.xcscheme"
ENGLISH = "MlpCore/Sources/MlpCore/Resources/en.lproj/Localizable.strings"
GERMAN = ENGLISH.replace("/en.", "/de.")


def test_nothing_is_wrong_with_the_app() -> None:
    assert check_all() == []


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    """A copy of the app, to be broken."""
    ignored = shutil.ignore_patterns(".build", "tools", "LinuxCheck", "Tests", "MlpFixtures")
    return Path(shutil.copytree(DEMO, tmp_path / "ios_demo", symlinks=True, ignore=ignored))


def replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def new_problems(demo: Path) -> list[str]:
    """What is wrong with the copy's project and not with the app's."""
    known = check_project(DEMO / "MlpDemo.xcodeproj")
    return [problem for problem in check_project(demo / "MlpDemo.xcodeproj") if problem not in known]


def add_text(demo: Path, english: str, german: str) -> None:
    for name, line in ((ENGLISH, english), (GERMAN, german)):
        with (demo / name).open("a") as file:
            file.write(line + "\n")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("objectVersion = 77", "objectVersion = 56", "objectVersion is 56"),
        ("mainGroup = 4D4C50000000000000000002", "mainGroup = 4D4C500000000000000000FF", "FF is named and not there"),
        ('"-all_load",', "", "no -all_load"),
        ("path = Engine;", "path = Engines;", "Engines is not there"),
        ("swiftpm-1.5.1", "swiftpm-1.4.0", "branch swiftpm-1.4.0, expected swiftpm-1.5.1"),
        ("productName = backend_xnnpack;", "productName = backend_mps;", "does not link backend_xnnpack"),
        ("relativePath = MlpCore;", "relativePath = Core;", "Core has no Package.swift"),
        ("productName = MlpCore;", "productName = MlpKernel;", "no package has the product MlpKernel"),
        ("dstSubfolderSpec = 13", "dstSubfolderSpec = 10", "does not embed ShareExtension"),
        ("IPHONEOS_DEPLOYMENT_TARGET = 18.0", "IPHONEOS_DEPLOYMENT_TARGET = 17.0", "expected 18.0 or later"),
        ("IPHONEOS_DEPLOYMENT_TARGET = 18.0;", "", "IPHONEOS_DEPLOYMENT_TARGET is None"),
        (
            "INFOPLIST_FILE = Support/Info.plist",
            "INFOPLIST_FILE = Support/Other.plist",
            "Support/Other.plist, which is not",
        ),
        ('"$(APP_IDENTIFIER).share"', '"$(APP_IDENTIFIER).shared"', "expected org.mlpexport.demo.share"),
        ('TARGETED_DEVICE_FAMILY = "1,2"', "TARGETED_DEVICE_FAMILY = 1", "expected 1,2"),
        ("isa = PBXTargetDependency", "isa = PBXGroup", "names a PBXGroup, expected a PBXTargetDependency"),
        ("rootObject = ", "rootObjects = ", "there is no rootObject"),
        ("objectVersion = 77;", "objectVersion = 77", "expected `;`"),
    ],
)
def test_project_that_is_broken(demo: Path, old: str, new: str, problem: str) -> None:
    replace(demo / PROJECT, old, new)
    found = check_project(demo / "MlpDemo.xcodeproj")
    assert [each for each in found if problem in each], found


def test_object_that_nothing_names(demo: Path) -> None:
    extra = 'objects = {\n\t\t4D4C5000000000000000EEEE = {isa = PBXGroup; sourceTree = "<group>"; };'
    replace(demo / PROJECT, "objects = {", extra)
    found = check_project(demo / "MlpDemo.xcodeproj")
    assert found == ["project.pbxproj: 4D4C5000000000000000EEEE (PBXGroup) is never used"]


def test_info_plist_in_a_synchronized_folder(demo: Path) -> None:
    shutil.copy(demo / "Support/Info.plist", demo / "App/Info.plist")
    replace(demo / PROJECT, "INFOPLIST_FILE = Support/Info.plist", "INFOPLIST_FILE = App/Info.plist")
    found = new_problems(demo)
    assert len(found) == 2 and all("would be copied twice" in problem for problem in found)


def test_project_without_its_scheme(demo: Path) -> None:
    scheme = (demo / SCHEME).read_text()
    (demo / SCHEME).unlink()
    assert "no shared scheme MlpDemo" in new_problems(demo)[0]
    (demo / SCHEME).write_text(scheme.replace('BlueprintName = "MlpDemo"', 'BlueprintName = "Other"'))
    assert "Other is no target of that id" in new_problems(demo)[0]
    (demo / SCHEME).write_text(scheme[:-20])
    assert "MlpDemo.xcscheme" in new_problems(demo)[0]


def test_app_group_that_differs(demo: Path) -> None:
    replace(demo / "Support/ShareExtension.entitlements", "group.$(APP_IDENTIFIER)", "group.$(APP_IDENTIFIER).x")
    replace(demo / "Support/Info.plist", "group.$(APP_IDENTIFIER)", "group.other")
    found = "\n".join(check_project(demo / "MlpDemo.xcodeproj"))
    assert "ShareExtension.entitlements has the app groups ['group.org.mlpexport.demo.x']" in found
    assert "AppGroup is group.other" in found


def test_memory_entitlement_that_is_missing(demo: Path) -> None:
    replace(demo / "Support/MlpDemo.entitlements", "increased-memory-limit", "decreased-memory-limit")
    found = new_problems(demo)
    assert len(found) == 2 and "increased-memory-limit" in found[0]


def test_settings_of_a_configuration_file() -> None:
    text = '// a = b\nA = b c // d\nB=$(A)\nC[sdk=iphonesimulator*] = d\n#include "x"\nD =\n'
    assert read_xcconfig(text) == {"A": "b c", "B": "$(A)", "D": ""}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"a b" = "c \\"d\\"\\n";', {"a b": 'c "d"\n'}),
        ("{ a = (b, c, ); d = { e = f; }; }", {"a": ["b", "c"], "d": {"e": "f"}}),
        ("{ a = (); /* b = c; */ // d = e;\n }", {"a": []}),
        ('"\\U00e4" = "x";', {"ä": "x"}),
        ('"a" = "b; // c";', {"a": "b; // c"}),
    ],
)
def test_property_list_of_openstep(text: str, value: object) -> None:
    assert parse(text, "x") == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('"a" = "b";\n"a" = "c";', 'x:2: found `"a" = "c";`, expected one `a`'),
        ('"a" = "b"\n"c" = "d";', 'x:2: found `"c" = "d";`, expected `;`'),
        ('"a" "b";', "expected `=`"),
        ("{ a = (b c); }", "expected `)`"),
        ("{ a = b; ", "expected a string"),
        ('{ a = "b; }', "expected a string"),
        ("{ a = b; } c", "x:1: found `c`, expected the end"),
    ],
)
def test_text_that_is_no_property_list(text: str, problem: str) -> None:
    with pytest.raises(CheckError) as error:
        parse(text, "x")
    assert problem in error.value.message


def test_list_that_lacks_what_the_app_needs(demo: Path) -> None:
    info = demo / "Support/Info.plist"
    values = plistlib.loads(info.read_bytes())
    values.pop("UIFileSharingEnabled")
    info.write_bytes(plistlib.dumps(values))
    (demo / "Support/MlpDemo.entitlements").write_text("<plist><dict><key>a</key></plist>")
    (demo / "App/Other.plist").write_bytes(plistlib.dumps(["a"]))
    found = [problem for problem in check_lists(demo) if problem not in check_lists(DEMO)]
    assert found[0] == "App/Other.plist holds a list, expected a dictionary"
    assert found[1] == "Support/Info.plist: UIFileSharingEnabled is None, expected True"
    assert found[2].startswith("Support/MlpDemo.entitlements is no property list")
    assert len(found) == 3


def test_extension_whose_class_is_not_there(demo: Path) -> None:
    replace(demo / "Support/ShareExtension-Info.plist", "ShareViewController", "OtherController")
    assert any("OtherController, expected" in problem for problem in check_lists(demo))


def png(width: int, color: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, width, 8, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (png(1024, 2), ""),
        (png(512, 2), "512 x 512 pixels"),
        (png(1024, 6), "alpha channel"),
        (b"GIF89a", "is no PNG"),
        (None, "which is not there"),
    ],
)
def test_app_icon(tmp_path: Path, data: bytes | None, problem: str) -> None:
    folder = tmp_path / "Assets.xcassets/AppIcon.appiconset"
    folder.mkdir(parents=True)
    (folder / "Contents.json").write_text(json.dumps({"images": [{"filename": "a.png"}]}))
    if data is not None:
        (folder / "a.png").write_bytes(data)
    found = check_assets(tmp_path)
    assert (problem in found[0] and len(found) == 1) if problem else found == []


def test_asset_that_nothing_names(tmp_path: Path) -> None:
    (tmp_path / "A.xcassets/B.imageset").mkdir(parents=True)
    (tmp_path / "A.xcassets/B.imageset/Contents.json").write_text('{"images": []}')
    (tmp_path / "A.xcassets/B.imageset/b.png").write_bytes(b"")
    assert check_assets(tmp_path) == ["A.xcassets/B.imageset/Contents.json does not name b.png"]


@pytest.mark.parametrize("line", ['fatalError("x")', "print(a)", "// TODO: b", 'let a = "group.org.example"'])
def test_word_that_no_source_may_hold(demo: Path, line: str) -> None:
    before = check_sources(demo)
    (demo / "App/Bad.swift").write_text(f"import MlpCore\n{line}\n")
    found = [problem for problem in check_sources(demo) if problem not in before]
    assert len(found) == 1 and found[0].startswith("App/Bad.swift:2:")


@pytest.mark.parametrize(
    ("english", "german", "problem"),
    [
        ('"x.y" = "A";', "", "de.lproj/Localizable.strings lacks x.y"),
        ("", '"x.y" = "A";', "has x.y, MlpCore/Sources/MlpCore/Resources/en.lproj/Localizable.strings has not"),
        ('"x.y" = "A %1$@";', '"x.y" = "A";', "x.y has other placeholders than in en"),
        ('"x.y" = "A %2$@";', '"x.y" = "A %2$@";', "placeholders of x.y are not numbered from 1"),
        ('"x.y" = "A %@";', '"x.y" = "A %@";', "x.y has the placeholder %@, expected %1$@"),
        ('"x.y" = "A %1$d";', '"x.y" = "A %1$d";', "x.y has the placeholder %1$d"),
        ('"x.y" = " ";', '"x.y" = "A";', "x.y is empty in a language"),
        ('"x.y" = "A";', '"x.y" = "A";', "en: x.y is used nowhere"),
        ('"x.y" = "A"', '"x.y" = "A";', "en.lproj/Localizable.strings"),
    ],
)
def test_texts_that_differ(demo: Path, english: str, german: str, problem: str) -> None:
    add_text(demo, english, german)
    found = check_texts(demo)
    assert [each for each in found if problem in each], found


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ('text("no.such")', "there is no text no.such"),
        ('text("x.y", "a")', ""),
        ('text("x.y")', "x.y takes 1 values, 0 are given"),
        ('text("x.y", name(a, b), "c")', "x.y takes 1 values, 2 are given"),
        ('text("x.\\(kind.rawValue)", a)', ""),
        ('text("z.\\(kind.rawValue)", a)', "there is no text z."),
        ('text("x.y", a); Text("Hello")', "`Hello` is written into the view"),
        ('text("x.y", a); view.navigationTitle("Chat")', "`Chat` is written into the view"),
        ('text("x.y", a); Text("")', ""),
        ('text("x.y", a); Text("\\(name) %")', ""),
    ],
)
def test_use_of_a_text(demo: Path, source: str, problem: str) -> None:
    before = check_texts(demo)
    add_text(demo, '"x.y" = "A %1$@";', '"x.y" = "B %1$@";')
    (demo / "App/Use.swift").write_text(source)
    found = [each for each in check_texts(demo) if each not in before and "is used nowhere" not in each]
    assert (problem in found[0] and len(found) == 1) if problem else found == []


def test_calls_that_are_found() -> None:
    source = 'a = text("a.b")\nb = context("c")\ntext(\n  "d.\\(f("x"))", [1, 2].count, "e, \\(g(1, 2))")\nx.text("n")'
    assert list(find_calls(source, "f")) == [Call("f:1", "a.b", 0), Call("f:3", 'd.\\(f("x"))', 2)]


def test_language_that_is_missing(demo: Path) -> None:
    (demo / GERMAN).unlink()
    assert f"{GERMAN} is not there" in check_texts(demo)
    (demo / ENGLISH).unlink()
    assert check_texts(demo)[-1].endswith("en.lproj has no Localizable.strings")


def test_findings_of_the_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "swift"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    program.write_text("#!/bin/sh\necho 'a.swift:4:12: warning: [NeverForceUnwrap] no'\nexit 1\n")
    program.chmod(0o755)
    assert checks.lint(Toolchain("own"), tmp_path) == ["a.swift:4:12: warning: [NeverForceUnwrap] no"]
    program.write_text("#!/bin/sh\necho 'error: cannot open'\nexit 1\n")
    with pytest.raises(CheckError, match="exit code 1: error: cannot open"):
        checks.lint(Toolchain("own"), tmp_path)
