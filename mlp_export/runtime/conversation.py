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
    """Turns of a chat. A turn's prompt is the template's whole text; what of it the session's caches hold is not fed
    again.

    The text is seldom another than what was fed: where the template drops the reasoning of an earlier answer or white
    space around it, and where an answer's text has other tokens than the model wrote.
    """

    session: Session
    tokenizer: Tokenizer
    chat: ChatFormat
    eos_ids: tuple[int, ...]
    max_new_tokens: int = 1024
    temperature: float = 0.0
    seed: int = 0
    window: int = 0  # of local layers, whose ring caches can go back by one token once they are full; 0: there are none
    messages: list[Message] = field(default_factory=list)  # the conversation so far, ending with the last answer
    ids: list[int] = field(default_factory=list)  # the last turn's prompt and its answer
    fed: int = 0  # how many of them are in the caches
    _end: int = field(default=0, init=False)  # the position up to which the caches may have been written

    def reset(self) -> None:
        """Forget the conversation. Caches need no clearing: nothing looks past the position that is asked for."""
        self.messages, self.ids, self.fed = [], [], 0

    def ask(self, message: str, on_text: Callable[[str], None] = lambda piece: None) -> Generation:
        """The answer to a user's message; `on_text` gets it in pieces of whole characters while it is made.

        `prompt_tokens` of the answer counts what had to be fed. A KeyboardInterrupt ends the answer there and is passed
        on: what `on_text` was given stays in the conversation. Other exceptions leave it as it was.

        Raises InputError, with the conversation as it was, for a message that is empty, spells special tokens, or does
        not fit the context any more.
        """
        check_message(self.tokenizer, message)
        messages = [*self.messages, Message("user", message)]
        prompt = self.tokenizer.encode(self.chat.compose(messages), bos=False, special=True)
        if len(prompt) >= self.session.context:
            raise InputError(
                f"the conversation has {len(prompt):,} tokens with this message: "
                f"no room for an answer in the context of {self.session.context:,}",
                "/reset starts a new conversation; a longer one needs an export with a larger --context",
            )
        start = self._kept(prompt)
        recorder = _Recorder(self.session)
        shown: list[str] = []

        def show(piece: str) -> None:
            shown.append(piece)
            on_text(piece)

        try:
            answer = generate(
                recorder,
                self.tokenizer,
                prompt[start:],
                position=start,
                max_new_tokens=self.max_new_tokens,
                eos_ids=self.eos_ids,
                stop=self.chat.stop,
                temperature=self.temperature,
                seed=self.seed,
                on_text=show,
            )
        except BaseException as error:
            self.ids = prompt[:start] + recorder.tokens
            if isinstance(error, KeyboardInterrupt):  # the person goes on from what they saw
                self.messages = [*messages, Message("assistant", "".join(shown))]
            raise
        else:
            self.ids = prompt + list(answer.token_ids)
            self.messages = [*messages, Message("assistant", answer.text)]
        finally:
            self.fed = start + len(recorder.tokens)
            self._end = recorder.end or self._end
        return answer

    def _kept(self, prompt: Sequence[int]) -> int:
        """How many tokens of a prompt the caches hold. The last token is always fed: its logits are needed."""
        pairs = zip(prompt[:-1], self.ids[: self.fed], strict=False)
        same = next((n for n, (token, held) in enumerate(pairs) if token != held), min(len(prompt) - 1, self.fed))
        # A full ring has overwritten what a query sees first, from the second token on that is taken back.
        wrapped = 0 < self.window < self._end
        return 0 if wrapped and same < self._end - 1 else same


class _Recorder:
    """A session that remembers which tokens went in: an answer may be interrupted between any two."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.context, self.prefill_chunk, self.vocab_size = session.context, session.prefill_chunk, session.vocab_size
        self.tokens: list[int] = []
        self.end = 0  # the position behind the last token that may be in the caches, also of a call that was cut off

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        self.end = position + len(tokens)
        logits = self._session.forward(tokens, position)
        self.tokens.extend(tokens)
        return logits
