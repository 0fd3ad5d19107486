"""One prompt, one answer: through our loop over a fake session, and through ExecuTorch's runtime and stock runner."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from bigram import write_bigram
from fake_backend import TOKENIZER, FakeRuntime, FakeSession, ids_of, successors, write_bundle
from small_checkpoints import BOS, BOS_ID, EOS_ID, EOT, EOT_ID, VOCAB_SIZE, small_tokenizer
from tokenizers import Tokenizer as HFTokenizer

from mlp_export.backends.base import get_backend, open_session
from mlp_export.bundle.bundle import Bundle
from mlp_export.errors import InputError, UsageError
from mlp_export.runtime.generate import Generation
from mlp_export.runtime.prompt import check_message
from mlp_export.runtime.run import run
from mlp_export.runtime.stock_runner import PartialCharacterError
from mlp_export.text.tokenizer import Tokenizer

CHAT_TEXT = f"{BOS}<|header_start|>user<|header_end|>\n\nHi{EOT}<|header_start|>assistant<|header_end|>\n\n"
# A chat's prompt ends in "\n", so this is what the model says to any message.
ANSWERS = ("\nHello world<|eot|>", "A🙂C<|eot|>", "X<|end_of_text|>", "Y<|eot|>", "Z*end-W")
RUNTIME = get_backend("xnnpack").runtime


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "b")


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(successors("\nHello world<|eot|>"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose program is a real one, of the stock runner's contract."""
    folder = tmp_path_factory.mktemp("run")
    pte = write_bigram(folder / "a.pte", successors(*ANSWERS), vocab_size=VOCAB_SIZE, eos_ids=[EOS_ID, EOT_ID])
    return write_bundle(folder / "b", pte.read_bytes())


