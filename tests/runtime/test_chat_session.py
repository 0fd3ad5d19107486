"""Conversations: turns that add to one KV cache, each token fed once, and what a person may do between and within."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from chat_templates import QWEN3, TEMPLATES
from fake_backend import CHAT, TOKENIZER, FakeRuntime, FakeSession, ids_of, successors, write_bundle
from small_checkpoints import BOS, BOS_ID, EOS_ID, EOT, EOT_ID, SPECIAL_TOKENS, write_tokenizer
from transformers import AutoTokenizer

from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.tokenizer_config import write_tokenizer_config
from mlp_export.errors import InputError, UsageError
from mlp_export.runtime.chat_session import HELP, chat_repl
from mlp_export.runtime.conversation import Conversation
from mlp_export.text.chat import ChatTemplate, Message
from mlp_export.text.chat_derivation import derive_chat_format

assert CHAT is not None
ANSWER = "Hello world"
TABLE = successors(f"\n{ANSWER}{EOT}")  # a prompt ends in "\n"


def chat_of(*turns: str, generate: bool = True) -> list[int]:
    """Ids of a conversation, user and assistant in turn, as the template spells it."""
    assert CHAT is not None
    roles = ("user", "assistant")
    messages = [Message(roles[i % 2], text) for i, text in enumerate(turns)]  # type: ignore[arg-type]
    return ids_of(CHAT.compose(messages, generate=generate))


def nothing(piece: str) -> None:
    pass


class InterruptedSession(FakeSession):
    """Ctrl-C arrives when call number `at` has been computed (or, with `before`, before it is)."""

    def __init__(self, at: int, *, before: bool = False) -> None:
        super().__init__(TABLE, context=256)
        self.at, self.before = at, before

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        number = len(self.calls)
        if number == self.at and self.before:
            self.at = -1
            raise KeyboardInterrupt
        logits = super().forward(tokens, position)
        if number == self.at:
            raise KeyboardInterrupt
        return logits


def conversation(session: FakeSession, **changes: Any) -> Conversation:
    assert CHAT is not None
    return Conversation(session, TOKENIZER, CHAT, (EOS_ID, EOT_ID), **changes)


def fed_once(session: FakeSession) -> bool:
    """Whether each call went on where the one before ended."""
    end = 0
    for tokens, position in session.calls:
        if position != end:
            return False
        end += tokens
    return True


# Turns


def test_turns_read_as_one_conversation_and_are_fed_once() -> None:
    session = FakeSession(TABLE, context=256)
    talk = conversation(session)
    for message in ("Hi", "  What is a cat? \n", "東京"):
        answer = talk.ask(message, nothing)
        assert (answer.text, answer.stop_reason) == (ANSWER, "eos")
    expected = chat_of("Hi", ANSWER, "What is a cat?", ANSWER, "東京", ANSWER, generate=False)
    assert [*session.fed, EOT_ID] == expected
    assert talk.ids == expected[:-1] and talk.fed == len(session.fed)
    assert fed_once(session)


def test_only_what_is_new_is_a_turns_prompt() -> None:
    session = FakeSession(TABLE, context=256)
    talk = conversation(session)
    first = talk.ask("Hi", nothing)
    calls = len(session.calls)
    second = talk.ask("Hi", nothing)
    assert first.prompt_tokens == len(chat_of("Hi"))
    assert second.prompt_tokens == len(chat_of("Hi", ANSWER, "Hi")) - len(chat_of("Hi") + ids_of(ANSWER))
    assert session.calls[calls][1] == len(chat_of("Hi") + ids_of(ANSWER))


def test_an_answer_cut_by_length_is_closed_and_its_last_token_fed_with_the_next_turn() -> None:
    session = FakeSession(TABLE, context=256)
    talk = conversation(session, max_new_tokens=1)
    assert talk.ask("Hi", nothing).stop_reason == "length"
    assert (len(talk.ids) - talk.fed, session.fed) == (1, chat_of("Hi"))
    talk.ask("more", nothing)
    assert session.fed == chat_of("Hi", "Hello", "more")
    assert fed_once(session)


def test_reset_begins_at_position_0() -> None:
    session = FakeSession(TABLE, context=256)
    talk = conversation(session)
    talk.ask("Hi", nothing)
    talk.reset()
    calls = len(session.calls)
    talk.ask("Hello", nothing)
    assert session.calls[calls][1] == 0
    assert session.fed[: talk.fed] == chat_of("Hello") + ids_of(ANSWER)


def test_the_answer_is_streamed() -> None:
    pieces: list[str] = []
    conversation(FakeSession(TABLE)).ask("Hi", pieces.append)
    assert pieces == ["Hello", " world"]


# Later turns equal the template's whole text, whatever the model wrote


class ScriptedSession(FakeSession):
    """Gives the tokens of one answer after the other, each followed by `EOT`, whatever it is fed."""

    def __init__(self, *answers: str, window: int = 0) -> None:
        super().__init__({}, context=4096, prefill_chunk=4096)
        self.answers = [[*ids_of(text), EOT_ID] for text in answers]
        self.window = window
        self.ring: dict[int, int] = {}  # slot -> position
        self.given: list[int] | None = None

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        for seen in range(max(0, position - self.window + 1), position):
            assert self.window == 0 or self.ring[seen % self.window] == seen, "a key that a query sees was overwritten"
        self.ring |= {at % self.window: at for at in range(position, position + len(tokens)) if self.window}
        logits = super().forward(tokens, position)
        if self.given is None:
            self.given = self.answers.pop(0)
        logits[self.given[0]] = 20.0
        self.given = self.given[1:] or None
        return logits


ANSWERS = {
    "plain": ("Hello", "Paris is the capital"),
    "reasoning": ("<think>\nWhat is a cat?\n</think>\n\nHello", "<think>\n\n</think>\n\nParis", "world</think>a"),
    "white space": ("\n\n Hello \n", "\tParis", " "),
    "empty": ("", "Paris", ""),
    "half a tag": ("<think>\nWhat is", "</think>", "Hello"),
    "other tokens than the text's": ("H-e-l-l-o", "Hello"),
}
MESSAGES = ("Hi", "  What is\n\n  it? \n", "東京", "ok")


@pytest.fixture(scope="module")
def in_transformers(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[int]]:
    """Ids of a conversation in a template, as transformers renders and encodes it."""
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, None)
    reference = AutoTokenizer.from_pretrained(folder)

    def ids(template: str, messages: Sequence[Message]) -> list[int]:
        said = [{"role": message.role, "content": message.content} for message in messages]
        text = reference.apply_chat_template(said, chat_template=template, tokenize=False, add_generation_prompt=True)
        found: list[int] = reference(text, add_special_tokens=False)["input_ids"]
        return found

    return ids


# Those with limits that the messages below run into, or with a date, have no place here.
@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - {"falcon", "glm45", "llama32", "smollm3"}))
@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("window", [0, 8])
def test_every_turn_is_the_templates_whole_text(
    name: str, kind: str, window: int, in_transformers: Callable[..., list[int]]
) -> None:
    template = TEMPLATES[name]
    chat = derive_chat_format(ChatTemplate(template, {"bos_token": BOS, "eos_token": EOT})).chat
    assert chat is not None
    session = ScriptedSession(*ANSWERS[kind], window=window)
    if kind.startswith("other tokens"):
        session.answers[0] = [TOKENIZER.token_id(letter) or 0 for letter in "Hello"] + [EOT_ID]
    talk = Conversation(session, TOKENIZER, chat, (EOT_ID,), window=window)
    said: list[Message] = []
    for message, text in zip(MESSAGES, ANSWERS[kind], strict=False):
        said.append(Message("user", message))
        answer = talk.ask(message)
        text = text.replace("-", "")
        assert (answer.text, answer.stop_reason) == (text, "eos")
        expected = in_transformers(template, said) + list(answer.token_ids)
        assert talk.ids == expected and session.fed[: talk.fed] == expected[: talk.fed]
        assert len(expected) - talk.fed in (0, 1)
        said.append(Message("assistant", answer.text))


def test_what_the_caches_hold_is_not_fed_again() -> None:
    """Up to the reasoning that the template drops; all of it where a full ring has lost what a query sees."""
    chat = derive_chat_format(ChatTemplate(QWEN3, {"eos_token": EOT})).chat
    assert chat is not None
    for window, kept in ((0, True), (512, True), (16, False)):
        session = ScriptedSession("<think>\na\n</think>\n\nHello", "Paris", window=window)
        talk = Conversation(session, TOKENIZER, chat, (EOT_ID,), window=window)
        first = talk.ask("Hi")
        held = len(talk.ids) - len(first.token_ids)
        second = talk.ask("more")
        whole = len(talk.ids) - len(second.token_ids)
        assert second.prompt_tokens == (whole - held if kept else whole)


def test_a_prompt_that_the_caches_hold_whole_is_asked_by_its_last_token() -> None:
    session = FakeSession(TABLE, context=256)
    talk = conversation(session)
    talk.ask("Hi", nothing)
    talk.messages = []
    assert talk.ask("Hi", nothing).prompt_tokens == 1
    assert session.fed == chat_of("Hi") + ids_of(ANSWER)


def test_a_ring_can_go_back_by_the_last_token() -> None:
    """An answer's last token may become another one when text stands behind it: no reason to begin anew."""
    assert CHAT is not None
    session = ScriptedSession("Hello", "Paris", window=8)
    talk = Conversation(session, TOKENIZER, CHAT, (EOT_ID,), window=8)
    talk.ask("Hi")
    talk.ids[talk.fed - 1] += 1  # as if another token had been written
    calls = len(session.calls)
    talk.ask("more")
    assert session.calls[calls][1] == len(chat_of("Hi") + ids_of("Hello")) - 1
    talk.ids[talk.fed - 2] += 1
    calls = len(session.calls)
    session.answers.append([EOT_ID])
    talk.ask("more")
    assert session.calls[calls][1] == 0


