"""Which stock runners can run a `.pte`, of what version, and what they need besides: for `inspect`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mlp_export.bundle.device_fit import at_least

# Runtime inside react-native-executorch 0.9.3, and the backends that it registers.
_REACT_NATIVE = "0.9.3"
_REACT_NATIVE_RUNTIME = "1.3"
_REACT_NATIVE_METHODS = ("get_eos_ids", "get_max_seq_len", "get_max_context_len", "enable_dynamic_shape")

_IOS_BACKENDS = {"XnnpackBackend": "backend_xnnpack", "CoreMLBackend": "backend_coreml"}
_ANDROID_PACKAGES = {
    "XnnpackBackend": "org.pytorch:executorch-android",
    "QnnBackend": "org.pytorch:executorch-android-qnn",
}


@dataclass(frozen=True)
class RunnerFit:
    """Whether a runner of other people's apps can run a file. `says`: with what, or why not."""

    name: str
    runs: bool
    says: str


def runner_fits(
    delegates: Collection[str],
    methods: Collection[str],
    runtimes: Mapping[str, str],
    issues: Collection[str] = (),
    chat_template: bool | None = None,
) -> list[RunnerFit]:
    """One entry a runner.

    `delegates` are those of the file, `runtimes` the minimum versions of what runs it, `issues` why a phone's runtime
    will not, `chat_template` whether there is a tokenizer_config.json with one beside it; None where that is unknown.
    """
    names = (
        "LlmModule (Android)",
        "TextLLMRunner (C++)",
        "TextRunner (iOS)",
        f"react-native-executorch {_REACT_NATIVE}",
    )
    if issues:
        return [RunnerFit(name, False, "; ".join(issues)) for name in names]
    oldest = runtimes.get("executorch", "")
    says = (
        _android(delegates, runtimes),
        (True, f"ExecuTorch {oldest} or later, linked with {', '.join(sorted(delegates)) or 'no delegate'}"),
        _ios(delegates, runtimes),
        _react_native(delegates, methods, oldest, chat_template),
    )
    return [RunnerFit(name, runs, said) for name, (runs, said) in zip(names, says, strict=True)]


def _android(delegates: Collection[str], runtimes: Mapping[str, str]) -> tuple[bool, str]:
    foreign = sorted(set(delegates) - _ANDROID_PACKAGES.keys())
    if foreign:
        return False, f"no Android runtime has {', '.join(foreign)}"
    package = _ANDROID_PACKAGES["QnnBackend" if "QnnBackend" in delegates else "XnnpackBackend"]
    said = f"{package} {runtimes.get('executorch', '')} or later"
    if "qairt" in runtimes:
        said += f", QAIRT {runtimes['qairt']} or later (com.qualcomm.qti:qnn-runtime)"
    return True, said


def _ios(delegates: Collection[str], runtimes: Mapping[str, str]) -> tuple[bool, str]:
    foreign = sorted(set(delegates) - _IOS_BACKENDS.keys())
    if foreign:
        return False, f"no iOS runtime has {', '.join(foreign)}"
    products = ", ".join(["executorch_llm", "kernels_llm", *(_IOS_BACKENDS[name] for name in sorted(delegates))])
    system = f", iOS {runtimes['ios']} or later" if "ios" in runtimes else ""
    return True, f"ExecuTorch {runtimes.get('executorch', '')} or later with {products}{system}"


def _react_native(
    delegates: Collection[str], methods: Collection[str], oldest: str, chat_template: bool | None
) -> tuple[bool, str]:
    foreign = sorted(set(delegates) - {"XnnpackBackend"})
    if foreign:
        return False, f"its runtime has no {', '.join(foreign)}"
    if not at_least(_REACT_NATIVE_RUNTIME, oldest):
        return (
            False,
            f"its runtime is ExecuTorch {_REACT_NATIVE_RUNTIME}, the file needs {oldest}: export with --runtime 1.3",
        )
    missing = [name for name in _REACT_NATIVE_METHODS if name not in methods]
    if missing:
        return False, f"it needs the methods {', '.join(missing)}"
    if chat_template is None:
        return True, "with tokenizer.json, and a tokenizer_config.json that has a chat_template"
    if not chat_template:
        return True, "forward(text) only: there is no tokenizer_config.json with a chat_template"
    return True, "with tokenizer.json and tokenizer_config.json"