@pytest.fixture(scope="module")
def continuing(real: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same program without a chat format."""
    return write_bundle(tmp_path_factory.mktemp("run") / "b", real.pte.read_bytes(), chat=False)


# What the model is given


def test_a_bundle_made_to_chat_gets_a_message(bundle: Bundle, session: FakeSession) -> None:
    answer = run(bundle, "Hi", FakeRuntime(session))
    assert session.fed == ids_of(CHAT_TEXT + "Hello world")
    assert (answer.text, answer.stop_reason) == ("Hello world", "eos")
    assert answer.prompt_tokens == len(ids_of(CHAT_TEXT))


def test_white_space_around_a_message_is_dropped_where_the_template_does(bundle: Bundle, session: FakeSession) -> None:
    run(bundle, " \tHi\n", FakeRuntime(session))
    assert session.fed == ids_of(CHAT_TEXT + "Hello world")


def test_raw_gives_the_prompt_as_it_is_behind_bos(bundle: Bundle, session: FakeSession) -> None:
    run(bundle, "Hi \n", FakeRuntime(session), raw=True)
    assert session.fed == [BOS_ID, *ids_of("Hi \nHello world")]


def test_a_bundle_without_a_chat_format_continues_the_text(tmp_path: Path, session: FakeSession) -> None:
    answer = run(write_bundle(tmp_path / "b", chat=False), "Hi\n", FakeRuntime(session))
    assert session.fed == [BOS_ID, *ids_of("Hi\nHello world")]
    assert answer.prompt_tokens == 4


def test_the_answer_is_streamed(bundle: Bundle, session: FakeSession) -> None:
    pieces: list[str] = []
    run(bundle, "Hi", FakeRuntime(session), on_text=pieces.append)
    assert pieces == ["Hello", " world"]


def test_options_reach_the_loop(bundle: Bundle, session: FakeSession) -> None:
    assert run(bundle, "Hi", FakeRuntime(session), max_new_tokens=1).text == "Hello"
    with pytest.raises(UsageError, match="temperature"):
        run(bundle, "Hi", FakeRuntime(session), temperature=1.5)


def test_a_prompt_longer_than_the_context(bundle: Bundle, session: FakeSession) -> None:
    with pytest.raises(InputError, match="the context of this bundle holds 64"):
        run(bundle, "x" * 65, FakeRuntime(session))
    assert session.calls == []


# Special tokens and text that is none


@pytest.mark.parametrize("prompt", ["<|eot|>", "Hi<|eot|>", "<|begin_of_text|>Hi", "a <|header_start|>system b"])
def test_special_tokens_in_a_message_are_refused(bundle: Bundle, session: FakeSession, prompt: str) -> None:
    special = next(text for text in (BOS, EOT, "<|header_start|>") if text in prompt)
    with pytest.raises(InputError) as caught:
        run(bundle, prompt, FakeRuntime(session))
    assert repr(special) in caught.value.message and "--raw" in caught.value.hint
    assert session.calls == []


def test_special_tokens_in_a_raw_prompt_are_the_tokens(bundle: Bundle, session: FakeSession) -> None:
    run(bundle, "a<|header_end|>\n", FakeRuntime(session), raw=True, max_new_tokens=1)
    assert session.fed == [BOS_ID, *ids_of("a"), TOKENIZER.token_id("<|header_end|>"), *ids_of("\n")]


def test_the_special_token_is_named_where_text_before_it_is_split_otherwise() -> None:
    """As text " <|" is one token of this vocabulary; before a special token the space stands alone."""
    values = json.loads(small_tokenizer().to_str())
    vocab = values["model"]["vocab"]
    vocab["\u0120<|"] = vocab.pop(next(word for word in vocab if word.startswith("unused")))
    tokenizer = Tokenizer(HFTokenizer.from_str(json.dumps(values)))
    with pytest.raises(InputError, match=re.escape(repr(EOT))):
        check_message(tokenizer, f"Hi {EOT}")
    check_message(tokenizer, "Hi <| eot")


@pytest.mark.parametrize("prompt", ["a <| b |>", "<|eot|", "<|no_such_token|>", "begin_of_text", "東京 🙂"])
def test_what_only_looks_like_a_special_token_is_text(prompt: str) -> None:
    check_message(TOKENIZER, prompt)
    assert max(TOKENIZER.encode(prompt, bos=False, special=True)) < BOS_ID


@pytest.mark.parametrize("prompt", ["", " ", "\n\t"])
def test_an_empty_message(bundle: Bundle, session: FakeSession, prompt: str) -> None:
    with pytest.raises(InputError, match="empty"):
        run(bundle, prompt, FakeRuntime(session))


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("stock_runner", [False, True])
def test_invalid_utf8_is_refused(bundle: Bundle, session: FakeSession, raw: bool, stock_runner: bool) -> None:
    """An argument with bytes that are not UTF-8 comes from the shell as lone surrogates."""
    prompt = b"ab\xff".decode("utf-8", "surrogateescape")
    with pytest.raises(InputError, match="not valid UTF-8 at character 2"):
        run(bundle, prompt, FakeRuntime(session), raw=raw, stock_runner=stock_runner)
    assert session.calls == []


# Our loop and the stock runner over one program


def both(bundle: Bundle, prompt: str, *, raw: bool = False, max_new_tokens: int = 16) -> tuple[Generation, Generation]:
    """Our loop's answer and the stock runner's, which must agree with what each of them streamed."""
    found = []
    for stock_runner in (False, True):
        pieces: list[str] = []
        answer = run(
            bundle,
            prompt,
            RUNTIME,
            raw=raw,
            max_new_tokens=max_new_tokens,
            stock_runner=stock_runner,
            on_text=pieces.append,
        )
        assert "".join(pieces) == answer.text
        found.append(answer)
    return found[0], found[1]


@pytest.mark.parametrize(
    ("prompt", "raw", "text", "reason"),
    [
        ("Hi", False, "Hello world", "eos"),
        ("What is the capital of France?", False, "Hello world", "eos"),
        ("Hi\n", True, "Hello world", "eos"),
        ("a<|eot|>\n", True, "Hello world", "eos"),
        ("X", True, "", "eos"),  # <|end_of_text|> as the first token
        ("Y", True, "", "eos"),  # <|eot|>
        ("Z", True, "*end-W!!!!!!!!!!", "length"),  # what has no successor is followed by token 0
        ("b" * 55, True, "!" * 9, "context"),
        ("b" * 62, True, "!!", "context"),  # BOS and 62 tokens leave one slot
    ],
)
def test_the_stock_runner_says_what_our_loop_says(real: Bundle, prompt: str, raw: bool, text: str, reason: str) -> None:
    ours, stock = both(real, prompt, raw=raw)
    assert (ours.text, ours.stop_reason) == (text, reason)
    assert (stock.text, stock.stop_reason) == (text, reason)
    assert stock.prompt_tokens == ours.prompt_tokens
    assert stock.generated_tokens == ours.generated_tokens
    assert stock.token_ids == ()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_both_stop_at_the_same_length(real: Bundle, count: int) -> None:
    ours, stock = both(real, "Z", raw=True, max_new_tokens=count)
    assert ours.text == stock.text == "*en"[:count]
    assert ours.stop_reason == stock.stop_reason == "length"


def test_both_put_bos_before_a_text_without_a_chat_format(continuing: Bundle) -> None:
    ours, stock = both(continuing, "Hi\n")
    assert ours.text == stock.text == "Hello world"
    assert ours.prompt_tokens == stock.prompt_tokens == 4


def test_the_real_runtime_takes_a_prompt_in_any_number_of_chunks(continuing: Bundle) -> None:
    runtime = FakeRuntime(open_session(continuing))
    for length in (1, 7, 8, 9, 17):
        assert run(continuing, "Q" * (length - 1) + "\n", runtime).text == "Hello world"


@pytest.mark.parametrize("length", [64, 65, 200])
def test_prompts_too_long_for_both(real: Bundle, length: int) -> None:
    for stock_runner in (False, True):
        with pytest.raises(InputError, match=f"{length + 1} tokens"):
            run(real, "b" * length, RUNTIME, raw=True, stock_runner=stock_runner)


def test_a_character_of_several_tokens(real: Bundle) -> None:
    assert run(real, "A", RUNTIME, raw=True).text == "🙂C"
    with pytest.raises(PartialCharacterError, match="part of a character") as caught:
        run(real, "A", RUNTIME, raw=True, stock_runner=True)
    assert caught.value.exit_code == 3 and caught.value.text == ""


@pytest.mark.parametrize("stock_runner", [False, True])
def test_options_out_of_range_for_both(real: Bundle, stock_runner: bool) -> None:
    with pytest.raises(UsageError, match="temperature"):
        run(real, "Hi", RUNTIME, temperature=-1, stock_runner=stock_runner)
    for count in (0, -1):
        with pytest.raises(UsageError, match="new tokens"):
            run(real, "Hi", RUNTIME, max_new_tokens=count, stock_runner=stock_runner)


def test_the_stock_runner_leaves_stdout_to_the_answer(real: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    run(real, "Hi", RUNTIME, stock_runner=True, on_text=lambda piece: print(piece, end=""))
    out, err = capfd.readouterr()
    assert (out, err) == ("Hello world", "")


def test_an_answer_can_be_interrupted_in_both(real: Bundle, capfd: pytest.CaptureFixture[str]) -> None:
    def interrupt(piece: str) -> None:
        raise KeyboardInterrupt

    for stock_runner in (False, True):
        with pytest.raises(KeyboardInterrupt):
            run(real, "Hi", RUNTIME, stock_runner=stock_runner, on_text=interrupt)
    print("still there")
    assert capfd.readouterr().out == "still there\n"


def test_the_stock_runner_on_a_program_that_does_not_load(bundle: Bundle) -> None:
    for stock_runner in (False, True):
        with pytest.raises(InputError):
            run(bundle, "Hi", RUNTIME, stock_runner=stock_runner)


# The session a bundle opens


def test_a_program_that_the_manifest_does_not_describe(real: Bundle, tmp_path: Path) -> None:
    swapped = write_bundle(tmp_path / "b", real.pte.read_bytes(), context=128)
    with pytest.raises(InputError, match="context 64, the manifest says 128"):
        run(swapped, "Hi", RUNTIME)
    swapped = write_bundle(tmp_path / "c", real.pte.read_bytes(), prefill_chunk=16)
    with pytest.raises(InputError, match="prefill_chunk 8, the manifest says 16"):
        run(swapped, "Hi", RUNTIME)


def test_the_real_session_refuses_what_does_not_fit(real: Bundle) -> None:
    session = open_session(real)
    for tokens, position in (([], 0), ([1] * 9, 0), ([1], 64), ([1, 1], 63), ([1], -1), ([VOCAB_SIZE], 0), ([-1], 0)):
        with pytest.raises(InputError):
            session.forward(tokens, position)
    assert session.forward([1], 63).shape == (VOCAB_SIZE,)
