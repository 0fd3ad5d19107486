"""A conversation with the KV cache kept from turn to turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from mlp_export.errors import InputError
from mlp_export.runtime.generate import Generation, generate
from mlp_export.runtime.prompt import check_message
from mlp_export.runtime.session import Session
from mlp_export.text.chat import ChatFormat, Message
from mlp_export.text.tokenizer import Tokenizer


@dataclass
class Conversation:
    """Turns of a chat. Each token is fed once: a turn adds to what the session's caches hold."""

    session: Session
    tokenizer: Tokenizer
    chat: ChatFormat
    eos_ids: tuple[int, ...]
    max_new_tokens: int = 1024
    temperature: float = 0.0
    seed: int = 0
    ids: list[int] = field(default_factory=list)  # the conversation so far, ending with the last answer
    fed: int = 0  # how many of them are in the caches

    def reset(self) -> None:
        """Forget the conversation. Caches need no clearing: nothing looks past the position that is asked for."""
        self.ids, self.fed = [], 0

    def ask(self, message: str, on_text: Callable[[str], None] = lambda piece: None) -> Generation:
        """The answer to a user's message; `on_text` gets it in pieces of whole characters while it is made.

        A KeyboardInterrupt ends the answer there and is passed on.

        Raises InputError, with the conversation as it was, for a message that is empty, spells special tokens, or does
        not fit the context any more.
        """
        check_message(self.tokenizer, message)
        turn = Message("user", message)
        if self.ids:
            # compose() of the turn alone would begin the conversation anew
            text = self.chat.assistant_suffix + self.chat.user_prefix
            text += (
                (message.strip() if self.chat.trim else message) + self.chat.user_suffix + self.chat.assistant_prefix
            )
        else:
            text = self.chat.compose([turn])
        added = self.tokenizer.encode(text, bos=False, special=True)
        if len(self.ids) + len(added) >= self.session.context:
            raise InputError(
                f"the conversation has {len(self.ids):,} tokens and this message {len(added):,}: "
                f"no room for an answer in the context of {self.session.context:,}",
                "/reset starts a new conversation; a longer one needs an export with a larger --context",
            )
        recorder = _Recorder(self.session)
        self.ids += added
        try:
            answer = generate(
                recorder,
                self.tokenizer,
                self.ids[self.fed :],
                position=self.fed,
                max_new_tokens=self.max_new_tokens,
                eos_ids=self.eos_ids,
                stop=self.chat.stop,
                temperature=self.temperature,
                seed=self.seed,
                on_text=on_text,
            )
        except BaseException:
            # What was fed stays the conversation; the part of the message that was not is fed with the next one.
            kept = recorder.tokens
            self.ids = self.ids[: self.fed] + kept + self.ids[self.fed + len(kept) :]
            self.fed += len(kept)
            raise
        self.fed += len(recorder.tokens)
        self.ids += answer.token_ids
        return answer


class _Recorder:
    """A session that remembers which tokens went in: an answer may be interrupted between any two."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.context, self.prefill_chunk, self.vocab_size = session.context, session.prefill_chunk, session.vocab_size
        self.tokens: list[int] = []

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        logits = self._session.forward(tokens, position)
        self.tokens.extend(tokens)
        return logits
