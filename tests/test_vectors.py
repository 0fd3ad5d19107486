"""The cases that Python and the apps share: they are up to date, Python passes them, and they say what they must."""

from __future__ import annotations

import codecs
import errno
import json
import re
from pathlib import Path
from typing import Any

import executorch
import jsonschema
import pytest
from make_vectors import ERROR_CODES, VECTORS, lay_out, vectors
from tokenizers import Tokenizer

import mlp_export
from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import BundleError, BundleProblem, Manifest
from mlp_export.devices.bench_result import read_result
from mlp_export.devices.device_fit import (
    Device,
    DeviceFit,
    FitKind,
    IosDevice,
    at_least,
    device_fit,
    ios_device_fit,
    is_soc,
)
from mlp_export.errors import InputError
from mlp_export.runtime.generate import StopStrings
from mlp_export.text.chat import ChatFormat, Message

TEXTS = vectors()


def load(name: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((VECTORS / name).read_text(encoding="utf-8"))
    return values


SCHEMAS: dict[str, dict[str, Any]] = {
    name: json.loads((Path(mlp_export.__file__).parent / "data" / f"{name}.schema.json").read_text(encoding="utf-8"))
    for name in ("manifest", "device_bench")
}


def is_valid(value: object, schema: dict[str, Any]) -> bool:
    """Whether other people's validators take it."""
    return jsonschema.Draft202012Validator(schema).is_valid(value)


def cases(name: str, key: str = "cases") -> pytest.MarkDecorator:
    found = load(name)[key]
    return pytest.mark.parametrize("case", found, ids=[case["name"] for case in found])


def names(name: str) -> list[str]:
    return [case["name"] for case in load(name)["cases"]]


@pytest.mark.parametrize("name", sorted(path.name for path in VECTORS.iterdir()))
def test_the_files_are_what_make_vectors_writes(name: str) -> None:
    assert (VECTORS / name).read_text(encoding="utf-8") == TEXTS[name], "run: python tests/make_vectors.py"


def test_no_file_is_missing() -> None:
    assert sorted(TEXTS) == sorted(path.name for path in VECTORS.iterdir())


# Manifests


@cases("manifests.json")
def test_manifests(case: dict[str, Any], tmp_path: Path) -> None:
    lay_out(case, tmp_path / "b")
    if case["problem"] is None:
        assert Bundle.open(tmp_path / "b").manifest.to_json() == case["read"]
        assert is_valid(case["read"], SCHEMAS["manifest"])
        return
    with pytest.raises(BundleError) as caught:
        Bundle.open(tmp_path / "b")
    assert caught.value.problem == case["problem"] and caught.value.hint
    if case["problem"] in ("WRONG_HASH", "WRONG_SIZE", "MISSING_FILE", "SYMBOLIC_LINK"):
        assert is_valid(json.loads(case["manifest"]), SCHEMAS["manifest"])
    if case["problem"] == "WRONG_HASH":
        Bundle.open(tmp_path / "b", hashes=False)


def test_manifests_hold_every_problem() -> None:
    found = {case["problem"] for case in load("manifests.json")["cases"]}
    assert found == {None, *(problem.value for problem in BundleProblem if problem != BundleProblem.UNREADABLE)}
    assert len(set(names("manifests.json"))) == len(names("manifests.json"))


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    """But for what JSON Schema cannot say: keys that are there twice, and files that are named elsewhere."""
    taken = {"a key twice", "a key twice, deep inside", "NaN", "a tokenizer file that is not among the files"}
    for case in load("manifests.json")["cases"]:
        try:
            value = json.loads(case["manifest"] or "")
        except ValueError:
            continue
        if case["problem"] in ("DAMAGED_MANIFEST", "BAD_NAME", "NEWER_FORMAT"):
            assert is_valid(value, SCHEMAS["manifest"]) == (case["name"] in taken), case["name"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("as an export writes it", None),
        ("format 1", None),
        ("format 2 of an exporter that did not say its name", None),
        ("format 3", "NEWER_FORMAT"),
        ("format 2 with format 1's key", "DAMAGED_MANIFEST"),
        ("a key twice", "DAMAGED_MANIFEST"),
        ('a file named "../x"', "BAD_NAME"),
        ("a tokenizer file named ../x", "BAD_NAME"),
        ("a symbolic link", "SYMBOLIC_LINK"),
        ("a program of 0 bytes", "WRONG_SIZE"),
        ("another program of that size", "WRONG_HASH"),
        ("no program", "MISSING_FILE"),
    ],
)
def test_what_manifests_must_say(name: str, problem: str | None) -> None:
    (case,) = (case for case in load("manifests.json")["cases"] if case["name"] == name)
    assert case["problem"] == problem


