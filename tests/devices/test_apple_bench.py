"""`bench --device ios` with an iPhone or a Simulator behind a fake xcrun, and an app that a test plays."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_backend import PROGRAM, write_bundle
from fake_xcrun import IPHONE, FakeXcode, iphone
from make_vectors import VECTORS
from typer.testing import CliRunner

from mlp_export.bundle.bundle import Bundle
from mlp_export.cli.app import app
from mlp_export.devices.apple_push import apple_push
from mlp_export.devices.bench_result import read_result
from mlp_export.devices.device_bench import Clock, DeviceBenchReport, device_bench, report_of
from mlp_export.errors import MissingError
from mlp_export.progress import Progress

QUIET = Progress()
EXAMPLES = {case["name"]: case["result"] for case in json.loads((VECTORS / "bench.json").read_text())["ios_results"]}
PRO_SHAPE = {"family": "mobilellm-pro", "num_layers": 30, "hidden_size": 1280}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "pro", context=4096, prefill_chunk=128)


@pytest.fixture
def xcode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeXcode:
    return FakeXcode(tmp_path / "mac", monkeypatch)


class App:
    """What the app does: one step each time that the host sleeps. Time passes only then."""

    def __init__(self, xcode: FakeXcode, device: str, steps: Sequence[Callable[[App], None]]) -> None:
        self.xcode, self.device, self.steps = xcode, device, list(steps)
        self.time = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: self.time, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.steps and self.xcode.started(self.device) is not None:
            self.steps.pop(0)(self)

    def write(self, example: str, **changes: Any) -> None:
        words = self.xcode.started(self.device)
        assert words is not None and words[:1] == ["--bench"] and len(words) == 2
        plan = json.loads(words[1])
        result = copy.deepcopy(EXAMPLES[example]) | {"id": plan["id"], **changes}
        result["plan"] = plan
        result["bundle"]["pte_sha256"] = hashlib.sha256(PROGRAM).hexdigest()
        folder = self.xcode.documents(self.device) / "bench"
        folder.mkdir(exist_ok=True)
        (folder / f"{plan['id']}.json").write_text(json.dumps(result))


def nothing(app: App) -> None:
    pass


def writes(example: str, **changes: Any) -> Callable[[App], None]:
    return lambda app: app.write(example, **changes)


def ends(app: App) -> None:
    (app.xcode.root / app.device / "running").unlink()


def measure(
    bundle: Bundle, xcode: FakeXcode, *steps: Callable[[App], None], simulator: bool = False, **options: Any
) -> DeviceBenchReport:
    device, udid = ("simulator", "SIM-1") if simulator else ("ios", IPHONE)
    if simulator:
        xcode.boot()
    xcode.install(udid)
    apple_push(bundle, QUIET, device)
    return device_bench(bundle, QUIET, device=device, clock=App(xcode, udid, steps).clock(), **options)


@pytest.mark.parametrize("simulator", [False, True])
def test_a_result_is_waited_for(bundle: Bundle, xcode: FakeXcode, simulator: bool) -> None:
    report = measure(bundle, xcode, nothing, writes("running"), nothing, writes("done"), simulator=simulator)
    udid = "SIM-1" if simulator else IPHONE
    assert (report.serial, report.bundle, report.thermal) == (udid, "pro", "severe")
    assert report.device["ios"] == "18.5" and report.app["runtimes"] == {"executorch": "1.5.1"}
    assert [row.prefill_s for row in report.rows] == [2.25, 10.0]
    assert report.result_path.startswith("Documents/bench/")
    words = xcode.started(udid)
    assert words is not None
    plan = json.loads(words[1])
    assert read_result(json.dumps(EXAMPLES["done"] | {"plan": plan}), "p").plan is not None
    assert (plan["bundle"], plan["prompt_tokens"]) == ("pro", [512, 2048])


def test_android_figures_do_not_stand_beside_an_iphone() -> None:
    result = read_result(json.dumps(EXAMPLES["done"]), "p")
    assert [row.published_prefill_s for row in report_of(result, "x", "p", PRO_SHAPE).rows] == [None, None]


def test_a_locked_phone(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.set(fails={"process launch": "ERROR: Unable to launch: the device was not, or could not be, unlocked."})
    with pytest.raises(MissingError, match="could not be, unlocked") as caught:
        measure(bundle, xcode)
    assert caught.value.hint == "unlock the device"


@pytest.mark.parametrize("simulator", [False, True])
def test_an_app_that_crashes(bundle: Bundle, xcode: FakeXcode, simulator: bool) -> None:
    with pytest.raises(MissingError, match=r"ended \(1 of 7 done.*: it crashed") as caught:
        measure(bundle, xcode, writes("running"), ends, simulator=simulator)
    assert "Analytics Data" in caught.value.hint and "adb" not in caught.value.hint


def test_an_app_that_never_begins(bundle: Bundle, xcode: FakeXcode) -> None:
    with pytest.raises(MissingError, match="has not begun after 60 s"):
        measure(bundle, xcode)


def test_an_app_that_falls_silent(bundle: Bundle, xcode: FakeXcode) -> None:
    with pytest.raises(MissingError, match=r"time out: no word .* \(1 of 7 done") as caught:
        measure(bundle, xcode, writes("running"), silence_seconds=40)
    assert "Documents/bench/" in caught.value.hint


def test_the_phone_goes_away_for_good(bundle: Bundle, xcode: FakeXcode) -> None:
    def gone(app: App) -> None:
        app.xcode.set(fails={"copy from": "ERROR: The device disconnected"})

    with pytest.raises(MissingError, match="devicectl failed: The device disconnected"):
        measure(bundle, xcode, writes("running"), gone)


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        ("OLD_SYSTEM", "update the device"),
        ("INEXACT_TOKENS", "bench without --device"),
        ("MISSING_BACKEND", "docs/guides/iphone.md"),
        ("BAD_PLAN", "push BUNDLE --device ios --install APP"),
        ("UNKNOWN", "Console.app"),
    ],
)
def test_a_failure_in_the_app(bundle: Bundle, xcode: FakeXcode, kind: str, hint: str) -> None:
    error = {"kind": kind, "code": None, "message": "why"}
    with pytest.raises(Exception, match=f"failed: {kind}: why") as caught:
        measure(bundle, xcode, writes("failed", error=error))
    assert hint in getattr(caught.value, "hint", "")


def test_no_app_no_bundle_or_another_one(bundle: Bundle, xcode: FakeXcode) -> None:
    with pytest.raises(MissingError, match="is not installed") as caught:
        device_bench(bundle, QUIET, device="ios")
    assert "push BUNDLE --device ios --install APP" in caught.value.hint
    xcode.install()
    with pytest.raises(MissingError, match="has no bundle pro"):
        device_bench(bundle, QUIET, device="ios")
    apple_push(bundle, QUIET, "ios")
    newer = write_bundle(bundle.path, PROGRAM + b"x", overwrite=True, context=4096)
    with pytest.raises(MissingError, match=r"Documents/pro on .* is another bundle") as caught:
        device_bench(newer, QUIET, device="ios")
    assert "push BUNDLE --device ios replaces it" in caught.value.hint
    assert xcode.started() is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "ERROR: The container could not be found. (ContainerLookupErrorDomain error 7.)",
            "ContainerLookupErrorDomain",
        ),
        ("ERROR: the device was not, or could not be, unlocked.", "unlocked"),
        ("ERROR: The device disconnected", "disconnected"),
        ("ERROR: Failed to retrieve the file node. (CoreDeviceError error 7000.)", "has no bundle pro"),
    ],
)
def test_a_manifest_that_cannot_be_read_is_not_taken_for_a_missing_one(
    bundle: Bundle, xcode: FakeXcode, text: str, said: str
) -> None:
    xcode.install()
    xcode.set(fails={"copy from": text})
    with pytest.raises(MissingError, match=said):
        device_bench(bundle, QUIET, device="ios")


def test_the_share_extension_is_not_the_app(bundle: Bundle, xcode: FakeXcode) -> None:
    def ends_but_for_its_extension(app: App) -> None:
        (app.xcode.root / app.device / "running").write_text("PlugIns/ShareExtension.appex/ShareExtension")

    with pytest.raises(MissingError, match=r"ended \(1 of 7 done.*: it crashed"):
        measure(bundle, xcode, writes("running"), ends_but_for_its_extension)


def test_an_app_whose_folder_is_not_told_is_not_said_to_have_ended(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.set(url=False)
    assert measure(bundle, xcode, writes("running"), *[nothing] * 5, writes("done")).thermal == "severe"


def test_a_device_that_stops_answering_is_a_time_out(
    bundle: Bundle, xcode: FakeXcode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(app: App) -> None:
        app.xcode.set(hang="device info apps")
        monkeypatch.setattr("mlp_export.devices.device_command.COMMAND_SECONDS", 0.5)

    with pytest.raises(MissingError, match=r"time out: no word .*, and no answer from xcrun"):
        measure(bundle, xcode, writes("running"), hangs, silence_seconds=40)


def test_a_device_that_cannot_run_it(bundle: Bundle, xcode: FakeXcode) -> None:
    xcode.set(phones=[iphone(ios="17.7")])
    with pytest.raises(MissingError, match="the app needs iOS 18"):
        device_bench(bundle, QUIET, device="ios")


def test_the_command_line_names_the_device(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def measured(*_: Any, **named: Any) -> DeviceBenchReport:
        given.append(named["device"])
        return report_of(read_result(json.dumps(EXAMPLES["done"]), "p"), IPHONE, "p", PRO_SHAPE)

    monkeypatch.setattr("mlp_export.devices.device_bench.device_bench", measured)
    done = CliRunner().invoke(app, ["bench", str(bundle.path), "--device", "ios:Anna"], prog_name="mlp-export")
    assert (done.exit_code, given) == (0, ["ios:Anna"]), done.output
    assert "iPhone17,1" in done.stdout and "S25" not in done.stdout
