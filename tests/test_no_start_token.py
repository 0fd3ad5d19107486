"""A model without BOS (Qwen, SmolLM3) from checkpoint to answer: nothing puts a start token anywhere."""

from __future__ import annotations

import json

import pytest
from pytorch_tokenizers import CppHFTokenizer
from small_checkpoints import BOS_ID, EOS, EOS_ID, EOT, EOT_ID, small_tokenizer, write_checkpoint
from tokenizers import processors

from mlp_export.backends.base import get_backend, open_session
from mlp_export.bundle.bundle import Bundle
from mlp_export.errors import InputError
from mlp_export.evaluation.evaluate import text_sequences
from mlp_export.evaluation.inspect_artifact import inspect_artifact
from mlp_export.pipeline import ExportOptions, ExportReport, export
from mlp_export.progress import Progress
from mlp_export.runtime.chat_session import Conversation
from mlp_export.runtime.run import run

CHATML = (
    "{%- for message in messages %}"
    "{{- '<|header_start|>' + message.role + '\n' + message.content + '<|eot|>\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|header_start|>assistant\n' }}{%- endif %}"
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    """A verified export: the stock runner's ids and answers are among the checks."""
    folder = tmp_path_factory.mktemp("no-start-token")
    model = write_checkpoint(
        folder / "model",
        "llama",
        tokenizer=False,
        num_hidden_layers=2,
        bos_token_id=None,
        eos_token_id=[EOT_ID, EOS_ID],
    )
    tokenizer = small_tokenizer()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)  # as Qwen's
    tokenizer.save(str(model / "tokenizer.json"))
    settings = {"bos_token": None, "eos_token": EOT, "add_bos_token": False, "chat_template": CHATML}
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    asked = ExportOptions("xnnpack", str(model), folder / "bundle", context=128, prefill_chunk=16)
    return export(asked, Progress())


@pytest.fixture
def bundle(report: ExportReport) -> Bundle:
    return Bundle.open(report.bundle.path)


def test_the_export_is_verified(report: ExportReport) -> None:
    assert report.verification is not None and report.verification.passed
    assert {"tokenizer", "stock runner"} <= {check.name for check in report.verification.checks}


def test_the_manifest_says_that_nothing_puts_a_start_token(bundle: Bundle) -> None:
    tokenizer, chat = bundle.manifest.tokenizer, bundle.manifest.chat
    assert not tokenizer.add_bos and tokenizer.eos_ids == (EOT_ID, EOS_ID)
    assert tokenizer.bos_id == EOT_ID  # a placeholder: the stock runner's get_bos_id has to be some id
    assert inspect_artifact(bundle.path).bos_id == EOT_ID
    assert chat is not None and chat.bos == "" and chat.stop == (EOT, EOS)
    settings = json.loads((bundle.path / "tokenizer_config.json").read_text())
    assert "bos_token" not in settings and settings["eos_token"] == EOT


def test_prompts_begin_with_their_text(bundle: Bundle) -> None:
    tokenizer = bundle.tokenizer()
    hello = tokenizer.token_id("Hello")
    assert tokenizer.encode("Hello", bos=True, special=True) == [hello]
    assert tokenizer.encode("", bos=True, special=True) == [] and not tokenizer.adds_bos
    stock = CppHFTokenizer()
    stock.load(str(bundle.path / "tokenizer.json"))
    assert [stock.encode("Hello", bos, 0) for bos in (0, 1)] == [[hello], [hello]]
    sequences = text_sequences(tokenizer, ["Hello world", "What"], True, 8, 100)
    assert sequences == [tokenizer.encode("Hello world", bos=False, special=False)]  # one id alone scores nothing


def test_a_prompt_of_one_token_is_answered_alike_by_both_runners(bundle: Bundle) -> None:
    runtime = get_backend("xnnpack").runtime
    ours = run(bundle, "Hello", runtime, raw=True, max_new_tokens=6)
    theirs = run(bundle, "Hello", runtime, raw=True, max_new_tokens=6, stock_runner=True)
    assert ours.prompt_tokens == theirs.prompt_tokens == 1
    assert ours.text == theirs.text and ours.generated_tokens == theirs.generated_tokens > 0
    with pytest.raises(InputError, match="the prompt is empty"):
        run(bundle, "", runtime, raw=True)


def test_a_chat_has_no_start_token_in_any_turn(bundle: Bundle) -> None:
    chat = bundle.manifest.chat
    assert chat is not None
    talk = Conversation(open_session(bundle), bundle.tokenizer(), chat, bundle.manifest.tokenizer.eos_ids, 4)
    for message in ("Hello", "What"):
        talk.ask(message, lambda piece: None)
    text = bundle.tokenizer().decode(talk.ids, special=True)
    assert text.startswith("<|header_start|>user\nHello<|eot|>\n<|header_start|>assistant\n")
    assert text.count("<|header_start|>user\n") == 2 and BOS_ID not in talk.ids