def test_old_manifests_are_read_as_new_ones() -> None:
    read = {case["name"]: case["read"] for case in load("manifests.json")["cases"]}
    assert read["as an export writes it"]["exporter"] == {"name": "mlp-export", "version": "0.2.0"}
    assert read["format 1"]["exporter"] is None and read["format 1"]["format"] == 2
    assert read["format 1"]["backend"]["min_runtime"] == {"executorch": "1.3"}


def test_a_manifest_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    lay_out(load("manifests.json")["cases"][0], tmp_path / "b")
    monkeypatch.setattr(Path, "read_text", denied)  # root may read anything
    with pytest.raises(BundleError, match="Permission denied") as caught:
        Bundle.open(tmp_path / "b")
    assert caught.value.problem == BundleProblem.UNREADABLE


# Chat


@cases("chat.json")
def test_chat(case: dict[str, Any]) -> None:
    values = load("chat.json")["formats"][case["format"]]
    turns = [Message(turn["role"], turn["content"]) for turn in case["turns"]]
    format_ = ChatFormat(**values)
    if case["problem"]:
        with pytest.raises(InputError, match="no system message"):
            format_.compose(turns, generate=case["generate"])
    else:
        assert format_.compose(turns, generate=case["generate"]) == case["text"]


def test_what_chat_must_say() -> None:
    by_name = {(case["format"], case["name"], case["generate"]): case for case in load("chat.json")["cases"]}
    assert by_name["chatml", "one question", True]["text"] == (
        "<|im_start|>system\nYou are a helpful AI assistant.<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert by_name["no system", "three turns", True]["text"] == "<s>[INST] a [/INST]b</s>[INST] c [/INST]"
    assert by_name["no system", "a system message", True] | {"turns": None} == {
        "name": "a system message",
        "format": "no system",
        "turns": None,
        "generate": True,
        "text": None,
        "problem": "NO_SYSTEM_ROLE",
    }
    trimmed = by_name["llama4", "all of Unicode's white space around", False]["text"]
    assert re.search(r"\n\na\s+b<\|eot\|>$", trimmed)
    kept = by_name["llama4", "no white space: zero width space, word joiner", False]["text"]
    assert kept.endswith("\u200ba\u2060<|eot|>")


def test_what_chats_with_earlier_answers_must_say() -> None:
    """Of each format the text from the answer's prefix up to the next user message."""

    def answer(format_: str, name: str) -> str:
        (case,) = (
            case
            for case in load("chat.json")["cases"]
            if (case["format"], case["name"], case["generate"]) == (format_, name, True)
        )
        values = load("chat.json")["formats"][format_]
        before = values["bos"] + values["user_prefix"] + "a" + values["user_suffix"]
        opening = values.get("generation_prompt")
        end = values["user_prefix"] + "c" + values["user_suffix"]
        end += values["assistant_prefix"] if opening is None else opening
        text: str = case["text"]
        assert text.startswith(before) and text.endswith(end)
        return text.removeprefix(before).removesuffix(end)

    assistant = "<|im_start|>assistant\n"
    assert answer("reasoning", "reasoning") == f"{assistant} b<|im_end|>\n"
    assert answer("reasoning", "reasoning twice") == f"{assistant}\r\nb \n\n<|im_end|>\n"
    assert answer("reasoning", "reasoning that does not end") == f"{assistant}\n<think>\nr<|im_end|>\n"
    assert answer("thinking", "reasoning that does not end") == f"{assistant}<think>\nr<|im_end|>\n"
    assert answer("thinking", "nothing but reasoning") == f"{assistant}<|im_end|>\n"
    assert answer("llama2", "three turns") == " b </s>"
    assert answer("llama2", "reasoning") == " <think>\nr\n</think>\n\n b </s>"
    assert answer("llama2", "an empty answer") == "  </s>"
    around = "line ends and white space around an answer"
    assert answer("reasoning", around) == f"{assistant}\n\n \tb\u3000\n \n<|im_end|>\n"
    assert answer("thinking", around) == f"{assistant} \tb\u3000\n \n<|im_end|>\n"
    assert answer("llama2", around) == " b </s>"
    header = "<|header_start|>assistant<|header_end|>\n\n"
    assert answer("answers kept", around) == f"{header}\n\n \tb\u3000\n <|eot|>"


# Stop strings and characters


@cases("stop_strings.json")
def test_stop_strings(case: dict[str, Any]) -> None:
    stops = StopStrings(case["stop"])
    assert [stops.push(piece) for piece in case["pieces"]] == case["visible"]
    assert (stops.flush(), stops.found) == (case["rest"], case["stopped"])


@cases("stop_strings.json")
def test_stop_strings_whatever_the_pieces(case: dict[str, Any]) -> None:
    """What is visible in the end is the text up to the stop string that stands first."""
    text = "".join(case["pieces"])
    ends = [text.index(stop) for stop in case["stop"] if stop and stop in text]
    assert "".join(case["visible"]) + case["rest"] == text[: min(ends, default=len(text))]
    assert case["stopped"] == bool(ends)


@cases("utf8.json")
def test_utf8(case: dict[str, Any]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    chunks = [bytes.fromhex(chunk) for chunk in case["chunks"]]
    assert [decoder.decode(chunk) for chunk in chunks] == case["texts"]
    assert "".join(case["texts"]) + case["rest"] == b"".join(chunks).decode("utf-8", "replace")


@cases("utf8.json", "surrogates")
def test_surrogates(case: dict[str, Any]) -> None:
    whole = "".join(case["pieces"]).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert "".join(case["texts"]) + case["rest"] == whole
    assert not any("\ud800" <= character <= "\udfff" for text in case["texts"] for character in text)


# Devices


@cases("device_fit.json")
def test_device_fit(case: dict[str, Any]) -> None:
    check_fit(case, device_fit(Manifest.from_json(case["manifest"]), Device(**case["device"])))


@cases("device_fit_ios.json")
def test_ios_device_fit(case: dict[str, Any]) -> None:
    check_fit(case, ios_device_fit(Manifest.from_json(case["manifest"]), IosDevice(**case["device"])))


def check_fit(case: dict[str, Any], fit: DeviceFit) -> None:
    for found, expected in ((fit.reasons, case["reasons"]), (fit.warnings, case["warnings"])):
        assert [{"kind": r.kind, "found": r.found, "expected": r.expected} for r in found] == expected
    assert fit.runs == (not case["reasons"])
    for reason in fit.reasons + fit.warnings:
        assert "{" not in reason.sentence() and len(reason.sentence().split()) > 3


ANDROID_ALONE = {FitKind.WRONG_SOC, FitKind.UNKNOWN_SOC, FitKind.WRONG_ABI, FitKind.MISSING_LIBRARY}
IOS_ALONE = {FitKind.OLD_SYSTEM, FitKind.SIMULATOR}


@pytest.mark.parametrize(
    ("name", "kinds", "warnings"),
    [
        ("device_fit.json", set(FitKind) - IOS_ALONE, {FitKind.UNKNOWN_SOC}),
        ("device_fit_ios.json", set(FitKind) - ANDROID_ALONE, {FitKind.SIMULATOR}),
    ],
)
def test_device_fits_hold_every_kind(name: str, kinds: set[FitKind], warnings: set[FitKind]) -> None:
    found = {reason["kind"] for case in load(name)["cases"] for reason in case["reasons"]}
    warned = {warning["kind"] for case in load(name)["cases"] for warning in case["warnings"]}
    assert warned == {FitKind.LITTLE_FREE_MEMORY, FitKind.NOT_VERIFIED} | warnings
    assert found == kinds - warned
    assert len(set(names(name))) == len(names(name))


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("CPU bundle, S24", []),
        ("NPU bundle, the phone that it is for", []),
        ("an Exynos S24", ["WRONG_SOC"]),
        ("an Exynos S24, CPU bundle", []),
        ("an S25 for an S24's bundle", ["WRONG_SOC"]),
        ("a Pixel without QNN in the app", ["MISSING_BACKEND", "WRONG_SOC"]),
        ("an unknown backend", ["MISSING_BACKEND"]),
        ("runtime that is too old", ["OLD_RUNTIME"]),
        ("a byte more than there is for apps", ["TOO_LITTLE_MEMORY"]),
        ("exactly the memory that there is for apps", []),
        ("a bundle for iOS", ["OTHER_SYSTEM"]),
    ],
)
def test_what_device_fit_must_say(name: str, kinds: list[str]) -> None:
    (case,) = (case for case in load("device_fit.json")["cases"] if case["name"] == name)
    assert [reason["kind"] for reason in case["reasons"]] == kinds


