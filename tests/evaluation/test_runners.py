"""Other people's apps: which of them can run a file, and the tokenizer_config.json that some of them want."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fake_backend import write_bundle
from small_checkpoints import BOS, CHAT_TEMPLATE, EOS, EOT, small_tokenizer, write_tokenizer
from transformers import AutoTokenizer

from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.tokenizer_config import has_chat_template, tokenizer_config, write_tokenizer_config
from mlp_export.errors import InputError
from mlp_export.evaluation.runners import RunnerFit, runner_fits
from mlp_export.text.chat import ChatTemplate, Message, read_chat_template
from mlp_export.text.chat_derivation import derive_chat_format
from mlp_export.text.tokenizer import Tokenizer

METHODS = {"forward", "get_eos_ids", "get_max_seq_len", "get_max_context_len", "enable_dynamic_shape"}
TOKENIZER = Tokenizer(small_tokenizer())
TEMPLATE = ChatTemplate(CHAT_TEMPLATE, {"bos_token": BOS, "eos_token": EOS, "pad_token": "<|never there|>"})


def fits(delegates: set[str], runtimes: dict[str, str], **options: Any) -> dict[str, RunnerFit]:
    found = runner_fits(delegates, options.pop("methods", METHODS), runtimes, **options)
    assert [fit.name for fit in found] == [
        *("LlmModule (Android)", "TextLLMRunner (C++)", "TextRunner (iOS)"),
        "react-native-executorch 0.9.3",
    ]
    return dict(zip(("android", "c++", "ios", "react native"), found, strict=True))


# Runners


def test_a_cpu_file_for_older_runtimes_runs_everywhere() -> None:
    found = fits({"XnnpackBackend"}, {"executorch": "1.3"}, chat_template=True)
    assert all(fit.runs for fit in found.values())
    assert found["android"].says == "org.pytorch:executorch-android 1.3 or later"
    assert found["c++"].says == "ExecuTorch 1.3 or later, linked with XnnpackBackend"
    assert found["ios"].says == "ExecuTorch 1.3 or later with executorch_llm, kernels_llm, backend_xnnpack"
    assert found["react native"].says == "with tokenizer.json and tokenizer_config.json"


def test_a_cpu_file_for_new_runtimes_is_none_for_react_native() -> None:
    found = fits({"XnnpackBackend"}, {"executorch": "1.5"}, chat_template=True)
    assert [fit.runs for fit in found.values()] == [True, True, True, False]
    assert "--runtime 1.3" in found["react native"].says


def test_what_react_native_needs() -> None:
    old = {"executorch": "1.3"}
    assert "tokenizer_config.json that has" in fits({"XnnpackBackend"}, old)["react native"].says
    without = fits({"XnnpackBackend"}, old, chat_template=False)["react native"]
    assert without.runs and without.says.startswith("forward(text) only")
    lacking = fits({"XnnpackBackend"}, old, methods=METHODS - {"get_eos_ids"})["react native"]
    assert not lacking.runs and lacking.says == "it needs the methods get_eos_ids"


def test_an_npu_file_of_qualcomm() -> None:
    found = fits({"QnnBackend"}, {"executorch": "1.5", "qairt": "2.49.40"}, chat_template=True)
    assert [fit.runs for fit in found.values()] == [True, True, False, False]
    assert "executorch-android-qnn 1.5 or later, QAIRT 2.49.40" in found["android"].says
    assert found["ios"].says == "no iOS runtime has QnnBackend"


def test_a_file_for_core_ml() -> None:
    found = fits({"CoreMLBackend"}, {"executorch": "1.3", "ios": "18"}, chat_template=True)
    assert [fit.runs for fit in found.values()] == [False, True, True, False]
    assert found["ios"].says.endswith("backend_coreml, iOS 18 or later")


def test_a_file_that_phones_run_wrongly_runs_nowhere() -> None:
    found = fits({"XnnpackBackend"}, {"executorch": "1.3"}, issues=["3 constants are freed"])
    assert {fit.says for fit in found.values()} == {"3 constants are freed"}
    assert not any(fit.runs for fit in found.values())


# tokenizer_config.json


def test_special_tokens_are_plain_text() -> None:
    values = tokenizer_config(TEMPLATE, TOKENIZER, (EOS, EOT), 2048)
    assert values == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 2048,
        "bos_token": BOS,
        "eos_token": EOS,
        "eot_token": EOT,
        "chat_template": CHAT_TEMPLATE,
    }


def test_a_stop_text_that_is_no_token_is_left_out() -> None:
    values = tokenizer_config(TEMPLATE, TOKENIZER, (EOS, "\n\nUser:"), 64)
    assert "eot_token" not in values
    assert tokenizer_config(None, TOKENIZER, (EOT,), 64)["eos_token"] == EOT
    assert "chat_template" not in tokenizer_config(None, TOKENIZER, (), 64)


def test_tokens_as_objects_and_a_template_in_a_file_of_its_own(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, None)
    config = {"bos_token": {"__type": "AddedToken", "content": BOS}, "eos_token": EOS}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    template = read_chat_template(tmp_path)
    values = tokenizer_config(template, TOKENIZER, (EOT,), 64)
    assert values["bos_token"] == BOS and values["chat_template"] == CHAT_TEMPLATE and values["eot_token"] == EOT


def test_it_renders_the_chat_that_the_manifest_composes(tmp_path: Path) -> None:
    """As an app does that has jinja: with the special tokens of the file and nothing else."""
    TOKENIZER.write(tmp_path)
    write_tokenizer_config(tmp_path, TEMPLATE, TOKENIZER, (EOT,), 64)
    values = json.loads((tmp_path / "tokenizer_config.json").read_text())
    tokens = {name: values[name] for name in ("bos_token", "eos_token", "eot_token")}
    chat = derive_chat_format(TEMPLATE, (EOT,)).chat
    assert chat is not None
    turns = [Message("system", "Be kind."), Message("user", "Größe?"), Message("assistant", "b"), Message("user", "c")]
    assert ChatTemplate(values["chat_template"], tokens).render(turns, date=False) == chat.compose(turns)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    spoken = [{"role": turn.role, "content": turn.content} for turn in turns]
    assert loaded.apply_chat_template(spoken, tokenize=False, add_generation_prompt=True) == chat.compose(turns)


def test_the_bundles_own_tokenizer_stays_the_same(tmp_path: Path) -> None:
    """Files beside tokenizer.json add tokens: this one must not."""
    TOKENIZER.write(tmp_path)
    write_tokenizer_config(tmp_path, TEMPLATE, TOKENIZER, (EOS, EOT), 64)
    assert Tokenizer.from_folder(tmp_path).to_json() == TOKENIZER.to_json()


@pytest.mark.parametrize(
    ("text", "found"),
    [(None, False), ("{}", False), ('{"chat_template": null}', False), ('{"chat_template": "x"}', True)],
)
def test_whether_a_bundle_has_a_template(tmp_path: Path, text: str | None, found: bool) -> None:
    bundle: Bundle = write_bundle(tmp_path / "b")
    if text is not None:
        (bundle.path / "tokenizer_config.json").write_text(text)
    assert has_chat_template(bundle.path) is found


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="tokenizer_config"):
        has_chat_template(tmp_path)
