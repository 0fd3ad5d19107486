"""Writes tests/vectors/*.json, the cases that Python and the apps run: `python tests/make_vectors.py [--check]`.

Inputs are spelled here, results come from mlp_export, and tests/test_vectors.py holds what they must be in words of
its own. With `--check` nothing is written: exit code 1 where a file is not what this writes.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers
from tokenizers import Tokenizer as HFTokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.manifest import BundleError, Manifest
from mlp_export.devices.device_fit import Device, DeviceFit, IosDevice, device_fit, ios_device_fit
from mlp_export.errors import InputError
from mlp_export.runtime.generate import StopStrings
from mlp_export.text.chat import ChatFormat, Message
from mlp_export.text.runner_tokenizer import _rewritten
from mlp_export.text.tokenizer import _LLAMA4_WORDS

VECTORS = Path(__file__).with_name("vectors")

Values = dict[str, Any]


def main() -> None:
    stale = [name for name, text in vectors().items() if not is_current(VECTORS / name, text)]
    if "--check" in sys.argv[1:]:
        if stale:
            raise SystemExit(f"not what make_vectors.py writes: {', '.join(stale)}")
        return
    VECTORS.mkdir(exist_ok=True)
    for name, text in vectors().items():
        (VECTORS / name).write_text(text, encoding="utf-8")


def is_current(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def vectors() -> dict[str, str]:
    """File name -> its text."""
    made: dict[str, Callable[[], Values]] = {
        "manifests.json": manifests,
        "chat.json": chat,
        "stop_strings.json": stop_strings,
        "utf8.json": utf8,
        "device_fit.json": device_fits,
        "device_fit_ios.json": ios_device_fits,
        "error_codes.json": error_codes,
        "bench.json": bench,
        "tokenizers.json": tokenizers,
    }
    # ASCII: a reader of one line must not depend on an encoding
    return {name: json.dumps(make(), indent=1, ensure_ascii=True) + "\n" for name, make in made.items()}


# manifests.json

_LICENSE, _PTE, _TOKENIZER = "Apache-2.0", "a program", "{}"


def _file(text: str) -> Values:
    data = text.encode()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def good_manifest() -> Values:
    """A manifest of format 2 as an export writes it, of a tiny model."""
    return {
        "format": 2,
        "exporter": {"name": "mlp-export", "version": "0.2.0"},
        "model": {
            "id": "owner/model",
            "revision": "0123456789abcdef0123456789abcdef01234567",
            "license": "apache-2.0",
            "parameters": 134515008,
            "shape": {
                "family": "llama",
                "vocab_size": 49152,
                "hidden_size": 576,
                "num_layers": 2,
                "num_heads": 9,
                "num_kv_heads": 3,
                "head_dim": 64,
                "local_layers": [False, False],
            },
        },
        "backend": {
            "name": "xnnpack",
            "target": None,
            "compiled_with": {"executorch": "1.5.1", "torch": "2.13.0", "torchao": "0.18.0"},
            "min_runtime": {"executorch": "1.3"},
        },
        "context": 2048,
        "prefill_chunk": 128,
        "quantization": {
            "scheme": "int4-g32",
            "scales": "checkpoint",
            "activations": "int8-dynamic-per-token",
            "kv_cache": "int8",
        },
        "kv_cache_bytes": 23592960,
        "kv_scale_bytes": 1474560,
        "device_ram_bytes": 148724736,
        "tied_weights_stored_once": True,
        "tokenizer": {"files": ["tokenizer.json"], "bos_id": 1, "eos_ids": [2], "add_bos": False},
        "chat": {
            "bos": "",
            "system_prefix": "<|im_start|>system\n",
            "system_suffix": "<|im_end|>\n",
            "user_prefix": "<|im_start|>user\n",
            "user_suffix": "<|im_end|>\n",
            "assistant_prefix": "<|im_start|>assistant\n",
            "assistant_suffix": "<|im_end|>\n",
            "default_system": "You are a helpful AI assistant.",
            "trim": False,
            "stop": ["<|im_end|>"],
        },
        "verification": {
            "passed": True,
            "tokens": 57,
            "top1_agreement": 0.8070175647735596,
            "max_abs_error": 7.091115951538086,
            "mean_kl": 0.0988871231675148,
            "relative_error": 0.13094168901443481,
            "noise_floor": 0.1613922417163849,
            "weights_bit_equal": True,
            "checks": [
                {
                    "name": "weights",
                    "passed": True,
                    "detail": "162,791,424 codes and 5,087,232 scales are equal",
                    "level": "bits",
                    "compared": "codes and scales of all weights, read back out of the .pte",
                },
                {
                    "name": "logits of 37 calls",
                    "passed": True,
                    "detail": "relative error 0.07, limit 0.11",
                    "level": "limit",
                    "compared": "logits of 37 calls with the reference's",
                },
            ],
        },
        "files": {"LICENSE": _file(_LICENSE), "model.pte": _file(_PTE), "tokenizer.json": _file(_TOKENIZER)},
    }


def changed(values: Values, path: str, value: Any) -> Values:
    """A copy with the key at the dotted `path` set; REMOVED drops it."""
    copy: Values = json.loads(json.dumps(values))
    *parents, last = path.split("/")
    at = copy
    for key in parents:
        at = at[key]
    if value is REMOVED:
        del at[last]
    else:
        at[last] = value
    return copy


REMOVED = object()


def _format_1() -> Values:
    old = changed(changed(good_manifest(), "format", 1), "exporter", REMOVED)
    old["backend"]["least_runtime"] = old["backend"].pop("min_runtime")
    for check in old["verification"]["checks"]:
        del check["level"], check["compared"]
    return old


def _qnn() -> Values:
    values = good_manifest()
    values["backend"] = {
        "name": "qnn",
        "target": "sm8750",
        "compiled_with": {"executorch": "1.5.1", "qairt": "2.49.40.260810"},
        "min_runtime": {"executorch": "1.3", "qairt": "2.49.40"},
    }
    return values


def _coreml() -> Values:
    values = good_manifest()
    values["backend"] = {
        "name": "coreml",
        "target": "cpu_and_ne",
        "compiled_with": {"executorch": "1.5.1", "coremltools": "9.0"},
        "min_runtime": {"executorch": "1.3", "ios": "18"},
    }
    return values


def _manifest_cases() -> Iterable[Values]:
    good = good_manifest()
    files = {"LICENSE": _LICENSE, "model.pte": _PTE, "tokenizer.json": _TOKENIZER}

    def case(name: str, manifest: Values | str | None, **changes: Any) -> Values:
        text = manifest if manifest is None or isinstance(manifest, str) else json.dumps(manifest)
        return {"name": name, "manifest": text, "files": files, "links": {}, "folders": [], **changes}

    def damaged(path: str, value: Any) -> Values:
        told = "removed" if value is REMOVED else json.dumps(value)
        return case(f"{path} is {told}", changed(good, path, value))

    yield case("as an export writes it", good)
    yield case("format 1", _format_1())
    yield case("format 2 of an exporter that did not say its name", changed(good, "exporter", REMOVED))
    yield case("exporter null", changed(good, "exporter", None))
    checks = [{"name": "weights", "passed": True, "detail": "equal"}]
    yield case("checks that do not say their level", changed(good, "verification/checks", checks))
    yield case("QNN", _qnn())
    yield case("Core ML", _coreml())
    yield case("no chat", changed(good, "chat", None))
    yield case("a chat without system messages", _without_system(good))
    of_tokenizer = (("normalization", "NFC"), ("normalization", None), ("answer_strip", " "), ("answer_strip", None))
    for key, given in of_tokenizer:
        yield case(f"tokenizer/{key} is {json.dumps(given)}", changed(good, f"tokenizer/{key}", given))
    optional = {
        "generation_prompt": "<|im_start|>assistant\n<think>\n",
        "reasoning_end": "</think>",
        "reasoning_trim": "newlines",
        "answer_trim_start": "none",
        "answer_trim_end": "whitespace",
    }
    yield case("a chat with all keys", changed(good, "chat", {**good["chat"], **optional}))
    yield case("an empty generation prompt", changed(good, "chat/generation_prompt", ""))
    yield case("optional keys null", changed(good, "chat", {**good["chat"], **dict.fromkeys(optional)}))
    limit = "the template takes a system message only inside the first message"
    yield case("a chat template that is carried in part", changed(_without_system(good), "chat_limits", [limit]))
    yield case("a chat template that is not carried", changed(changed(good, "chat", None), "chat_limits", [limit, "b"]))
    yield case("no limits", changed(good, "chat_limits", []))
    yield case("not verified", changed(good, "verification", None))
    yield case("failed verification", changed(good, "verification/passed", False))
    yield case("verification of another program, with other keys", changed(good, "verification", {"passed": True}))
    yield case("no license named", changed(good, "model/license", None))
    yield case("of a local folder", changed(good, "model/revision", None))
    yield case("spaces and line ends between the tokens", json.dumps(good, indent=3).replace("\n", "\r\n"))
    yield case("more keys where they are allowed", changed(good, "quantization/new", {"any": [1, None]}))
    yield case("other text in a name", changed(good, "model/id", "owner/Gr\u00fc\u00dfe \u4e16\u754c \U0001f642"))
    yield case("a file that the manifest does not name", good, files={**files, "notes.txt": "mine"})
    more = changed(
        good, "files", {**good["files"], "tokenizer.model": _file("m"), "tokenizer_config.json": _file("{}")}
    )
    yield case("more files", more, files={**files, "tokenizer.model": "m", "tokenizer_config.json": "{}"})

    yield case("no manifest", None)
    yield case("format 3", changed(good, "format", 3))
    yield case("format 3 with keys of its own", {"format": 3, "anything": []})
    yield case("format 1 with format 2's key", changed(good, "format", 1))
    old = changed(good, "backend/min_runtime", REMOVED)
    yield case("format 2 with format 1's key", changed(old, "backend/least_runtime", {"executorch": "1.3"}))
    for value in (0, -1, "2", 2.5, True, None, REMOVED):
        yield damaged("format", value)
    text = json.dumps(good)
    yield case("empty", "")
    yield case("cut short", text[: len(text) // 2])
    yield case("an array", "[]")
    yield case("null", "null")
    yield case("more behind the object", text + "{}")
    yield case("a byte order mark", "\ufeff" + text)
    yield case("a comment", text.replace("{", "{/* */", 1))
    yield case("single quotes", text.replace('"', "'"))
    yield case("a key without quotes", text.replace('"format"', "format"))
    yield case("a comma before the end", text[:-1] + ",}")
    yield case("NaN", text.replace("0.0988871231675148", "NaN"))
    yield case("a key twice", text.replace('"context": 2048', '"context": 2048, "context": 4096'))
    yield case("a key twice, deep inside", text.replace('"bytes": 9,', '"bytes": 9, "bytes": 8,'))
    yield damaged("extra", 1)
    for key in good:
        if key not in ("exporter", "format"):
            yield damaged(key, REMOVED)
    for value in (0, -1, "2048", 2048.5, None, True, [2048], 2**31, 10**20):
        yield damaged("context", value)
    yield damaged("prefill_chunk", 0)
    yield damaged("kv_cache_bytes", -1)
    yield damaged("device_ram_bytes", 2**63)
    yield damaged("model/shape/vocab_size", REMOVED)
    yield damaged("model/id", "")
    yield damaged("model/license", 7)
    yield damaged("model/licence", "apache-2.0")
    yield damaged("exporter", "mlp-export")
    yield damaged("exporter/version", REMOVED)
    yield damaged("backend/name", "XNNPACK")
    yield damaged("backend/min_runtime", {"executorch": 1.3})
    yield damaged("tokenizer/files", [])
    yield damaged("tokenizer/eos_ids", [])
    yield damaged("tokenizer/eos_ids", [-1])
    yield damaged("tokenizer/add_bos", 1)
    yield damaged("tokenizer/normalization", "NFKC")
    yield damaged("tokenizer/normalization", True)
    yield damaged("tokenizer/answer_strip", "")
    yield damaged("tokenizer/answer_strip", 1)
    yield case("a tokenizer file that is not among the files", changed(good, "tokenizer/files", ["other.json"]))
    yield damaged("chat", {"bos": ""})
    yield damaged("chat/stop", ["<|im_end|>", ""])
    yield damaged("chat/trim", "no")
    yield damaged("chat/user_prefix", None)
    yield damaged("chat/generation_prompt", 1)
    yield damaged("chat/reasoning_end", "")
    yield damaged("chat/reasoning_trim", True)
    yield damaged("chat/answer_trim_start", "Newlines")
    yield damaged("chat/answer_trim_end", "")
    for value in (None, "a", [""], [1], {}):
        yield damaged("chat_limits", value)
    yield damaged("verification", [])
    yield damaged("verification/passed", REMOVED)
    yield damaged("verification/passed", "yes")
    yield damaged("verification/checks", {})
    yield damaged("verification/checks", ["weights"])
    yield damaged("verification/checks", [{"name": "weights", "passed": True}])
    yield damaged("files", {})
    yield damaged("files/LICENSE", REMOVED)
    yield damaged("files/model.pte/sha256", "0" * 63)
    yield damaged("files/model.pte/sha256", "A" * 64)
    yield damaged("files/model.pte/bytes", "9")
    names = [
        "../x",
        "..",
        ".",
        "a/b",
        "a\\b",
        "/etc/passwd",
        "",
        ".hidden",
        "a..b",
        "manifest.json",
        "a\n",
        "a\0b",
        "C:x",
    ]
    for name in [*names, "a b", "-a", "\u00e4", "a\u202eb"]:
        entries = {**good["files"], name: _file("")}
        yield case(f"a file named {json.dumps(name)}", changed(good, "files", entries))
    yield case("a tokenizer file named ../x", changed(good, "tokenizer/files", ["../x"]))

    yield case("a symbolic link", good, files=_without(files, "model.pte"), links={"model.pte": "tokenizer.json"})
    yield case("a symbolic link to nothing", good, files=_without(files, "LICENSE"), links={"LICENSE": "gone"})
    yield case("no program", good, files=_without(files, "model.pte"))
    yield case("no license text", good, files=_without(files, "LICENSE"))
    yield case("a folder in place of a file", good, files=_without(files, "model.pte"), folders=["model.pte"])
    yield case("a program of 0 bytes", good, files={**files, "model.pte": ""})
    yield case("a half-copied program", good, files={**files, "model.pte": _PTE[:4]})
    yield case("a program that is too long", good, files={**files, "model.pte": _PTE + "."})
    yield case("another program of that size", good, files={**files, "model.pte": _PTE.upper()})
    yield case("another tokenizer of that size", good, files={**files, "tokenizer.json": "[]"})


def _without(values: Values, key: str) -> Values:
    return {k: v for k, v in values.items() if k != key}


def _without_system(values: Values) -> Values:
    for key in ("system_prefix", "system_suffix", "default_system"):
        values = changed(values, f"chat/{key}", None)
    return values


def lay_out(case: Values, folder: Path) -> None:
    """Write a case's files into `folder`, which is new."""
    folder.mkdir()
    if case["manifest"] is not None:
        (folder / "manifest.json").write_bytes(case["manifest"].encode())
    for name, text in case["files"].items():
        (folder / name).write_bytes(text.encode())
    for name, target in case["links"].items():
        (folder / name).symlink_to(target)
    for name in case["folders"]:
        (folder / name).mkdir()


