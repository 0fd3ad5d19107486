"""The loop from prompt to answer, over a session that answers from a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from fake_backend import TOKENIZER, FakeSession, ids_of, successors
from small_checkpoints import EOS_ID, EOT_ID

from mlp_export.errors import InputError, UsageError, VerificationError
from mlp_export.runtime.generate import Generation, StopStrings, check_prompt, generate, prefill, rate

EOS_IDS = (EOS_ID, EOT_ID)
A, B, C = ids_of("ABC")


def answer(session: FakeSession, prompt: str | Sequence[int], **changes: Any) -> Generation:
    options: dict[str, Any] = {"max_new_tokens": 16, "eos_ids": EOS_IDS} | changes
    ids = ids_of(prompt) if isinstance(prompt, str) else prompt
    return generate(session, TOKENIZER, ids, **options)


class FlatSession(FakeSession):
    """Finds A, B and C equally likely, whatever came before, and anything else out of the question."""

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        super().forward(tokens, position)
        logits = torch.full((self.vocab_size,), -math.inf)
        logits[[A, B, C]] = 1.0
        return logits


class NanSession(FakeSession):
    """Answers NaN for one token, from call `after` on."""

    def __init__(self, table: Mapping[int, int], after: int) -> None:
        super().__init__(table)
        self.after = after

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        logits = super().forward(tokens, position)
        if len(self.calls) > self.after:
            logits[7] = math.nan
        return logits


# Stop strings


def pushed(stop: Sequence[str], pieces: Sequence[str]) -> tuple[list[str], str, bool]:
    """What each piece lets out, what the end does, and whether a stop string was found."""
    stops = StopStrings(stop)
    return [stops.push(piece) for piece in pieces], stops.flush(), stops.found


@pytest.mark.parametrize(
    ("stop", "pieces", "out", "rest", "found"),
    [
        ([], ["a", "b"], ["a", "b"], "", False),
        ([""], ["a", "b"], ["a", "b"], "", False),  # would be in any text
        (["END"], ["abE", "N", "D"], ["ab", "", ""], "", True),  # held back until it is complete
        (["END"], ["aE", "Nx"], ["a", "ENx"], "", False),  # ... or turns out to be none
        (["END"], ["aEN"], ["a"], "EN", False),  # what was held back when the text ends there
        (["END"], ["aENDb", "c"], ["a", ""], "", True),  # nothing after it, not even later
        (["aab"], ["a", "a", "a", "b"], ["", "", "a", ""], "", True),  # only the longest overlap is held back
        (["abab"], ["aba", "ac"], ["", "abaac"], "", False),
        (["abac"], ["aba", "bac"], ["", "ab"], "", True),  # the overlap starts anew inside what was held back
        (["one", "two"], ["a two b one"], ["a "], "", True),  # the first in the text, not in the list
        (["one", "two"], ["t", "wo"], ["", ""], "", True),
        (["ab", "abc"], ["xabc"], ["x"], "", True),
        (["lo", "long"], ["a lo"], ["a "], "", True),
        (["x", "yyy"], ["ayy"], ["a"], "yy", False),  # the longest of several is held back
    ],
)
def test_stop_strings(stop: list[str], pieces: list[str], out: list[str], rest: str, found: bool) -> None:
    assert pushed(stop, pieces) == (out, rest, found)


@pytest.mark.parametrize("stop", [["<|eot|>"], ["\n\nUser:", "<|"], ["aa"]])
@pytest.mark.parametrize("text", ["a <b> <| c", "aaaa", "Yes.\n\nUse", "x<|eot|>y", "\n\n\nUser: a"])
def test_how_a_text_is_cut_into_pieces_changes_nothing(stop: list[str], text: str) -> None:
    expected = min((text.partition(one)[0] for one in stop), key=len)
    for size in range(1, len(text) + 1):
        out, rest, found = pushed(stop, [text[i : i + size] for i in range(0, len(text), size)])
        assert ("".join(out) + rest, found) == (expected, any(one in text for one in stop))


# What an answer is


def test_the_likeliest_tokens_until_eos() -> None:
    session = FakeSession(successors("\nHello world<|eot|>"))
    pieces: list[str] = []
    found = answer(session, "Hi\n", on_text=pieces.append)
    assert (found.text, found.stop_reason) == ("Hello world", "eos")
    assert list(found.token_ids) == ids_of("Hello world")
    assert (found.prompt_tokens, found.generated_tokens) == (3, 2)
    assert pieces == ["Hello", " world"]
    assert session.fed == ids_of("Hi\nHello world")  # the stop token is not fed
    assert found.to_json()["token_ids"] == ids_of("Hello world")


@pytest.mark.parametrize("eos", EOS_IDS)
def test_eos_as_the_first_token(eos: int) -> None:
    session = FakeSession({A: eos})
    pieces: list[str] = []
    found = answer(session, "A", on_text=pieces.append)
    assert (found.text, found.token_ids, found.stop_reason, pieces) == ("", (), "eos", [])
    assert found.generated_tokens == 0 and found.decode_tok_s is None
    assert session.calls == [(1, 0)]


def test_an_eos_token_ends_the_answer_even_where_it_could_be_the_last() -> None:
    assert answer(FakeSession(successors("AB<|eot|>")), "A", max_new_tokens=1).stop_reason == "length"
    assert answer(FakeSession(successors("AB<|eot|>")), "A", max_new_tokens=2).stop_reason == "eos"


def test_a_stop_string_across_tokens() -> None:
    session = FakeSession(successors("ABC*end-ZYX"))
    pieces: list[str] = []
    found = answer(session, "A", stop=["*end-"], on_text=pieces.append)
    assert (found.text, found.stop_reason, pieces) == ("BC", "stop_string", ["B", "C"])
    assert session.fed == ids_of("ABC*end")  # nothing is computed once it is complete


def test_a_stop_string_that_is_never_complete_is_said() -> None:
    session = FakeSession(successors("ABC*en<|eot|>"))
    pieces: list[str] = []
    found = answer(session, "A", stop=["*end-"], on_text=pieces.append)
    assert (found.text, found.stop_reason, pieces) == ("BC*en", "eos", ["B", "C", "*en"])
    limited = answer(FakeSession(successors("ABC*end-")), "A", stop=["*end-"], max_new_tokens=4)
    assert (limited.text, limited.stop_reason) == ("BC*e", "length")


def test_a_stop_string_that_is_a_special_token() -> None:
    found = answer(FakeSession(successors("AB<|header_end|>")), "A", stop=["<|header_end|>"], eos_ids=())
    assert (found.text, found.stop_reason, list(found.token_ids)) == ("B", "stop_string", [B])


def test_other_special_tokens_are_spelled_out() -> None:
    found = answer(FakeSession(successors("AB<|header_end|>C<|eot|>")), "A")
    assert found.text == "B<|header_end|>C"


def test_characters_of_several_tokens_come_whole() -> None:
    pieces: list[str] = []
    found = answer(FakeSession(successors("A🙂é!<|eot|>")), "A", on_text=pieces.append)
    assert (found.text, pieces) == ("🙂é!", ["🙂", "é", "!"])
    assert found.generated_tokens == 7
    cut = answer(FakeSession(successors("A€<|eot|>")), "A", max_new_tokens=2)
    assert (cut.text, cut.stop_reason) == ("\N{REPLACEMENT CHARACTER}", "length")


@pytest.mark.parametrize("count", [1, 2, 7])
def test_length(count: int) -> None:
    session = FakeSession({A: A})
    found = answer(session, "A", max_new_tokens=count)
    assert (found.text, found.generated_tokens, found.stop_reason) == ("A" * count, count, "length")
    assert len(session.calls) == count  # the last token is not fed


# Edges of the context


def test_the_context_is_used_to_its_last_slot() -> None:
    session = FakeSession({A: A}, context=10)
    found = answer(session, "AAAA", max_new_tokens=100)
    assert found.stop_reason == "context"
    assert session.fed == [A] * 10 and found.generated_tokens == 7  # the last answer needs no slot


def test_length_comes_before_context_where_both_are_reached() -> None:
    assert answer(FakeSession({A: A}, context=10), "AAAA", max_new_tokens=7).stop_reason == "length"


def test_eos_at_the_last_slot() -> None:
    session = FakeSession(successors("ABC<|eot|>"), context=3)
    found = answer(session, "A", max_new_tokens=100)
    assert (found.text, found.stop_reason) == ("BC", "eos")


def test_a_prompt_that_fills_the_context_gets_one_token() -> None:
    session = FakeSession({A: B}, context=10)
    found = answer(session, "A" * 10, max_new_tokens=100)
    assert (found.text, found.stop_reason, found.prompt_tokens) == ("B", "context", 10)
    assert session.fed == [A] * 10


def test_a_prompt_longer_than_the_context() -> None:
    session = FakeSession({A: B}, context=10)
    with pytest.raises(InputError, match="11 tokens, the context of this bundle holds 10"):
        answer(session, "A" * 11)
    assert session.calls == []


def test_a_prompt_behind_others_must_fit_too() -> None:
    session = FakeSession({A: B}, context=10)
    session.fed = [C] * 8
    assert answer(session, "AA", position=8).stop_reason == "context"
    with pytest.raises(InputError, match="11 tokens"):
        answer(session, "AAA", position=8)


@pytest.mark.parametrize("position", [0, 5])
def test_an_empty_prompt(position: int) -> None:
    session = FakeSession({})
    with pytest.raises(InputError, match="empty"):
        answer(session, [], position=position)
    assert session.calls == []


def test_check_prompt_takes_what_fits() -> None:
    check_prompt(10, 10)
    with pytest.raises(InputError, match="1,001 tokens"):
        check_prompt(1001, 1000)


# Prefill


@pytest.mark.parametrize(
    ("count", "calls"),
    [
        (1, [(1, 0)]),
        (7, [(7, 0)]),
        (8, [(8, 0)]),
        (9, [(8, 0), (1, 8)]),
        (15, [(8, 0), (7, 8)]),
        (16, [(8, 0), (8, 8)]),
        (17, [(8, 0), (8, 8), (1, 16)]),
    ],
)
def test_prefill_in_chunks(count: int, calls: list[tuple[int, int]]) -> None:
    session = FakeSession({A: B}, prefill_chunk=8)
    ids = [C] * (count - 1) + [A]
    assert int(prefill(session, ids).argmax()) == B  # of the last token
    assert session.calls == calls and session.fed == ids


def test_prefill_from_a_position_on() -> None:
    session = FakeSession({A: B}, prefill_chunk=8)
    session.fed = [C] * 5
    prefill(session, [A] * 9, 5)
    assert session.calls == [(8, 5), (1, 13)] and session.fed == [C] * 5 + [A] * 9


# Sampling


def test_a_seed_gives_the_same_answer_again() -> None:
    texts = [
        answer(FlatSession({}), "A", max_new_tokens=40, temperature=1.0, seed=seed).text for seed in (1, 1, 2, 3, 4)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4
    assert set("".join(texts)) == set("ABC")


def test_greedy_does_not_depend_on_the_seed() -> None:
    assert {answer(FlatSession({}), "B", seed=seed).text for seed in range(3)} == {"A" * 16}


def test_a_low_temperature_takes_the_likeliest() -> None:
    session = FakeSession(successors("ABC<|eot|>"))
    assert answer(session, "A", temperature=0.05, seed=3).text == "BC"


@pytest.mark.parametrize("temperature", [-0.1, 1.01, 100.0, math.inf, math.nan])
def test_temperatures_out_of_range(temperature: float) -> None:
    session = FakeSession({A: B})
    with pytest.raises(UsageError, match="temperature"):
        answer(session, "A", temperature=temperature)
    assert session.calls == []


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_of_no_tokens(count: int) -> None:
    with pytest.raises(UsageError, match="new tokens"):
        answer(FakeSession({A: B}), "A", max_new_tokens=count)


# A broken program


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("after", [0, 2])
def test_nan_is_not_taken_for_an_answer(temperature: float, after: int) -> None:
    said: list[str] = []
    with pytest.raises(VerificationError, match="NaN"):
        answer(NanSession({A: A}, after), "A", temperature=temperature, on_text=said.append)
    assert len(said) == after


# Rates


def test_rates() -> None:
    assert rate(10, 2.0) == 5.0
    assert rate(0, 2.0) is None
    assert rate(10, 0.0) is None