@pytest.mark.parametrize(
    ("name", "reasons", "warnings"),
    [
        ("Core ML bundle", [], []),
        ("a bundle for Android", [("OTHER_SYSTEM", "iOS", "Android")], []),
        ("a system that is too old", [("OLD_SYSTEM", "iOS 17.7.2", "iOS 18")], []),
        ("an old system, CPU bundle", [], []),
        ("an app without Core ML", [("MISSING_BACKEND", "xnnpack", "coreml")], []),
        ("runtime that is too old", [("OLD_RUNTIME", "executorch 1.4.1", "executorch 1.5")], []),
        ("Simulator, for the Neural Engine", [], [("SIMULATOR", "cpu_and_ne", "cpu_only")]),
        ("Simulator, for the CPU by Core ML", [], []),
        ("Simulator, which does not say what is free", [], [("SIMULATOR", "cpu_and_ne", "cpu_only")]),
        ("a byte more than the free memory", [], [("LITTLE_FREE_MEMORY", "1999999999", "2000000000")]),
        ("a byte more than there is for apps", [("TOO_LITTLE_MEMORY", "2666666664", "2000000000")], []),
    ],
)
def test_what_ios_device_fit_must_say(
    name: str, reasons: list[tuple[str, str, str]], warnings: list[tuple[str, str, str]]
) -> None:
    (case,) = (case for case in load("device_fit_ios.json")["cases"] if case["name"] == name)
    assert [tuple(reason.values()) for reason in case["reasons"]] == reasons
    assert [tuple(warning.values()) for warning in case["warnings"]] == warnings


