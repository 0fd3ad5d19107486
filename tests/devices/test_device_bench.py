"""`bench --device` and `doctor --device` with a phone behind a fake adb, and an app that a test plays."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_adb import S24, FakePhone
from fake_backend import PROGRAM, write_bundle
from make_vectors import VECTORS
from typer.testing import CliRunner

from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import BackendInfo
from mlp_export.cli.app import app
from mlp_export.devices.adb import Phone
from mlp_export.devices.bench_result import BenchResult, read_result
from mlp_export.devices.device_bench import Clock, DeviceBenchReport, bench_plan, device_bench, report_of
from mlp_export.devices.device_command import NoAnswerError
from mlp_export.devices.device_doctor import device_doctor
from mlp_export.devices.push import check_fit, push
from mlp_export.errors import InputError, MissingError, MlpExportError, ResourceError, UsageError
from mlp_export.progress import Progress

QUIET = Progress()
# As the app writes them.
EXAMPLES = {case["name"]: case["result"] for case in json.loads((VECTORS / "bench.json").read_text())["results"]}


def result(example: str, **changes: Any) -> BenchResult:
    return read_result(json.dumps({**EXAMPLES[example], **changes}), "p")


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "pro", context=4096, prefill_chunk=128)


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    (tmp_path / "phone").mkdir()
    phone = FakePhone(tmp_path / "phone", monkeypatch)
    monkeypatch.setattr("mlp_export.devices.bench_phone.DEVICE_FOLDER", str(phone.folder))
    return phone


class App:
    """What the app does: one step of `steps` each time that the host sleeps. Time passes only then."""

    def __init__(self, phone: FakePhone, steps: Sequence[Callable[[App], None]]) -> None:
        self.phone, self.steps = phone, list(steps)
        self.time = 0.0

    def clock(self) -> Clock:
        return Clock(lambda: self.time, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        if self.steps and self.phone.started.exists():
            self.steps.pop(0)(self)

    @property
    def plan(self) -> dict[str, Any]:
        """What the host gave to the activity."""
        words = self.phone.started.read_text().splitlines()
        assert words[:5] == ["start", "-n", "org.mlpexport.demo/.BenchActivity", "--es", "bench"] and len(words) == 6
        values: dict[str, Any] = json.loads(words[5])
        return values

    def write(self, example: str, **changes: Any) -> None:
        result = copy.deepcopy(EXAMPLES[example]) | {"id": self.plan["id"], **changes}
        if result["plan"] is not None:
            result["plan"] = self.plan
        if result["bundle"] is not None and "bundle" not in changes:
            result["bundle"]["pte_sha256"] = hashlib.sha256(PROGRAM).hexdigest()
        folder = self.phone.sdcard / "Android/data/org.mlpexport.demo/files/bench"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.plan['id']}.json").write_text(json.dumps(result))


def nothing(app: App) -> None:
    pass


def writes(example: str, **changes: Any) -> Callable[[App], None]:
    return lambda app: app.write(example, **changes)


def ends(app: App) -> None:
    app.phone.running.unlink()


def measure(bundle: Bundle, phone: FakePhone, *steps: Callable[[App], None], **options: Any) -> DeviceBenchReport:
    phone.app.write_text("1.0")
    push(bundle, QUIET, device_folder=str(phone.folder))
    return device_bench(bundle, QUIET, clock=App(phone, steps).clock(), **options)


# What is measured


def test_a_result_is_waited_for(bundle: Bundle, phone: FakePhone) -> None:
    report = measure(bundle, phone, nothing, writes("running"), nothing, writes("done"))
    assert report.threads == 4 and report.load_s == 1.25 and report.resident_bytes == 1_400_000_000
    assert report.bundle == "pro" and report.serial == "R58" and report.thermal == "moderate"
    assert report.device["soc_model"] == "SM8650" and report.app["runtimes"] == {"executorch": "1.3.1"}
    assert report.skipped_prompt_tokens == [8192]
    short, long = report.rows
    assert (short.prefill_tokens, short.prefill_s, short.prefill_tok_s) == (512, 2.25, 512 / 2.25)
    assert (short.decode_position, short.decode_tok_s, short.published_prefill_s) == (512, 20.0, None)
    assert (long.prefill_tokens, long.prefill_s, long.decode_tok_s) == (2048, 10.0, (16 + 12.8) / 2)
    assert long.prefill_runs_s == [9.0, 11.0] and long.decode_runs_tok_s == [16.0, 12.8]
    assert report.sustained is not None and report.sustained["samples"][1]["thermal"] == "moderate"
    assert report.result_path.startswith("/sdcard/Android/data/org.mlpexport.demo/files/bench/")
    json.dumps(report.to_json(), allow_nan=False)


PRO_SHAPE = {"family": "mobilellm-pro", "num_layers": 30, "hidden_size": 1280}


def test_published_seconds_are_those_of_mobilellm_pro() -> None:
    short, long = report_of(result("done"), "R58", "p", PRO_SHAPE).rows
    assert short.published_prefill_s == {} and long.published_prefill_s == {"xnnpack": 8.9, "qnn": 1.96}
    for other in ({"family": "llama"}, {"num_layers": 12}, {"hidden_size": 2048}):
        rows = report_of(result("done"), "R58", "p", PRO_SHAPE | other).rows
        assert [row.published_prefill_s for row in rows] == [None, None]


def test_the_plan_reaches_the_app(bundle: Bundle, phone: FakePhone) -> None:
    measure(bundle, phone, writes("done"), new_tokens=32, repetitions=2, sustained_minutes=1.5)
    plan = App(phone, []).plan
    assert read_result(json.dumps(EXAMPLES["done"] | {"plan": plan}), "p").plan is not None
    assert plan["bundle"] == "pro" and plan["prompt_tokens"] == [512, 2048] and plan["sustained_seconds"] == 90
    assert (plan["new_tokens"], plan["repetitions"]) == (32, 2)


def test_a_bundle_that_the_app_imported(bundle: Bundle, phone: FakePhone) -> None:
    phone.app.write_text("1.0")
    folder = phone.sdcard / "Android/data/org.mlpexport.demo/files/bundles/pro"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes((bundle.path / "manifest.json").read_bytes())
    report = device_bench(bundle, QUIET, clock=App(phone, [writes("done")]).clock())
    assert len(report.rows) == 2


@pytest.mark.parametrize(
    ("context", "new_tokens", "given", "lengths"),
    [
        (131072, 64, (), [512, 2048, 8192]),
        (8192, 64, (), [512, 2048]),
        (8256, 64, (), [512, 2048, 8192]),
        (512, 64, (), [448]),
        (2048, 64, (100, 1984, 100), [100, 1984]),
    ],
)
def test_lengths_that_fit(
    tmp_path: Path, context: int, new_tokens: int, given: tuple[int, ...], lengths: list[int]
) -> None:
    bundle = write_bundle(tmp_path / "b", context=context)
    assert list(bench_plan(bundle, given, new_tokens, 3, 0).prompt_tokens) == lengths


@pytest.mark.parametrize(
    ("given", "new_tokens", "repetitions", "minutes", "said"),
    [
        ((4096,), 1, 1, 0, "4,096 prompt tokens and 1 new ones, the context of this bundle holds 4,096"),
        ((), 4096, 1, 0, "context of this bundle"),
        ((0,), 1, 1, 0, "benchmark of nothing"),
        ((), 0, 1, 0, "benchmark of nothing"),
        ((), 1, 0, 0, "benchmark of nothing"),
        ((), 1, 1, -1, "benchmark of nothing"),
    ],
)
def test_plans_that_cannot_be_done(
    bundle: Bundle, given: tuple[int, ...], new_tokens: int, repetitions: int, minutes: float, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        bench_plan(bundle, given, new_tokens, repetitions, minutes)


def test_answers_without_a_step_have_no_speed() -> None:
    runs = [{**run, "decode_tokens": 0, "decode_s": 0.0} for run in EXAMPLES["done"]["runs"]]
    rows = report_of(result("done", runs=runs), "R58", "p", PRO_SHAPE).rows
    assert [row.decode_tok_s for row in rows] == [None, None]


# What goes wrong


def test_an_app_that_never_begins(bundle: Bundle, phone: FakePhone) -> None:
    with pytest.raises(MissingError, match="has not begun after 60 s") as caught:
        measure(bundle, phone)
    assert "unlock the phone" in caught.value.hint


def test_an_app_that_falls_silent_is_a_time_out(bundle: Bundle, phone: FakePhone) -> None:
    said = r"time out: no word .* for \d+ s \(1 of 7 done: 512 tokens, 1 of 2\)"
    with pytest.raises(MissingError, match=said) as caught:
        measure(bundle, phone, writes("running"), silence_seconds=100)
    assert "--timeout" in caught.value.hint


@pytest.mark.parametrize("begun", [False, True])
def test_an_adb_that_stops_answering_is_a_time_out(
    bundle: Bundle, phone: FakePhone, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    def hangs(app: App) -> None:
        app.phone.set(HANG=" shell ")
        monkeypatch.setattr("mlp_export.devices.device_command.COMMAND_SECONDS", 0.1)

    steps = [writes("running")] if begun else []
    with pytest.raises(MissingError, match=r"time out: no word .* for \d+ s .*, and no answer from adb") as caught:
        measure(bundle, phone, *steps, hangs, silence_seconds=70 if begun else 90)
    assert not isinstance(caught.value, NoAnswerError) and "--timeout" in caught.value.hint


def test_an_adb_that_answers_again(bundle: Bundle, phone: FakePhone, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(app: App) -> None:
        app.phone.set(HANG=" shell ")
        monkeypatch.setattr("mlp_export.devices.device_command.COMMAND_SECONDS", 0.1)

    def answers(app: App) -> None:
        app.phone.set(HANG="no command")
        monkeypatch.setattr("mlp_export.devices.device_command.COMMAND_SECONDS", 30.0)

    assert measure(bundle, phone, writes("running"), hangs, *[nothing] * 5, answers, writes("done")).threads == 4


def test_words_in_between_are_no_silence(bundle: Bundle, phone: FakePhone) -> None:
    steps = [writes("running", resident_bytes=n) if n % 4 == 0 else nothing for n in range(40)]
    assert measure(bundle, phone, *steps, writes("done"), silence_seconds=12).threads == 4


def test_an_app_that_crashes(bundle: Bundle, phone: FakePhone) -> None:
    with pytest.raises(MissingError, match=r"ended \(1 of 7 done.*: it crashed") as caught:
        measure(bundle, phone, writes("running"), ends)
    assert "logcat" in caught.value.hint


def test_an_app_that_ends_after_its_last_word(bundle: Bundle, phone: FakePhone) -> None:
    def last(app: App) -> None:
        app.write("done")
        ends(app)

    assert measure(bundle, phone, writes("running"), *[nothing] * 5, last).threads == 4


@pytest.mark.parametrize(
    ("kind", "code", "error", "said"),
    [
        ("NOT_A_PROGRAM", 2, MissingError, "NOT_A_PROGRAM, error 2: Model runner"),
        ("BAD_PLAN", None, InputError, "BAD_PLAN: Model runner"),
        ("OUT_OF_MEMORY", 33, ResourceError, "OUT_OF_MEMORY, error 33"),
        ("TOO_LITTLE_MEMORY", None, ResourceError, "TOO_LITTLE_MEMORY: Model runner"),
        ("UNKNOWN", 5000, MissingError, "UNKNOWN, error 5000"),
    ],
)
def test_a_failure_in_the_app(
    bundle: Bundle, phone: FakePhone, kind: str, code: int | None, error: type[MlpExportError], said: str
) -> None:
    told = {"kind": kind, "code": code, "message": "Model runner was not created"}
    with pytest.raises(error, match=said) as caught:
        measure(bundle, phone, writes("failed", error=told))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("backend", "hint"),
    [
        (None, "executorch 1.5 or later, or export with --runtime 1.3"),
        (
            BackendInfo("qnn", "sm8650", {"qairt": "2.49.40"}, {"executorch": "1.3", "qairt": "2.49.40"}),
            "executorch 1.3 and qairt 2.49.40 or later, see docs/guides/galaxy.md",
        ),
    ],
)
def test_an_old_runtime_has_a_hint_for_its_backend(
    bundle: Bundle, phone: FakePhone, backend: BackendInfo | None, hint: str
) -> None:
    if backend is not None:
        bundle = replace(bundle, manifest=replace(bundle.manifest, backend=backend))
    error = {"kind": "OLD_RUNTIME", "code": None, "message": "old"}
    phone.app.write_text("1.0")
    imported(phone, bundle)
    with pytest.raises(MissingError, match="OLD_RUNTIME") as caught:
        device_bench(bundle, QUIET, clock=App(phone, [writes("failed", error=error)]).clock())
    assert caught.value.hint.endswith(hint)


def test_a_benchmark_that_is_stopped_on_the_phone(bundle: Bundle, phone: FakePhone) -> None:
    with pytest.raises(MissingError, match="was stopped on R58"):
        measure(bundle, phone, writes("running", status="cancelled"))


def test_a_plan_that_the_app_cannot_read(bundle: Bundle, phone: FakePhone) -> None:
    with pytest.raises(InputError, match="BAD_PLAN: `new_tokens` is 0") as caught:
        measure(bundle, phone, writes("bad plan"))
    assert "--install" in caught.value.hint


@pytest.mark.parametrize("changes", [{"threads": "four"}, {"format": 2}, {"runs": None}])
def test_an_answer_of_another_form(bundle: Bundle, phone: FakePhone, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        measure(bundle, phone, writes("done", **changes))


def test_a_result_without_runs() -> None:
    with pytest.raises(InputError, match="no finished run"):
        report_of(result("running"), "R58", "p", PRO_SHAPE)


def test_another_program_of_that_name_was_measured(bundle: Bundle, phone: FakePhone) -> None:
    other = EXAMPLES["done"]["bundle"] | {"pte_sha256": "a" * 64}
    with pytest.raises(InputError, match=r"measured another model\.pte: sha256 aaaaaaaaaaaa"):
        measure(bundle, phone, writes("done", bundle=other))


def test_the_phone_goes_away(bundle: Bundle, phone: FakePhone) -> None:
    with pytest.raises(MissingError, match="adb failed: adb: device offline"):
        measure(bundle, phone, writes("running"), lambda app: app.phone.gone.touch())


def test_no_app(bundle: Bundle, phone: FakePhone) -> None:
    push(bundle, QUIET, device_folder=str(phone.folder))
    with pytest.raises(MissingError, match=r"org\.mlpexport\.demo is not installed on R58") as caught:
        device_bench(bundle, QUIET)
    assert "--install" in caught.value.hint


def test_no_bundle_there_or_another_one(bundle: Bundle, phone: FakePhone) -> None:
    phone.app.write_text("1.0")
    with pytest.raises(MissingError, match="R58 has no bundle pro") as caught:
        device_bench(bundle, QUIET)
    assert "push BUNDLE" in caught.value.hint
    push(bundle, QUIET, device_folder=str(phone.folder))
    newer = write_bundle(bundle.path, bundle.pte.read_bytes() + b"x", overwrite=True, context=4096)
    with pytest.raises(MissingError, match="is another bundle"):
        device_bench(newer, QUIET)
    (phone.folder / "pro" / "manifest.json").write_text("[]")
    with pytest.raises(MissingError, match="is another bundle"):
        device_bench(newer, QUIET)
    assert not phone.started.exists()


def test_another_bundle_in_the_apps_own_folder(bundle: Bundle, phone: FakePhone) -> None:
    phone.app.write_text("1.0")
    push(bundle, QUIET, device_folder=str(phone.folder))
    imported(phone, bundle).write_text("[]")
    with pytest.raises(MissingError, match=r"files/bundles/pro on R58 is another bundle") as caught:
        device_bench(bundle, QUIET)
    assert "delete it in the app" in caught.value.hint and "replaces" not in caught.value.hint


def test_a_phone_that_cannot_run_it(bundle: Bundle, phone: FakePhone) -> None:
    phone.say(**{**S24, "ro.product.cpu.abilist": "armeabi-v7a"})
    with pytest.raises(MissingError, match="cannot run this bundle"):
        device_bench(bundle, QUIET)


def test_two_phones(bundle: Bundle, phone: FakePhone) -> None:
    phone.set(DEVICES=r"R58\tdevice\nR59\tdevice\n")
    with pytest.raises(UsageError, match="2 devices") as caught:
        device_bench(bundle, QUIET)
    assert "--device SERIAL" in caught.value.hint


# doctor --device


def diagnose(phone: FakePhone, **options: Any) -> Any:
    return device_doctor(device_folder=str(phone.folder), **options)


def test_doctor_of_an_s24(bundle: Bundle, phone: FakePhone) -> None:
    phone.app.write_text("1.2")
    push(bundle, QUIET, device_folder=str(phone.folder))
    (phone.folder / "half.partial").mkdir()
    (phone.folder / "other").mkdir()
    (phone.folder / "broken").mkdir()
    (phone.folder / "broken" / "manifest.json").write_text("{")
    report = diagnose(phone)
    assert report.ok and report.app_version == "1.2" and report.free_bytes == 9999999 * 1024
    assert report.backends["xnnpack"].said == "yes: --backend xnnpack"
    assert report.backends["qnn"].said == "yes: --backend qnn --soc sm8650"
    assert report.phone.total_memory_bytes == 8_000_000 * 1024 and report.phone.sdk == 34
    assert [(Path(found.path).name, found.runs) for found in report.bundles] == [
        ("broken", False),
        ("half.partial", False),
        ("pro", True),
    ]
    assert report.bundles[2].said == ["the bundle was not verified when it was exported (none)"]
    summary = report.summary()
    assert summary["phone"] == "samsung SM-S921B (R58)" and summary["bundle pro"][0] == "owner/model: runs"
    json.dumps(report.to_json(), allow_nan=False)


def test_doctor_of_other_phones(phone: FakePhone) -> None:
    phone.say(**{**S24, "ro.soc.model": "s5e9945"})
    exynos = diagnose(phone)
    assert exynos.ok and exynos.backends["qnn"].said == "no: its chip is s5e9945, there are sm8750, sm8650"
    assert exynos.app_version is None and exynos.bundles == []
    phone.say(**{**S24, "ro.soc.model": ""})
    assert diagnose(phone).backends["qnn"].said.startswith("unknown: the phone does not state its chip")
    phone.say(**{**S24, "ro.soc.model": "SM8750"})
    assert diagnose(phone).backends["qnn"].said.endswith("--soc sm8750")
    phone.say(**{**S24, "ro.product.cpu.abilist": "armeabi-v7a,armeabi"})
    assert not diagnose(phone).ok
    phone.say(**{**S24, "ro.build.version.sdk": "26"})
    old = diagnose(phone)
    assert not old.ok and "Android 9" in old.backends["xnnpack"].said
    phone.say()
    assert diagnose(phone).phone.sdk == 0  # nothing said, nothing held against it


def test_doctor_tells_a_bundle_for_another_chip(tmp_path: Path, phone: FakePhone) -> None:
    bundle = write_bundle(tmp_path / "b")
    values = bundle.manifest.to_json()
    values["backend"] |= {"name": "qnn", "target": "sm8750"}
    (phone.folder / "s25").mkdir(parents=True)
    (phone.folder / "s25" / "manifest.json").write_text(json.dumps(values))
    (found,) = diagnose(phone).bundles
    assert not found.runs and found.said[0] == "the bundle is compiled for SM8750, the phone's chip is SM8650"


def imported(phone: FakePhone, bundle: Bundle, name: str = "pro") -> Path:
    """The manifest of a bundle in the app's own folder, where an import puts it."""
    folder = phone.sdcard / "Android/data/org.mlpexport.demo/files/bundles" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes((bundle.path / "manifest.json").read_bytes())
    return folder / "manifest.json"