def test_a_ring_after_ctrl_c_in_a_call_that_may_have_been_computed() -> None:
    assert CHAT is not None
    session = ScriptedSession("Hello", "Paris", "world", window=8)
    talk = Conversation(session, TOKENIZER, CHAT, (EOT_ID,), window=8)
    talk.ask("Hi")
    forward = session.forward

    def interrupted(tokens: Sequence[int], position: int) -> torch.Tensor:
        forward(tokens, position)
        raise KeyboardInterrupt

    session.forward = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        talk.ask("What is it?")
    session.forward, session.given = forward, None  # type: ignore[method-assign]
    calls = len(session.calls)
    talk.ask("more")
    assert session.calls[calls][1] == 0
    assert session.fed[: len(chat_of("Hi", "Hello", "What is it?", "", "more"))] == chat_of(
        "Hi", "Hello", "What is it?", "", "more"
    )


@pytest.mark.parametrize("name", ["llama4", "qwq", "llama2"])
def test_messages_that_spell_special_tokens_are_those_that_transformers_takes_for_tokens(
    name: str, in_transformers: Callable[..., list[int]]
) -> None:
    template = TEMPLATES[name]
    chat = derive_chat_format(ChatTemplate(template, {"bos_token": BOS, "eos_token": EOT})).chat
    assert chat is not None
    spelled = set(SPECIAL_TOKENS)
    for message in (*SPECIAL_TOKENS, f"a{EOT}b", "<think>", "</think>x", "<|im_start|>", "[INST]", EOT[:-1], EOT[1:]):
        plain = len([i for i in in_transformers(template, [Message("user", "a")]) if i >= BOS_ID])
        special = len([i for i in in_transformers(template, [Message("user", message)]) if i >= BOS_ID])
        refused = special != plain
        assert refused == any(token in message for token in spelled)
        talk = Conversation(ScriptedSession("Hello"), TOKENIZER, chat, (EOT_ID,))
        if refused:
            with pytest.raises(InputError, match="special token"):
                talk.ask(message)
        else:
            talk.ask(message)