def manifests() -> Values:
    cases = []
    with tempfile.TemporaryDirectory(prefix="mlp-export-") as scratch:
        for n, case in enumerate(_manifest_cases()):
            lay_out(case, Path(scratch, str(n)))
            cases.append({**case, **_opened(Path(scratch, str(n)))})
    return {
        "about": (
            "A folder with `manifest` (its text in UTF-8; null: there is none), `files` (name -> text), symbolic "
            "`links` (name -> target) and sub-`folders`. `problem` is that of opening it with all hashes, null "
            "where it is a bundle; WRONG_HASH shows only where hashes are checked. `read` is the manifest as "
            "format 2 says it."
        ),
        "cases": cases,
    }


def _opened(folder: Path) -> Values:
    try:
        return {"problem": None, "read": Bundle.open(folder).manifest.to_json()}
    except BundleError as error:
        return {"problem": error.problem.value, "read": None}


# chat.json

_CHATML = good_manifest()["chat"]
_LLAMA4 = {
    "bos": "<|begin_of_text|>",
    "system_prefix": "<|header_start|>system<|header_end|>\n\n",
    "system_suffix": "<|eot|>",
    "user_prefix": "<|header_start|>user<|header_end|>\n\n",
    "user_suffix": "<|eot|>",
    "assistant_prefix": "<|header_start|>assistant<|header_end|>\n\n",
    "assistant_suffix": "<|eot|>",
    "default_system": None,
    "trim": True,
    "stop": ["<|end_of_text|>", "<|eot|>"],
}
_EMPTY_SYSTEM = {**_LLAMA4, "system_prefix": "<s>Today: 26 Jul 2024\n\n", "system_suffix": "</s>", "default_system": ""}
_NO_SYSTEM = {
    **dict.fromkeys(("system_prefix", "system_suffix", "default_system")),
    "bos": "<s>",
    "user_prefix": "[INST] ",
    "user_suffix": " [/INST]",
    "assistant_prefix": "",
    "assistant_suffix": "</s>",
    "trim": True,
    "stop": ["</s>"],
}
# Qwen3's: reasoning is dropped, and only then the line ends before the answer are.
_REASONING = {**_CHATML, "default_system": None, "reasoning_end": "</think>", "reasoning_trim": "newlines"}
# The prompt opens the reasoning; each answer is stripped of line ends before it.
_THINKING = {
    **_REASONING,
    "reasoning_trim": None,
    "generation_prompt": "<|im_start|>assistant\n<think>\n",
    "answer_trim_start": "newlines",
}
# Llama 2's: the answer's prefix is not in the prompt, and white space is trimmed in answers alone.
_LLAMA2 = {
    **_NO_SYSTEM,
    "bos": "",
    "user_prefix": "<s>[INST] ",
    "assistant_prefix": " ",
    "assistant_suffix": " </s>",
    "generation_prompt": "",
    "trim": False,
    "answer_trim_start": "whitespace",
    "answer_trim_end": "whitespace",
}
_KEPT_ANSWERS = {**_LLAMA4, "answer_trim_start": "none", "answer_trim_end": "newlines"}
_FORMATS = {"chatml": _CHATML, "llama4": _LLAMA4, "empty system": _EMPTY_SYSTEM, "no system": _NO_SYSTEM}
_FORMATS_WITH_OPTIONAL_KEYS = {
    "reasoning": _REASONING,
    "thinking": _THINKING,
    "llama2": _LLAMA2,
    "answers kept": _KEPT_ANSWERS,
}
_SPACES = " \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000"