def test_doctor_lists_the_apps_own_bundles(bundle: Bundle, phone: FakePhone) -> None:
    push(bundle, QUIET, device_folder=str(phone.folder))
    imported(phone, bundle)
    imported(phone, bundle, "new.partial")
    report = diagnose(phone)
    app_folder = "/sdcard/Android/data/org.mlpexport.demo/files/bundles"
    assert [(found.path, found.runs) for found in report.bundles] == [
        (f"{phone.folder}/pro", True),
        (f"{app_folder}/new.partial", False),
        (f"{app_folder}/pro", True),
    ]
    assert "import" in report.bundles[1].said[0]
    assert {"bundle pro", "bundle pro in the app"} <= set(report.summary())


@pytest.mark.parametrize(
    ("abis", "sdk", "memory", "runs"),
    [
        ("", "", 0, True),
        ("arm64-v8a", "34", 0, True),
        ("arm64-v8a", "34", 1000, False),
        ("arm64-v8a", "26", 8_000_000, False),
        ("armeabi-v7a", "34", 8_000_000, False),
    ],
)
def test_doctor_and_push_agree(bundle: Bundle, phone: FakePhone, abis: str, sdk: str, memory: int, runs: bool) -> None:
    push(bundle, QUIET, device_folder=str(phone.folder))
    phone.say(**{"ro.product.cpu.abilist": abis, "ro.build.version.sdk": sdk})
    if memory:
        phone.memory(total=memory, available=memory)
    else:
        (phone.root / "meminfo").write_text("")
    (found,) = diagnose(phone).bundles
    assert found.runs == runs
    facts = Phone.find().facts()
    if runs:
        check_fit(bundle.manifest, facts)
    else:
        with pytest.raises(MlpExportError):
            check_fit(bundle.manifest, facts)