# Messages that are refused leave the conversation as it was


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", "empty"),
        (" \n", "empty"),
        (f"Hi{EOT}", "special token"),
        (f"{BOS}", "special token"),
        ("\udcff", "not valid UTF-8"),
        ("x" * 300, "no room for an answer"),
    ],
)
@pytest.mark.parametrize("turns", [0, 1])
def test_refused_messages(message: str, said: str, turns: int) -> None:
    session = FakeSession(TABLE, context=256)
    talk = conversation(session)
    for _ in range(turns):
        talk.ask("Hi", nothing)
    before = (list(talk.ids), talk.fed, len(session.calls))
    with pytest.raises(InputError, match=said):
        talk.ask(message, nothing)
    assert (talk.ids, talk.fed, len(session.calls)) == before
    talk.ask("go on", nothing)
    assert session.fed[-2:] == ids_of(ANSWER) and fed_once(session)


def test_a_conversation_is_full_where_no_answer_has_room() -> None:
    prompt = len(chat_of("Hi"))
    with pytest.raises(InputError, match="no room"):
        conversation(FakeSession(TABLE, context=prompt)).ask("Hi", nothing)
    answer = conversation(FakeSession(TABLE, context=prompt + 1)).ask("Hi", nothing)
    assert (answer.text, answer.stop_reason) == (ANSWER, "context")


