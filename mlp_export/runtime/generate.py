"""Text out of a Session: prefill in chunks, then one token at a time until something says stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from mlp_export.errors import InputError, UsageError, VerificationError
from mlp_export.runtime.session import Session
from mlp_export.text.tokenizer import Tokenizer

StopReason = Literal["eos", "stop_string", "length", "context"]


@dataclass(frozen=True)
class Generation:
    """An answer. Rates are tokens per second, None where there was too little to time."""

    text: str
    token_ids: tuple[int, ...]  # without the stop token; empty where a runner does not tell them
    prompt_tokens: int
    generated_tokens: int  # without the stop token
    prefill_tok_s: float | None
    decode_tok_s: float | None
    stop_reason: StopReason

    def to_json(self) -> dict[str, Any]:
        """The object `run --json` prints."""
        values = asdict(self)
        values["token_ids"] = list(self.token_ids)
        return values


class StopStrings:
    """Holds back text that may be the beginning of a stop string, and cuts at the first one that is complete."""

    def __init__(self, stop: Sequence[str]) -> None:
        self._stop = [text for text in stop if text]
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """The text that is certain once `piece` is there."""
        if self.found:
            return ""
        text = self._held + piece
        cuts = [text.index(stop) for stop in self._stop if stop in text]
        if cuts:
            self.found, self._held = True, ""
            return text[: min(cuts)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What is held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that is a beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)


def prefill(session: Session, ids: Sequence[int], position: int = 0) -> torch.Tensor:
    """Feed `ids` at `position` on, in chunks; logits [vocab_size] float32 of the last one. `ids` must not be empty."""
    for start in range(0, len(ids), session.prefill_chunk):
        logits = session.forward(ids[start : start + session.prefill_chunk], position + start)
    return logits


def check_prompt(tokens: int, context: int) -> None:
    """Raises InputError for a prompt of no tokens or of more than the context holds."""
    if tokens == 0:
        raise InputError("the prompt is empty", "give some text: this model's tokenizer adds no start token")
    if tokens > context:
        raise InputError(
            f"the prompt has {tokens:,} tokens, the context of this bundle holds {context:,}",
            "shorten the prompt, or export with a larger --context",
        )


def generate(
    session: Session,
    tokenizer: Tokenizer,
    prompt_ids: Sequence[int],
    *,
    max_new_tokens: int,
    eos_ids: Collection[int],
    stop: Sequence[str] = (),
    temperature: float = 0.0,
    seed: int = 0,
    position: int = 0,
    on_text: Callable[[str], None] = lambda piece: None,
) -> Generation:
    """Continue `prompt_ids`, which stand at `position` on. `on_text` gets the answer in pieces of whole characters.

    Temperature 0 takes the likeliest token, above 0 it samples with a generator seeded by `seed`. The answer ends
    before a token of `eos_ids`, before a text of `stop`, after `max_new_tokens` or where the context is full. Special
    tokens are spelled out in the text, as the stock runner does; one whose spelling is in `stop` ends the answer as an
    id of `eos_ids` does. After the call the session holds the prompt and the answer, but maybe not its last token.

    Raises InputError for an empty prompt or one that does not fit, UsageError for options out of range and
    VerificationError where the program answers NaN.
    """
    check_answer_options(max_new_tokens, temperature, seed)
    check_prompt(position + len(prompt_ids) if prompt_ids else 0, session.context)
    random = torch.Generator().manual_seed(seed)
    stream, stops = tokenizer.stream(special=True), StopStrings(stop)
    stop_ids = {tokenizer.token_id(text) for text in stop} - {None}
    ids: list[int] = []
    texts: list[str] = []

    def say(piece: str) -> None:
        if piece:
            texts.append(piece)
            on_text(piece)

    start = time.perf_counter()
    logits = prefill(session, prompt_ids, position)
    prefilled = time.perf_counter()
    position += len(prompt_ids)
    steps = 0
    reason: StopReason
    while True:
        token = _sample(logits, temperature, random)
        if token in eos_ids:
            reason = "eos"
            break
        if token in stop_ids:
            reason = "stop_string"
            break
        ids.append(token)
        say(stops.push(stream.push(token)))
        if stops.found:
            reason = "stop_string"
            break
        if len(ids) == max_new_tokens:
            reason = "length"
            break
        if position == session.context:
            reason = "context"
            break
        logits = session.forward([token], position)
        position += 1
        steps += 1
    end = time.perf_counter()
    say(stops.push(stream.flush()))
    say(stops.flush())
    return Generation(
        text="".join(texts),
        token_ids=tuple(ids),
        prompt_tokens=len(prompt_ids),
        generated_tokens=len(ids),
        prefill_tok_s=rate(len(prompt_ids), prefilled - start),
        decode_tok_s=rate(steps, end - prefilled),
        stop_reason=reason,
    )


def rate(tokens: int, seconds: float) -> float | None:
    """Tokens per second, None where there is nothing to divide."""
    return tokens / seconds if tokens and seconds > 0 else None


def check_answer_options(max_new_tokens: int, temperature: float, seed: int = 0) -> None:
    """Raises UsageError for an answer of no tokens, a temperature outside the stock runner's range, 0 to 1, or a seed
    that torch's generator does not take.
    """
    if max_new_tokens < 1:
        raise UsageError(f"{max_new_tokens} new tokens", "ask for 1 or more")
    if not 0 <= temperature <= 1:
        raise UsageError(f"temperature {temperature}", "give a number from 0 (the likeliest token) to 1")
    if not -(2**63) <= seed < 2**64:
        raise UsageError(f"seed {seed}", f"give a whole number from 0 to {2**64 - 1}")


def _sample(logits: torch.Tensor, temperature: float, random: torch.Generator) -> int:
    best = int(logits.argmax())
    if torch.isnan(logits[best]):  # argmax finds a NaN before any number
        raise VerificationError("the program answered NaN", "verify the bundle: `mlp-export verify`")
    if temperature == 0:
        return best
    # In float64 and from the largest on: dividing by a tiny temperature must not overflow.
    scaled = (logits - logits[best]).double() / temperature
    return int(torch.multinomial(torch.softmax(scaled.float(), -1), 1, generator=random))