def chat() -> Values:
    chats: dict[str, list[tuple[str, str]]] = {
        "one question": [("user", "What is the capital of France?")],
        "three turns": [("user", "a"), ("assistant", "b"), ("user", "c")],
        "five turns": [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")],
        "a system message": [("system", "Be kind.\nBe short."), ("user", "a")],
        "an empty system message": [("system", ""), ("user", "a")],
        "a system message and three turns": [("system", " s "), ("user", "a"), ("assistant", "b"), ("user", "c")],
        "white space around": [("user", " \ta b\n"), ("assistant", "\n\nb "), ("user", "\r\n c")],
        "all of Unicode's white space around": [("user", f"{_SPACES}a{_SPACES}b{_SPACES}")],
        "no white space: zero width space, word joiner": [("user", "\u200ba\u2060")],
        "only white space": [("user", " \n ")],
        "other scripts": [
            ("user", "Gr\u00fc\u00dfe, \u4e16\u754c \U0001f642 \u0643\u062a\u0627\u0628 {{ x }} <b>&amp;</b>")
        ],
        "no turns": [],
        "ends with an answer": [("user", "a"), ("assistant", "b")],
    }
    answers: dict[str, list[tuple[str, str]]] = {
        "reasoning": [("user", "a"), ("assistant", "<think>\nr\n</think>\n\n b"), ("user", "c")],
        "reasoning twice": [("user", "a"), ("assistant", "r</think>s</think>\r\nb \n\n"), ("user", "c")],
        "reasoning that does not end": [("user", "a"), ("assistant", "\n<think>\nr"), ("user", "c")],
        "nothing but reasoning": [("user", "a"), ("assistant", "<think>r</think>\n"), ("user", "c")],
        "reasoning in other messages": [("system", "</think>s"), ("user", "a</think>\nb")],
        "an empty answer": [("user", "a"), ("assistant", ""), ("user", "c")],
        "line ends and white space around an answer": [
            ("user", "a"),
            ("assistant", "\n\n \tb\u3000\n \n"),
            ("user", "c"),
        ],
        "all of Unicode's white space around an answer": [
            ("user", "a"),
            ("assistant", f"{_SPACES}b{_SPACES}"),
            ("user", "c"),
        ],
    }
    shared = ["three turns", "a system message and three turns", "white space around", "ends with an answer"]
    answers |= {name: chats[name] for name in shared}
    cases = [
        _composed(name, format_, turns, generate)
        for formats, some in ((_FORMATS, chats), (_FORMATS_WITH_OPTIONAL_KEYS, answers))
        for format_ in formats
        for name, turns in some.items()
        for generate in (True, False)
    ]
    return {
        "about": (
            "`text` is what the turns become in a format of `formats`; with `generate` it ends where the "
            "assistant is to speak. null, with `problem`, where the format takes no system message. White space "
            "that `trim` and `whitespace` drop is what Python's str.strip drops: Unicode's White_Space, U+0085 with "
            "it, and U+001C to U+001F. `newlines` are U+000A. Optional keys of a format may be null."
        ),
        "formats": _FORMATS | _FORMATS_WITH_OPTIONAL_KEYS,
        "cases": cases,
    }


def _composed(name: str, format_: str, turns: Sequence[tuple[str, str]], generate: bool) -> Values:
    values = (_FORMATS | _FORMATS_WITH_OPTIONAL_KEYS)[format_]
    spoken = ChatFormat(**{**values, "stop": tuple(values["stop"])})
    messages: list[Any] = [Message(role, content) for role, content in turns]  # type: ignore[arg-type]
    try:
        text, problem = spoken.compose(messages, generate=generate), None
    except InputError:
        text, problem = None, "NO_SYSTEM_ROLE"
    said = [{"role": role, "content": content} for role, content in turns]
    return {"name": name, "format": format_, "turns": said, "generate": generate, "text": text, "problem": problem}


# stop_strings.json


def stop_strings() -> Values:
    answers: list[tuple[str, list[str], list[str]]] = [
        ("no stop strings", [], ["a", "b"]),
        ("an empty stop string is none", [""], ["a", "b"]),
        ("none of them comes", ["<|eot|>"], ["Paris", " is", " it."]),
        ("as a piece of its own", ["<|eot|>"], ["Paris", "<|eot|>", "more"]),
        ("in several pieces", ["<|eot|>"], ["Paris<", "|e", "ot", "|>", "more"]),
        ("a character a piece", ["<|eot|>"], list("ab<|eot|>cd")),
        ("at once with text around", ["<|eot|>"], ["Paris<|eot|>more"]),
        ("at the very start", ["<|eot|>"], ["<|eot|>"]),
        ("a beginning that is none after all", ["<|eot|>"], ["a <", "b", " <|e", "nd"]),
        ("the end comes while some is held back", ["<|eot|>"], ["a <|e", "ot|"]),
        ("a beginning within a beginning", ["aab"], ["a", "a", "a", "b", "c"]),
        ("overlaps itself", ["abab"], ["ab", "aab", "ab"]),
        ("the first of two that comes", ["END", "STOP"], ["x ST", "OP END"]),
        ("two in one piece: the first in the text", ["END", "STOP"], ["x STOP END"]),
        ("one is the beginning of the other: the shorter", ["\n", "\n\nUser:"], ["a", "\n", "\nUser:"]),
        ("one is the end of the other: what stands first", ["bc", "abc"], ["x", "a", "b", "c"]),
        ("both held back, one fails", ["<x", "<yz"], ["<", "y", "x", "<y", "z"]),
        ("empty pieces", ["ab"], ["", "a", "", "b", ""]),
        ("a stop string of one character", ["."], ["Yes", ".", "No"]),
        ("other scripts", ["\u3002\u5b8c"], ["\u597d", "\u3002", "\u5b8c", "\u591a"]),
        ("outside the basic plane", ["\U0001f642\U0001f643"], ["a\U0001f642", "\U0001f642", "\U0001f643b"]),
        ("line ends", ["\n\nUser:"], ["a\n", "\nb\n\nUs", "er", ":", "c"]),
        ("after the end nothing is visible", ["x"], ["ax", "b", "x"]),
    ]
    return {
        "about": (
            "`visible` has what may be shown after each of `pieces`; `rest` what is left when no more comes. "
            "`stopped`: a stop string was found, and nothing after it is visible."
        ),
        "cases": [_stopped(*answer) for answer in answers],
    }


def _stopped(name: str, stop: list[str], pieces: list[str]) -> Values:
    stops = StopStrings(stop)
    visible = [stops.push(piece) for piece in pieces]
    rest = stops.flush()
    return {"name": name, "stop": stop, "pieces": pieces, "visible": visible, "rest": rest, "stopped": stops.found}


# utf8.json


def utf8() -> Values:
    smile, word = "\U0001f642".encode(), "Gr\u00fc\u00dfe \u4e16\u754c".encode()
    chunks: list[tuple[str, list[bytes]]] = [
        ("ASCII", [b"a", b"bc"]),
        ("empty chunks", [b"", b"a", b""]),
        ("a character of two bytes", [b"\xc3", b"\xbc"]),
        ("a character of three bytes, a byte a chunk", [b"\xe4", b"\xb8", b"\x96"]),
        ("a character of four bytes, a byte a chunk", [smile[n : n + 1] for n in range(4)]),
        ("a character of four bytes, halves", [smile[:2], smile[2:]]),
        ("text around a split", [b"a" + smile[:3], smile[3:] + b"b"]),
        ("every byte a chunk", [word[n : n + 1] for n in range(len(word))]),
        ("two at a time", [word[n : n + 2] for n in range(0, len(word), 2)]),
        ("ends within a character", [b"a", smile[:3]]),
        ("ends within a character of two bytes", [b"a\xc3"]),
        ("a stray continuation byte", [b"a\x80b"]),
        ("a byte that is never there", [b"a\xffb"]),
        ("cut off by ASCII", [b"\xe4\xb8", b"a"]),
        ("cut off by another character", [b"\xe4\xb8", b"\xc3\xbc"]),
        ("a byte order mark is text", [b"\xef\xbb", b"\xbfa"]),
        ("a zero byte is text", [b"a\x00b"]),
    ]
    halves: list[tuple[str, list[str]]] = [
        ("whole", ["a", "\U0001f642b"]),
        ("halves in two pieces", ["a\ud83d", "\ude42b"]),
        ("half at the end", ["a", "\ud83d"]),
        ("a high half and no low one", ["a\ud83d", "b"]),
        ("a low half alone", ["a", "\ude42b"]),
        ("halves the wrong way round", ["\ude42\ud83d", "x"]),
        ("two high halves", ["\ud83d", "\ud83d\ude42"]),
    ]
    return {
        "about": (
            "`texts` has what each of `chunks` (bytes in hexadecimal) completes, `rest` what is left at the end; "
            "bytes that are no UTF-8 become U+FFFD, one for each maximal part that begins a character. "
            "`surrogates`: the same for pieces of UTF-16, as Java has them (JSON escapes of halves)."
        ),
        "cases": [_assembled(name, parts) for name, parts in chunks],
        "surrogates": [_joined(name, pieces) for name, pieces in halves],
    }


def _assembled(name: str, chunks: Sequence[bytes]) -> Values:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    texts = [decoder.decode(chunk) for chunk in chunks]
    return {"name": name, "chunks": [c.hex() for c in chunks], "texts": texts, "rest": decoder.decode(b"", True)}


def _joined(name: str, pieces: Sequence[str]) -> Values:
    decoder = codecs.getincrementaldecoder("utf-16-le")("replace")
    texts = [decoder.decode(piece.encode("utf-16-le", "surrogatepass")) for piece in pieces]
    return {"name": name, "pieces": list(pieces), "texts": texts, "rest": decoder.decode(b"", True)}


# device_fit.json

_GB = 10**9
_S24 = Device(
    soc_model="SM8650",
    abis=("arm64-v8a",),
    sdk=34,
    total_memory_bytes=8 * _GB,
    available_memory_bytes=3 * _GB,
    runtimes={"executorch": "1.5.1", "qairt": "2.49.40.260810"},
    backends=("qnn", "xnnpack"),
)


def _phone(**changes: Any) -> Device:
    return replace(_S24, **changes)


def device_fits() -> Values:
    cpu, npu = good_manifest(), changed(_qnn(), "backend/target", "sm8650")
    big = changed(cpu, "device_ram_bytes", 2 * _GB)
    future = changed(cpu, "backend/min_runtime", {"executorch": "1.5"})
    build = changed(npu, "backend/min_runtime/qairt", "v2.49.40.260810104044")
    cases: list[tuple[str, Values, Device]] = [
        ("CPU bundle, S24", cpu, _S24),
        ("NPU bundle, the phone that it is for", npu, _S24),
        ("an S25 for an S24's bundle", npu, _phone(soc_model="SM8750")),
        ("an S24 for an S25's bundle", _qnn(), _S24),
        ("lower case", npu, _phone(soc_model="sm8650")),
        ("a variant of the chip", npu, _phone(soc_model="SM8650-AC")),
        ("a variant of the chip, a letter", npu, _phone(soc_model="SM8650P")),
        ("a longer number is another chip", npu, _phone(soc_model="SM86501")),
        ("an Exynos S24", npu, _phone(soc_model="s5e9945")),
        ("an Exynos S24, CPU bundle", cpu, _phone(soc_model="s5e9945")),
        ("a Pixel without QNN in the app", npu, _phone(soc_model="Tensor G4", backends=("xnnpack",), runtimes=_ET)),
        ("the phone does not say its chip", npu, _phone(soc_model=None)),
        ("the chip is `unknown`", npu, _phone(soc_model="unknown")),
        ("the chip is empty", npu, _phone(soc_model="")),
        ("no chip, CPU bundle", cpu, _phone(soc_model=None)),
        ("an app without QNN", npu, _phone(backends=("xnnpack",), runtimes=_ET)),
        ("an app without any backend", cpu, _phone(backends=())),
        ("missing libraries", npu, _phone(missing_libraries=("libQnnHtp.so", "libQnnSystem.so"))),
        ("an emulator", cpu, _phone(soc_model=None, abis=("x86_64", "arm64-v8a"))),
        ("an x86_64 emulator, CPU bundle", cpu, _phone(soc_model=None, abis=("x86_64",))),
        ("an x86_64 emulator, NPU bundle", npu, _phone(soc_model=None, abis=("x86_64",))),
        ("a 32-bit phone", cpu, _phone(abis=("armeabi-v7a", "armeabi"))),
        ("a phone of both", cpu, _phone(abis=("arm64-v8a", "armeabi-v7a", "armeabi"))),
        ("runtime of the very version", future, _phone(runtimes={"executorch": "1.5"})),
        ("runtime of a later patch", cpu, _phone(runtimes={"executorch": "1.3.1"})),
        ("runtime that is too old", future, _phone(runtimes={"executorch": "1.3.1"})),
        ("1.10 is after 1.5", future, _phone(runtimes={"executorch": "1.10"})),
        ("1.5.0 is 1.5", future, _phone(runtimes={"executorch": "1.5.0"})),
        ("0.9 is before 1.3", cpu, _phone(runtimes={"executorch": "0.9.9"})),
        ("what follows the numbers is not read", future, _phone(runtimes={"executorch": "1.5.1+cpu"})),
        ("a runtime that does not say its version", future, _phone(runtimes={})),
        (
            "QAIRT's build, as manifests once had it",
            build,
            _phone(runtimes={"executorch": "1.5.1", "qairt": "2.49.40"}),
        ),
        ("an older QAIRT than that build", build, _phone(runtimes={"executorch": "1.5.1", "qairt": "2.37.0"})),
        ("QAIRT that is too old", npu, _phone(runtimes={"executorch": "1.5.1", "qairt": "2.37.0"})),
        ("both runtimes too old", npu, _phone(runtimes={"executorch": "1.2", "qairt": "2.37.0"})),
        ("a bundle for iOS", _coreml(), _S24),
        ("a bundle for iOS and everything else wrong", _coreml(), _phone(abis=(), total_memory_bytes=0, backends=())),
        ("an unknown backend", changed(cpu, "backend/name", "mediatek"), _S24),
        ("exactly the memory that there is for apps", big, _phone(total_memory_bytes=2_666_666_668)),
        ("a byte more than there is for apps", big, _phone(total_memory_bytes=2_666_666_664)),
        ("exactly the free memory", big, _phone(available_memory_bytes=2 * _GB)),
        ("a byte more than the free memory", big, _phone(available_memory_bytes=2 * _GB - 1)),
        ("never enough: no word of what is free", big, _phone(total_memory_bytes=2 * _GB, available_memory_bytes=_GB)),
        ("not verified", changed(cpu, "verification", None), _S24),
        ("failed verification", changed(cpu, "verification/passed", False), _S24),
        (
            "all that can be wrong",
            changed(changed(_qnn(), "verification", None), "device_ram_bytes", 9 * _GB),
            _phone(abis=("x86",), runtimes={"executorch": "1.2"}, backends=("xnnpack",), missing_libraries=("lib.so",)),
        ),
    ]
    return {
        "about": (
            "`reasons` are why the bundle of `manifest` does not run on `device`, `warnings` what to know of: "
            "both whole and in this order. Numbers are bytes in decimal. Apps may use 3/4 of the memory (total //"
            " 4 * 3). A runtime whose version is unknown is not held against the app."
        ),
        "cases": [_fitted(*case, device_fit(Manifest.from_json(case[1]), case[2])) for case in cases],
    }


_ET = {"executorch": "1.5.1"}


def _fitted(name: str, manifest: Values, device: Device | IosDevice, fit: DeviceFit) -> Values:
    reasons = [[r.kind.value, r.found, r.expected] for r in fit.reasons]
    warnings = [[r.kind.value, r.found, r.expected] for r in fit.warnings]
    return {
        "name": name,
        "manifest": manifest,
        "device": json.loads(json.dumps(asdict(device))),
        "reasons": [dict(zip(("kind", "found", "expected"), reason, strict=True)) for reason in reasons],
        "warnings": [dict(zip(("kind", "found", "expected"), warning, strict=True)) for warning in warnings],
    }


# device_fit_ios.json

_IPHONE = IosDevice(
    system_version="18.5",
    is_simulator=False,
    total_memory_bytes=8 * _GB,
    available_memory_bytes=3 * _GB,
    runtimes=_ET,
    backends=("coreml", "xnnpack"),
)


def ios_device_fits() -> Values:
    cpu, core_ml = good_manifest(), _coreml()
    big = changed(core_ml, "device_ram_bytes", 2 * _GB)
    future = changed(cpu, "backend/min_runtime", {"executorch": "1.5"})

    def on(**changes: Any) -> IosDevice:
        return replace(_IPHONE, **changes)

    def unit(target: str | None) -> Values:
        return changed(core_ml, "backend/target", target)

    cases: list[tuple[str, Values, IosDevice]] = [
        ("CPU bundle", cpu, _IPHONE),
        ("Core ML bundle", core_ml, _IPHONE),
        ("a bundle for Android", _qnn(), _IPHONE),
        ("a bundle for Android and everything else wrong", _qnn(), on(total_memory_bytes=0, backends=())),
        ("a bundle for QAIRT under another name", changed(_qnn(), "backend/name", "other"), _IPHONE),
        ("the very system", core_ml, on(system_version="18.0")),
        ("the very system in one number", core_ml, on(system_version="18")),
        ("a patch of that system", core_ml, on(system_version="18.0.1")),
        ("a later system", core_ml, on(system_version="26.1")),
        ("a system that is too old", core_ml, on(system_version="17.7.2")),
        ("9 is before 18", core_ml, on(system_version="9.3.5")),
        ("a system of two numbers", changed(core_ml, "backend/min_runtime/ios", "18.4"), on(system_version="18.3.2")),
        ("18.10 is after 18.4", changed(core_ml, "backend/min_runtime/ios", "18.4"), on(system_version="18.10")),
        ("an old system, CPU bundle", cpu, on(system_version="17.0")),
        ("an app without Core ML", core_ml, on(backends=("xnnpack",))),
        ("an app without XNNPACK", cpu, on(backends=("coreml",))),
        ("an app without any backend", cpu, on(backends=())),
        ("an unknown backend", changed(cpu, "backend/name", "mps"), _IPHONE),
        ("runtime of the very version", future, on(runtimes={"executorch": "1.5"})),
        ("runtime of a later patch", core_ml, on(runtimes={"executorch": "1.3.1"})),
        ("runtime that is too old", future, on(runtimes={"executorch": "1.4.1"})),
        ("1.10 is after 1.5", future, on(runtimes={"executorch": "1.10"})),
        ("what follows the numbers is not read", future, on(runtimes={"executorch": "1.5.1+cpu"})),
        ("a runtime that does not say its version", future, on(runtimes={})),
        ("iOS among the runtimes is not read", core_ml, on(runtimes={"executorch": "1.5.1", "ios": "17"})),
        ("Simulator, CPU bundle", cpu, on(is_simulator=True)),
        ("Simulator, for the Neural Engine", core_ml, on(is_simulator=True)),
        ("Simulator, for all units", unit("all"), on(is_simulator=True)),
        ("Simulator, for the GPU", unit("cpu_and_gpu"), on(is_simulator=True)),
        ("Simulator, for the CPU by Core ML", unit("cpu_only"), on(is_simulator=True)),
        ("Simulator, no unit named", unit(None), on(is_simulator=True)),
        ("Simulator, which does not say what is free", big, on(is_simulator=True, available_memory_bytes=0)),
        ("exactly the memory that there is for apps", big, on(total_memory_bytes=2_666_666_668)),
        ("a byte more than there is for apps", big, on(total_memory_bytes=2_666_666_664)),
        ("exactly the free memory", big, on(available_memory_bytes=2 * _GB)),
        ("a byte more than the free memory", big, on(available_memory_bytes=2 * _GB - 1)),
        ("never enough: no word of what is free", big, on(total_memory_bytes=2 * _GB, available_memory_bytes=_GB)),
        ("not verified", changed(core_ml, "verification", None), _IPHONE),
        ("failed verification", changed(core_ml, "verification/passed", False), _IPHONE),
        (
            "all reasons and a warning",
            changed(changed(core_ml, "verification", None), "device_ram_bytes", 9 * _GB),
            on(system_version="17.5", runtimes={"executorch": "1.2"}, backends=("xnnpack",)),
        ),
        (
            "all warnings",
            changed(big, "verification", None),
            on(is_simulator=True, available_memory_bytes=_GB),
        ),
    ]
    return {
        "about": (
            "As device_fit.json, of an iPhone or iPad. `system_version` is compared with min_runtime.ios, `runtimes` "
            "with the others; one whose version is unknown is not held against the app. Apps may use 3/4 of the "
            "memory (total // 4 * 3). `available_memory_bytes` of 0 is not known and gives no warning."
        ),
        "cases": [_fitted(*case, ios_device_fit(Manifest.from_json(case[1]), case[2])) for case in cases],
    }


# error_codes.json

# executorch::runtime::Error -> what an app says of it
ERROR_KINDS = {
    "Internal": "UNKNOWN",
    "InvalidState": "UNKNOWN",  # but for the message of a runner that could not be made
    "EndOfMethod": "UNKNOWN",
    "AlreadyLoaded": "UNKNOWN",
    "NotSupported": "UNKNOWN",
    "NotImplemented": "UNKNOWN",
    "InvalidArgument": "CONTEXT_FULL",  # a cache's bounded tensor cannot grow
    "InvalidType": "UNKNOWN",
    "OperatorMissing": "MISSING_OPERATOR",
    "RegistrationExceedingMaxKernels": "UNKNOWN",
    "RegistrationAlreadyRegistered": "UNKNOWN",
    "NotFound": "MISSING_BACKEND",
    "MemoryAllocationFailed": "OUT_OF_MEMORY",
    "AccessFailed": "MISSING_FILE",
    "InvalidProgram": "NOT_A_PROGRAM",
    "InvalidExternalData": "NOT_A_PROGRAM",
    "OutOfResources": "OUT_OF_MEMORY",
    "DelegateInvalidCompatibility": "WRONG_DELEGATE",
    "DelegateMemoryAllocationFailed": "OUT_OF_MEMORY",
    "DelegateInvalidHandle": "WRONG_DELEGATE",
}
ERROR_CODES = {
    "Internal": 0x01,
    "InvalidState": 0x02,
    "EndOfMethod": 0x03,
    "AlreadyLoaded": 0x04,
    "NotSupported": 0x10,
    "NotImplemented": 0x11,
    "InvalidArgument": 0x12,
    "InvalidType": 0x13,
    "OperatorMissing": 0x14,
    "RegistrationExceedingMaxKernels": 0x15,
    "RegistrationAlreadyRegistered": 0x16,
    "NotFound": 0x20,
    "MemoryAllocationFailed": 0x21,
    "AccessFailed": 0x22,
    "InvalidProgram": 0x23,
    "InvalidExternalData": 0x24,
    "OutOfResources": 0x25,
    "DelegateInvalidCompatibility": 0x30,
    "DelegateMemoryAllocationFailed": 0x31,
    "DelegateInvalidHandle": 0x32,
}


def error_codes() -> Values:
    def case(name: str, code: int, kind: str, message: str = "something") -> Values:
        return {"name": name, "code": code, "message": message, "kind": kind, "kept_code": code}

    cases = [case(name, code, ERROR_KINDS[name]) for name, code in ERROR_CODES.items()]
    for message in (
        "Model runner was not created",
        "[ExecuTorch Error 0x2] Invalid state: Model runner was not created",
    ):
        cases.append(case("LlmModule.load of a file that is no model", 0x02, "NOT_A_PROGRAM", message))
    cases += [case("a number of a later runtime", code, "UNKNOWN") for code in (0x05, 0x17, 0x33, 5000, -1)]
    return {
        "about": (
            "`code` is ExecuTorch's number (executorch::runtime::Error), `kind` what an app tells of it; the "
            "number and the message stay with it. The runner's message decides where the number alone is not "
            "enough."
        ),
        "cases": cases,
    }


# bench.json


def bench() -> Values:
    plan = {
        "format": 1,
        "id": "20261126-044500-1a2b",
        "bundle": "pro",
        "prompt_tokens": [512, 2048, 8192],
        "new_tokens": 64,
        "repetitions": 2,
        "sustained_seconds": 120,
    }
    done = {
        "format": 1,
        "id": plan["id"],
        "status": "done",
        "progress": {"done": 7, "total": 7, "stage": ""},
        "error": None,
        "plan": plan,
        "skipped": [8192],
        "app": {"id": "org.mlpexport.demo", "version": "1.0", "runtimes": {"executorch": "1.3.1"}},
        "device": {
            "manufacturer": "samsung",
            "model": "SM-S921B",
            "soc_model": "SM8650",
            "abi": "arm64-v8a",
            "android": "14",
            "sdk": 34,
            "cores": 8,
            "total_memory_bytes": 7_800_000_000,
        },
        "bundle": {
            "name": "pro",
            "model_id": "facebook/MobileLLM-Pro",
            "backend": "xnnpack",
            "target": None,
            "context": 4096,
            "prefill_chunk": 128,
            "pte_sha256": "0" * 64,
        },
        "threads": 4,
        "load_s": 1.25,
        "resident_bytes": 1_400_000_000,
        "runs": [
            _run(512, 1, 2.0, 64, 3.2),
            _run(512, 2, 2.5, 64, 3.2),
            _run(2048, 1, 9.0, 64, 4.0),
            _run(2048, 2, 11.0, 32, 2.5, "light"),
        ],
        "sustained": {
            "seconds": 121.5,
            "prompt_tokens": 512,
            "samples": [
                {"at_s": 5.0, "prefill_tok_s": 250.0, "decode_tok_s": 20.0, "thermal": "none", "headroom": 0.5},
                {"at_s": 121.5, "prefill_tok_s": 200.0, "decode_tok_s": 15.0, "thermal": "moderate", "headroom": None},
            ],
        },
    }
    running = {
        **done,
        "status": "running",
        "progress": {"done": 1, "total": 7, "stage": "512 tokens, 1 of 2"},
        "skipped": [8192],
        "runs": [],
        "sustained": None,
    }
    failed = {
        **done,
        "status": "failed",
        "progress": {"done": 0, "total": 7, "stage": "load"},
        "error": {"kind": "NOT_A_PROGRAM", "code": 2, "message": "Model runner was not created"},
        "threads": None,
        "load_s": None,
        "resident_bytes": None,
        "runs": [],
        "sustained": None,
        "skipped": [],
    }
    refused = {
        **failed,
        "plan": None,
        "bundle": None,
        "progress": {"done": 0, "total": 0, "stage": "plan"},
        "error": {"kind": "BAD_PLAN", "code": None, "message": "`new_tokens` is 0, expected 1 or more"},
    }
    bad: list[tuple[str, str]] = [
        ("empty", ""),
        ("an array", "[]"),
        ("cut short", json.dumps(plan)[:40]),
        ("a later format", json.dumps({**plan, "format": 2})),
        ("no bundle", json.dumps(_without(plan, "bundle"))),
        ("an unknown key", json.dumps({**plan, "threads": 4})),
        ("no prompt length", json.dumps({**plan, "prompt_tokens": []})),
        ("a prompt of no tokens", json.dumps({**plan, "prompt_tokens": [0]})),
        ("a prompt length twice", json.dumps({**plan, "prompt_tokens": [512, 512]})),
        ("prompt lengths as text", json.dumps({**plan, "prompt_tokens": "512"})),
        ("no new token", json.dumps({**plan, "new_tokens": 0})),
        ("half a token", json.dumps({**plan, "new_tokens": 0.5})),
        ("no repetition", json.dumps({**plan, "repetitions": 0})),
        ("less than no time", json.dumps({**plan, "sustained_seconds": -1})),
        ("an id that leads elsewhere", json.dumps({**plan, "id": "../x"})),
        ("an empty id", json.dumps({**plan, "id": ""})),
        ("an id that is too long", json.dumps({**plan, "id": "a" * 65})),
    ]
    return {
        "about": (
            "The schema is mlp_export/data/device_bench.schema.json. `plans` are texts of the "
            "extra `bench` (iOS: of the argument behind `--bench`), `valid` or not. `results` are files as the Android "
            "app writes them while it runs and at the end, `ios_results` as the iOS app does."
        ),
        "plans": [
            {"name": "as the host writes it", "text": json.dumps(plan), "valid": True},
            {"name": "nothing sustained", "text": json.dumps({**plan, "sustained_seconds": 0}), "valid": True},
            *({"name": name, "text": text, "valid": False} for name, text in bad),
        ],
        "results": [
            {"name": name, "result": result}
            for name, result in [("done", done), ("running", running), ("failed", failed), ("bad plan", refused)]
        ],
        "ios_results": [
            {"name": name, "result": _on_ios(result)}
            for name, result in [("done", done), ("running", running), ("failed", failed), ("bad plan", refused)]
        ],
    }


def _on_ios(result: Values) -> Values:
    """The same of an iPhone: thermal states and the throttling limit are others there."""
    values: Values = json.loads(json.dumps(result))
    values["device"] = {
        "manufacturer": "Apple",
        "model": "iPhone17,1",
        "soc_model": None,
        "abi": "arm64",
        "ios": "18.5",
        "simulator": False,
        "cores": 6,
        "total_memory_bytes": 8_000_000_000,
    }
    values["app"]["runtimes"] = {"executorch": "1.5.1"}
    if values["bundle"] is not None:
        values["bundle"] |= {"backend": "coreml", "target": "cpu_and_ne", "prefill_chunk": 32}
    if values["error"] is not None and values["error"]["code"] is not None:
        values["error"] |= {"code": 35, "message": "invalid program"}
    for sample in (values["sustained"] or {"samples": []})["samples"]:
        sample["headroom"] = None
        sample["thermal"] = {"moderate": "severe"}.get(sample["thermal"], sample["thermal"])
    return values


def _run(tokens: int, repetition: int, prefill: float, steps: int, decode: float, thermal: str = "none") -> Values:
    return {
        "prompt_tokens": tokens,
        "wanted_tokens": tokens,
        "repetition": repetition,
        "prefill_s": prefill,
        "decode_tokens": steps,
        "decode_s": decode,
        "thermal": thermal,
    }


# tokenizers.json

_TRAINING = (
    "The river rises in the hills to the north and is joined by two streams before it comes to the town. It's 1,234 "
    "metres long; they'll measure it again in 2026, won't they? def f(x):\n    return x + 100\n\n"
    "Gr\u00fc\u00dfe aus M\u00fcnchen, caf\u00e9, na\u00efve. \u4e16\u754c\u4f60\u597d \u0643\u062a\u0627\u0628 "
    "\u041f\u0440\u0438\u0432\u0435\u0442 \U0001f642 "
) * 4
_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_ENDS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_ENDS}"
_QWEN = rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_ENDS}"