# Ctrl-C in an answer. "Hi" takes 25 tokens: calls 0 to 3 are its prefill, 4 and 5 feed "Hello" and " world"


@pytest.mark.parametrize("at", range(6))
@pytest.mark.parametrize("before", [False, True])
def test_ctrl_c_anywhere_in_a_turn(at: int, before: bool) -> None:
    session = InterruptedSession(at, before=before)
    talk = conversation(session)
    with pytest.raises(KeyboardInterrupt):
        talk.ask("Hi", nothing)
    session.at = -1
    answered = ("", "Hello", ANSWER)[max(0, at - 3)]  # what was shown, whether its last token was fed or not
    assert talk.ask("more", nothing).text == ANSWER
    assert session.fed == chat_of("Hi", answered, "more") + ids_of(ANSWER)
    assert talk.ids == session.fed and talk.fed == len(session.fed)


def test_ctrl_c_while_a_piece_is_written() -> None:
    session = FakeSession(TABLE, context=256)
    talk = conversation(session)

    def interrupt(piece: str) -> None:
        if piece == " world":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        talk.ask("Hi", interrupt)
    assert talk.ids == chat_of("Hi") + ids_of("Hello")  # what was computed on; " world" never was
    talk.ask("more", nothing)
    assert session.fed == chat_of("Hi", ANSWER, "more") + ids_of(ANSWER)
    assert fed_once(session)


def test_another_exception_leaves_the_conversation_as_it_was() -> None:
    session = FakeSession(TABLE, context=256)
    talk = conversation(session)
    talk.ask("Hi", nothing)

    def fail(piece: str) -> None:
        raise ValueError("the reader is gone")

    with pytest.raises(ValueError, match="gone"):
        talk.ask("What is it?", fail)
    talk.ask("more", nothing)
    assert session.fed == chat_of("Hi", ANSWER, "more") + ids_of(ANSWER)


def test_ctrl_c_in_a_later_turn_keeps_the_earlier_ones() -> None:
    session = InterruptedSession(-1)
    talk = conversation(session)
    talk.ask("Hi", nothing)
    session.at, session.before = len(session.calls) + 1, True  # in the middle of the second turn's prefill
    with pytest.raises(KeyboardInterrupt):
        talk.ask("What is it?", nothing)
    talk.ask("more", nothing)
    assert session.fed == chat_of("Hi", ANSWER, "What is it?", "", "more") + ids_of(ANSWER)
    assert fed_once(session)


# On the terminal


class Terminal:
    """Types the lines of a person, who then closes the input, and keeps what is shown."""

    def __init__(self, *lines: str | type[BaseException]) -> None:
        self.lines = list(lines)
        self.prompts = 0
        self.out = ""
        self.told: list[str] = []

    def read(self, prompt: str) -> str:
        self.prompts += 1
        line = self.lines.pop(0) if self.lines else EOFError
        if isinstance(line, str):
            return line
        raise line

    def write(self, text: str) -> None:
        self.out += text

    def talk(self, bundle: Bundle, session: FakeSession, write: Callable[[str], None] | None = None) -> None:
        bundle = replace(bundle, manifest=replace(bundle.manifest, context=session.context))
        chat_repl(bundle, FakeRuntime(session), read=self.read, write=write or self.write, tell=self.told.append)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "b")


def test_messages_and_the_end_of_the_input(bundle: Bundle) -> None:
    session, terminal = FakeSession(TABLE, context=256), Terminal("Hi", "", "  ", "more")
    terminal.talk(bundle, session)
    assert terminal.out == f"{ANSWER}\n{ANSWER}\n\n"
    assert session.fed == chat_of("Hi", ANSWER, "more") + ids_of(ANSWER)
    assert terminal.told[0] == HELP and "tok/s" in terminal.told[1]
    assert f"{len(session.fed)} of 256 tokens used" in terminal.told[2]