def test_what_nobody_said_of_an_iphone_is_not_held_against_it() -> None:
    (case,) = (case for case in load("device_fit_ios.json")["cases"] if case["name"] == "all reasons and a warning")
    manifest = Manifest.from_json(case["manifest"])
    fit = ios_device_fit(manifest, IosDevice(None, False, None, None))
    assert fit.runs and [warning.kind for warning in fit.warnings] == [FitKind.NOT_VERIFIED]
    assert not ios_device_fit(manifest, IosDevice("17.5", False, None, None)).runs


def test_versions_and_chips() -> None:
    assert at_least("1.10", "1.9") and at_least("1.5", "1.5.0") and not at_least("1.4.9", "1.5")
    assert is_soc("sm8650-ac", "SM8650") and not is_soc("SM86501", "SM8650") and not is_soc("SM8750", "SM8650")


# Error numbers


def test_error_codes_are_those_of_the_runtime() -> None:
    header = Path(next(iter(executorch.__path__)), "include/executorch/runtime/core/error.h").read_text()
    body = header[header.index("enum class Error") : header.index("};")]
    declared = {name: int(number, 16) for name, number in re.findall(r"(\w+) = (0x[0-9a-fA-F]+),", body)}
    assert declared.pop("Ok") == 0
    assert declared == ERROR_CODES


def test_what_error_codes_must_say() -> None:
    found = {(case["code"], case["message"]): case["kind"] for case in load("error_codes.json")["cases"]}
    assert found[0x12, "something"] == "CONTEXT_FULL" and found[0x14, "something"] == "MISSING_OPERATOR"
    assert found[0x02, "something"] == "UNKNOWN" and found[0x02, "Model runner was not created"] == "NOT_A_PROGRAM"
    assert all(case["kept_code"] == case["code"] for case in load("error_codes.json")["cases"])


# Benchmarks on a phone


def bench_problem(result: dict[str, Any]) -> str | None:
    """What our reader says of a result, None where it takes it; the schema that ships says the same of it."""
    try:
        read_result(json.dumps(result), "result")
        problem = None
    except InputError as error:
        problem = error.message
    assert is_valid(result, SCHEMAS["device_bench"]) == (problem is None), problem
    return problem


@pytest.mark.parametrize("case", [*load("bench.json")["results"], *load("bench.json")["ios_results"]])
def test_bench_results(case: dict[str, Any]) -> None:
    result = case["result"]
    assert bench_problem(result) is None
    for key in result:
        assert f"result: {key}: the key is missing" == bench_problem({k: v for k, v in result.items() if k != key})
    device = result["device"]
    for key in device:
        assert bench_problem({**result, "device": {k: v for k, v in device.items() if k != key}})


@pytest.mark.parametrize(
    "changes",
    [{"android": "14"}, {"sdk": 34}, {"simulator": "no"}, {"ios": 18.5}, {"soc_model": "A18"}, {"manufacturer": "x"}],
)
def test_a_device_is_of_one_system(changes: dict[str, Any]) -> None:
    result = load("bench.json")["ios_results"][0]["result"]
    assert next(iter(changes)) in str(bench_problem({**result, "device": {**result["device"], **changes}}))


@cases("bench.json", "plans")
def test_bench_plans(case: dict[str, Any]) -> None:
    try:
        plan = json.loads(case["text"])
    except ValueError:
        assert not case["valid"]
        return
    result = load("bench.json")["results"][0]["result"]
    assert (bench_problem({**result, "plan": plan}) is None) == case["valid"]


# Tokenizers


def test_tokenizers() -> None:
    values = load("tokenizers.json")
    made = {name: Tokenizer.from_str(text) for name, text in values["tokenizers"].items()}
    for case in values["cases"]:
        assert made[case["tokenizer"]].encode(case["text"], add_special_tokens=False).ids == case["ids"], case
    # They differ where models do: digits one by one, up to three or as many as there are
    found = {(case["tokenizer"], case["text"]): len(case["ids"]) for case in values["cases"]}
    assert len({found[name, "def f(x):\n    return x + 1000000\n"] for name in made}) > 2
    assert all(found[name, "a<|end|> b <|end|>"] < 9 and found[name, ""] == 0 for name in made)