def tokenizers() -> Values:
    texts = [
        "",
        " ",
        "a",
        "The river rises in the hills.",
        "It's 1,234 metres; they'LL see in 2026, won't they?",
        "  two  spaces   three \t tab\n\n\nlines \r\n end  ",
        "def f(x):\n    return x + 1000000\n",
        "Gr\u00fc\u00dfe aus M\u00fcnchen, caf\u00e9 cafe\u0301",
        "\u4e16\u754c\u4f60\u597d \u0643\u062a\u0627\u0628 \u041f\u0440\u0438\u0432\u0435\u0442",
        "\U0001f642\U0001f44b\U0001f3fd \u200b\u00a0\u3000x",
        "<|user|>\nhello<|end|>\n<|assistant|>\n",
        "a<|end|> b <|end|>",
        "<|end",
        "x\x00y\x7f",
        "...!!!???",
        "\u0663\u0664 \u00bd \u2163 10\u00b2",
        "\u2581under_score\u2581",
        "trailing space ",
        " \n \n",
        "a\u0085f\x0bg\x0ch\x1ci\u2028j",
        "'tis DON'T we'RE '\u017f \u2019s",
        "HTTPServer camelCase snake_case \u01c5x \u1f88 __init__",
        "<|us <|user<|user|> <|end|><|end|>",
        "cat catalog  cat  cat. [MASK] x[MASK]  y caf\u00e9s cafe\u0301",
        "http://example.org/a//b?c=d&e=%20#f\n\tif (x != y) { return; }\n",
        "\U0001d4d0 \U00020000 \ufb01 \uff21 \u212b \u0378\ufeff\uffff",
        "word" * 20 + " " + "xyz" * 30,
    ]
    made = {
        "GPT-2": _byte_level(_GPT2),
        "Llama 3": _byte_level(_LLAMA3),
        "Llama 4 and MobileLLM-Pro": _byte_level(_LLAMA4_WORDS, ignore_merges=True),
        "Qwen": _byte_level(_QWEN, nfc=True),
        "SmolLM2": _byte_level(None, digits=True),
        "Added tokens of all kinds": _with_added_tokens(),
        "Llama 2": _sentence_pieces(None),
        "Metaspace": _sentence_pieces(pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
        "Metaspace, words": _sentence_pieces(pre_tokenizers.Metaspace(prepend_scheme="always", split=True)),
    }
    made["Metaspace, words, spelled out"] = _carried(made["Metaspace, words"])
    return {
        "about": (
            "Small tokenizers of the kinds that bundles have (tokenizer.json as text) and the ids of texts, special "
            "tokens recognised and none added."
        ),
        "tokenizers": {name: tokenizer.to_str() for name, tokenizer in made.items()},
        "cases": [
            {"tokenizer": name, "text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids}
            for name, tokenizer in made.items()
            for text in texts
        ],
    }


def _byte_level(
    pattern: str | None, *, ignore_merges: bool = False, nfc: bool = False, digits: bool = False
) -> HFTokenizer:
    tokenizer = HFTokenizer(BPE(ignore_merges=ignore_merges))
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    parts: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if pattern:
        parts.append(pre_tokenizers.Split(Regex(pattern), "isolated"))
    parts.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))