@pytest.mark.parametrize("word", ["/exit", "/quit", " /exit "])
def test_exit(bundle: Bundle, word: str) -> None:
    session, terminal = FakeSession(TABLE), Terminal(word, "Hi")
    terminal.talk(bundle, session)
    assert terminal.prompts == 1 and session.calls == []


def test_ctrl_c_between_answers_ends(bundle: Bundle) -> None:
    session, terminal = FakeSession(TABLE), Terminal(KeyboardInterrupt, "Hi")
    terminal.talk(bundle, session)
    assert (terminal.prompts, terminal.out, session.calls) == (1, "\n", [])


def test_reset(bundle: Bundle) -> None:
    session, terminal = FakeSession(TABLE, context=256), Terminal("Hi", "/reset", "more")
    terminal.talk(bundle, session)
    assert session.fed[: len(chat_of("more"))] == chat_of("more")
    assert "new conversation" in terminal.told


def test_other_commands_are_no_messages(bundle: Bundle) -> None:
    session, terminal = FakeSession(TABLE), Terminal("/help", "/resett")
    terminal.talk(bundle, session)
    assert terminal.told == [HELP] * 3 and session.calls == []


def test_ctrl_c_stops_the_answer_and_not_the_program(bundle: Bundle) -> None:
    session, terminal = FakeSession(TABLE, context=256), Terminal("Hi", "more")
    interrupts = [KeyboardInterrupt]

    def write(text: str) -> None:
        terminal.write(text)
        if text == " world" and interrupts:
            raise interrupts.pop()

    terminal.talk(bundle, session, write)
    assert terminal.told[1] == "stopped"
    assert terminal.out == f"{ANSWER}\n{ANSWER}\n\n"
    assert session.fed == chat_of("Hi", ANSWER, "more") + ids_of(ANSWER)


def test_refused_messages_are_explained_and_the_talk_goes_on(bundle: Bundle) -> None:
    session, terminal = FakeSession(TABLE, context=256), Terminal(f"a{EOT}", "x" * 300, "\udcff", "Hi")
    terminal.talk(bundle, session)
    errors = [line for line in terminal.told if line.startswith("error: ")]
    assert len(errors) == 3
    assert "special token" in errors[0] and "no room" in errors[1] and "UTF-8" in errors[2]
    assert any(line.startswith("hint: ") and "/reset" in line for line in terminal.told)
    assert session.fed == chat_of("Hi") + ids_of(ANSWER)


def test_a_full_context_begins_a_new_conversation(bundle: Bundle) -> None:
    session = FakeSession(TABLE, context=len(chat_of("Hi")) + 1)
    terminal = Terminal("Hi", "Hi")
    terminal.talk(bundle, session)
    assert sum("context is full" in line for line in terminal.told) == 2
    assert [position for _, position in session.calls].count(0) == 2
    assert terminal.out == f"{ANSWER}\n{ANSWER}\n\n"


def test_a_bundle_without_a_chat_format(tmp_path: Path) -> None:
    bundle, session = write_bundle(tmp_path / "b", chat=False), FakeSession(TABLE)
    with pytest.raises(UsageError, match="no chat format: its model has no chat template"):
        Terminal("Hi").talk(bundle, session)
    told = replace(bundle, manifest=replace(bundle.manifest, chat_limits=("turns are numbered",)))
    with pytest.raises(UsageError, match=r"has no chat format: turns are numbered"):
        Terminal("Hi").talk(told, session)
    # of a release that dropped a template in silence
    write_tokenizer_config(bundle.path, ChatTemplate("{{ messages[-1].content }}"), TOKENIZER, (), 64)
    with pytest.raises(UsageError, match="though its model has a chat template"):
        Terminal("Hi").talk(bundle, session)
    assert session.calls == []


def test_options_reach_the_conversation(bundle: Bundle) -> None:
    session, terminal = FakeSession(TABLE), Terminal("Hi")
    chat_repl(
        bundle,
        FakeRuntime(session),
        max_new_tokens=1,
        read=terminal.read,
        write=terminal.write,
        tell=terminal.told.append,
    )
    assert terminal.out == "Hello\n\n"