def test_doctor_of_one_backend(bundle: Bundle, phone: FakePhone) -> None:
    push(bundle, QUIET, device_folder=str(phone.folder))
    phone.say(**{**S24, "ro.soc.model": "s5e9945"})
    report = diagnose(phone, backend="qnn")
    assert not report.ok and list(report.backends) == ["qnn"] and report.bundles == []
    report = diagnose(phone, backend="xnnpack")
    assert report.ok and list(report.backends) == ["xnnpack"] and len(report.bundles) == 1
    with pytest.raises(UsageError, match="coreml backend is not for Android"):
        diagnose(phone, backend="coreml")


def test_without_a_phone(phone: FakePhone) -> None:
    phone.set(DEVICES="")
    with pytest.raises(MissingError, match="adb sees no device"):
        diagnose(phone)


def test_commands_that_fail_are_told_from_a_phone_that_is_gone(phone: FakePhone) -> None:
    found = Phone.find()
    assert found.try_shell("exit 3") is None and found.try_shell("echo a") == "a\n"
    phone.gone.touch()
    with pytest.raises(MissingError, match="offline"):
        found.try_shell("echo a")


# The command line


def invoke(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], prog_name="mlp-export")


@pytest.mark.parametrize(
    ("options", "serial"),
    [
        (["--device"], None),
        (["--device", "R58"], "R58"),
        (["--device="], None),
        (["--device", "--json"], None),
        (["--json", "--device"], None),
    ],
)
def test_device_takes_a_serial_or_none(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, options: list[str], serial: str | None
) -> None:
    given: list[Any] = []
    shape = PRO_SHAPE

    def measured(*arguments: Any, **named: Any) -> DeviceBenchReport:
        given.append(named["device"])
        return report_of(result("done"), "R58", "p", shape)

    monkeypatch.setattr("mlp_export.devices.device_bench.device_bench", measured)
    done = invoke("bench", bundle.path, *options)
    assert (done.exit_code, given) == (0, [serial]), done.output
    if "--json" in options:
        assert json.loads(done.stdout)["rows"][1]["published_prefill_s"] == {"xnnpack": 8.9, "qnn": 1.96}
    else:
        assert "S25 CPU: prefill_s" in done.stdout and "moderate" in done.stdout and "1.96" in done.stdout
    done = invoke("bench", *options[:1], *options[1:], bundle.path) if serial else done
    assert done.exit_code == 0
    shape = PRO_SHAPE | {"num_layers": 2}
    done = invoke("bench", bundle.path, *options)
    assert done.exit_code == 0
    if "--json" in options:
        assert json.loads(done.stdout)["rows"][1]["published_prefill_s"] is None
    else:
        assert "S25" not in done.stdout and "model card" not in done.stdout and "2,048" in done.stdout


