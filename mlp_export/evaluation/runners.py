"""Which stock runners can run a `.pte`, of what version, and what they need besides: for `inspect`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mlp_export.backends.base import delegates
from mlp_export.bundle.runtime_version import at_least

# Runtime inside react-native-executorch 0.9.3, and the backends that it registers.
_REACT_NATIVE = "0.9.3"
_REACT_NATIVE_RUNTIME = "1.3"
_REACT_NATIVE_METHODS = ("get_eos_ids", "get_max_seq_len", "get_max_context_len", "enable_dynamic_shape")


@dataclass(frozen=True)
class RunnerFit:
    """Whether a runner of other people's apps can run a file. `says`: with what, or why not."""

    name: str
    runs: bool
    says: str


def runner_fits(
    used: Collection[str],
    methods: Collection[str],
    runtimes: Mapping[str, str],
    issues: Collection[str] = (),
    chat_template: bool | None = None,
) -> list[RunnerFit]:
    """One entry a runner.

    `used` are the file's delegates, `runtimes` the minimum versions of what runs it, `issues` why a phone's runtime
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
        _android(used, runtimes),
        (True, f"ExecuTorch {oldest} or later, linked with {', '.join(sorted(used)) or 'no delegate'}"),
        _ios(used, runtimes),
        _react_native(used, methods, oldest, chat_template),
    )
    return [RunnerFit(name, runs, said) for name, (runs, said) in zip(names, says, strict=True)]


def portable_ids() -> set[str]:
    """Ids of the delegates that any phone has a runtime of."""
    return {d.id for d in delegates().values() if d.runs_anywhere}


def _android(used: Collection[str], runtimes: Mapping[str, str]) -> tuple[bool, str]:
    found = {d.id: d for d in delegates().values() if d.android is not None}
    foreign = sorted(set(used) - found.keys())
    if foreign:
        return False, f"no Android runtime has {', '.join(foreign)}"
    # A library for an NPU has the delegate for any phone as well.
    chosen = min((found[name] for name in used or portable_ids()), key=lambda d: d.ios is not None).android
    assert chosen is not None
    said = f"{chosen.package} {runtimes.get('executorch', '')} or later"
    for runtime, package in chosen.companions.items():
        if runtime in runtimes:
            said += f", {runtime.upper()} {runtimes[runtime]} or later ({package})"
    return True, said


def _ios(used: Collection[str], runtimes: Mapping[str, str]) -> tuple[bool, str]:
    found = {d.id: d.ios.product for d in delegates().values() if d.ios is not None}
    foreign = sorted(set(used) - found.keys())
    if foreign:
        return False, f"no iOS runtime has {', '.join(foreign)}"
    products = ", ".join(["executorch_llm", "kernels_llm", *(found[name] for name in sorted(used))])
    system = f", iOS {runtimes['ios']} or later" if "ios" in runtimes else ""
    return True, f"ExecuTorch {runtimes.get('executorch', '')} or later with {products}{system}"


def _react_native(
    used: Collection[str], methods: Collection[str], oldest: str, chat_template: bool | None
) -> tuple[bool, str]:
    foreign = sorted(set(used) - portable_ids())
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
