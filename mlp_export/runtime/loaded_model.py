"""A bundle that is loaded: text in, text out, or tokens in, logits out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from mlp_export.bundle.bundle import Bundle
from mlp_export.bundle.tokenizer_config import has_chat_template
from mlp_export.errors import UsageError
from mlp_export.runtime.conversation import Conversation
from mlp_export.runtime.generate import Generation, check_answer_options, generate
from mlp_export.runtime.prompt import prompt_ids
from mlp_export.runtime.session import Session
from mlp_export.text.chat import ChatFormat
from mlp_export.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class LoadedModel:
    """A loaded bundle. All its answers, and `forward`, share one KV cache: one thread uses it at a time."""

    bundle: Bundle
    session: Session
    tokenizer: Tokenizer

    @property
    def context(self) -> int:
        """Tokens the KV cache holds: of a prompt and its answer together."""
        return self.session.context

    @property
    def prefill_chunk(self) -> int:
        """Maximum tokens of one call of `forward`."""
        return self.session.prefill_chunk

    @property
    def vocab_size(self) -> int:
        """Length of the logits."""
        return self.session.vocab_size

    def forward(self, tokens: Sequence[int], position: int) -> torch.Tensor:
        """Logits, float32 [vocab_size], of the last of `tokens`, which stand at `position`, `position` + 1, ...

        Position 0 starts a new sequence; keys and values of positions before `position` are those of earlier calls.
        Raises InputError where 1 <= len(tokens) <= prefill_chunk or position + len(tokens) <= context does not hold.
        """
        return self.session.forward(tokens, position)

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        seed: int = 0,
        raw: bool = False,
        on_text: Callable[[str], None] = lambda piece: None,
    ) -> Generation:
        """The answer to `prompt`; `on_text` gets it in pieces of whole characters while it is made.

        A model made to chat gets the prompt as a user's message, unless `raw`. Temperature 0 takes the likeliest token,
        up to 1 samples with a generator seeded by `seed`.

        Raises InputError for a prompt that is empty, not valid Unicode, spells a special token (unless `raw`) or is
        longer than the context, UsageError for options out of range, VerificationError where the program answers NaN.
        """
        manifest = self.bundle.manifest
        return generate(
            self.session,
            self.tokenizer,
            prompt_ids(self.bundle, self.tokenizer, prompt, raw=raw),
            max_new_tokens=max_new_tokens,
            eos_ids=manifest.tokenizer.eos_ids,
            stop=manifest.chat.stop if manifest.chat else (),
            temperature=temperature,
            seed=seed,
            on_text=on_text,
        )

    def chat(self, *, max_new_tokens: int = 1024, temperature: float = 0.0, seed: int = 0) -> Conversation:
        """A new conversation: `ask` answers a message, and the KV cache keeps what was said.

        Raises UsageError for a bundle without a chat format and for options out of range.
        """
        check_answer_options(max_new_tokens, temperature, seed)
        return Conversation(
            self.session,
            self.tokenizer,
            chat_format(self.bundle),
            self.bundle.manifest.tokenizer.eos_ids,
            max_new_tokens,
            temperature,
            seed,
            self.bundle.manifest.model.shape.get("window", 0),
        )


def chat_format(bundle: Bundle) -> ChatFormat:
    """How the bundle's model is talked with. Raises UsageError for one without a chat format, and says why."""
    manifest = bundle.manifest
    if manifest.chat is not None:
        return manifest.chat
    if manifest.chat_limits:
        reasons = "; ".join(manifest.chat_limits)
        raise UsageError(
            f"{bundle.path} has no chat format: {reasons}",
            "use `mlp-export run --raw` with the whole text that the model shall see, or an app that renders "
            "tokenizer_config.json's template",
        )
    if has_chat_template(bundle.path):  # of a release that did not say why
        raise UsageError(
            f"{bundle.path} has no chat format, though its model has a chat template",
            "export it again: more of a template is carried now, or the export says why it is not",
        )
    raise UsageError(
        f"{bundle.path} has no chat format: its model has no chat template",
        "use `mlp-export run`, which continues a text",
    )