def _with_added_tokens() -> HFTokenizer:
    tokenizer = _byte_level(None, nfc=True)
    tokenizer.add_tokens(
        [
            AddedToken("cat", single_word=True, normalized=True, special=False),
            AddedToken("caf\u00e9", normalized=True, special=False),
            AddedToken("[MASK]", lstrip=True, rstrip=True, normalized=False, special=True),
        ]
    )
    return tokenizer


def _sentence_pieces(pre_tokenizer: pre_tokenizers.PreTokenizer | None) -> HFTokenizer:
    tokenizer = HFTokenizer(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _trained(tokenizer, first=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))])


def _carried(tokenizer: HFTokenizer) -> HFTokenizer:
    """The tokenizer.json that a bundle carries for it: without steps that ExecuTorch's tokenizer lacks."""
    values, _, _ = _rewritten(json.loads(tokenizer.to_str()))
    return HFTokenizer.from_str(json.dumps(values))


def _trained(tokenizer: HFTokenizer, *, initial_alphabet: Sequence[str] = (), first: Sequence[str] = ()) -> HFTokenizer:
    trainer = BpeTrainer(
        vocab_size=480, initial_alphabet=list(initial_alphabet), special_tokens=list(first), show_progress=False
    )
    # A word at a time for models without words of their own: merges across the whole text would learn it by heart.
    tokenizer.train_from_iterator(_TRAINING.split(" ") if first else [_TRAINING], trainer)
    values = json.loads(tokenizer.to_str())
    values["added_tokens"] = [entry for entry in values["added_tokens"] if not entry["content"].startswith("<0x")]
    tokenizer = HFTokenizer.from_str(json.dumps(values))
    specials = [AddedToken(text, special=True, normalized=False) for text in ("<|user|>", "<|assistant|>", "<|end|>")]
    tokenizer.add_special_tokens(specials)
    return tokenizer


if __name__ == "__main__":
    main()