def test_what_is_for_phones_alone(bundle: Bundle) -> None:
    for options in (["--prompt-tokens", 4, "--prompt-tokens", 8], ["--sustained", 2]):
        done = invoke("bench", bundle.path, *options, "--json")
        assert (done.exit_code, json.loads(done.stdout)["hint"]) == (2, "give --device as well")


def test_doctor_and_push_on_the_command_line(bundle: Bundle, phone: FakePhone, monkeypatch: pytest.MonkeyPatch) -> None:
    done = invoke("doctor", "--device")
    assert done.exit_code == 0 and "samsung SM-S921B (R58)" in done.stdout
    assert json.loads(invoke("doctor", "--serial", "R58", "--json").stdout)["phone"]["soc_model"] == "SM8650"
    done = invoke("doctor", "--device", "--backend", "qnn", "--json")
    assert (done.exit_code, list(json.loads(done.stdout)["backends"])) == (0, ["qnn"])
    assert invoke("doctor", "--device", "--backend", "npu").exit_code == 2
    phone.say(**{**S24, "ro.product.cpu.abilist": "armeabi-v7a"})
    assert invoke("doctor", "--device", "--json").exit_code == 4
    done = invoke("push", bundle.path, "--install", bundle.path / "none.apk", "--json")
    assert done.exit_code == 2 and "expected an APK" in json.loads(done.stdout)["error"]
    done = invoke("push", bundle.path, "--json")
    assert done.exit_code == 4 and "armeabi-v7a" in json.loads(done.stdout)["error"]
