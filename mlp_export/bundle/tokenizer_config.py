"""The tokenizer_config.json that bundles carry, for apps that render the chat template themselves.

Our own readers take `chat` of the manifest. react-native-executorch (0.9.3, `LLMController.ts`) takes `chat_template`
and special tokens as plain text, and cuts the texts of `eos_token`, `eot_token` and `pad_token` out of answers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlp_export.jsonfile import read_json_object
from mlp_export.text.chat import ChatTemplate
from mlp_export.text.special_tokens import NAMES
from mlp_export.text.tokenizer import Tokenizer

TOKENIZER_CONFIG = "tokenizer_config.json"


def tokenizer_config(
    template: ChatTemplate | None, tokenizer: Tokenizer, stop: tuple[str, ...], context: int
) -> dict[str, Any]:
    """The object of the file; `stop` are the texts that end an answer.

    Tokens that `tokenizer` does not know (of padding, say) are left out: readers would add them to it.
    """
    named = {} if template is None else {name: template.tokens[name] for name in NAMES if name in template.tokens}
    tokens = {name: text for name, text in named.items() if tokenizer.token_id(text) is not None}
    ends = [text for text in stop if tokenizer.token_id(text) is not None]
    if ends and "eos_token" not in tokens:
        tokens["eos_token"] = ends[0]
    others = [text for text in ends if text != tokens.get("eos_token")]
    if others:
        tokens["eot_token"] = others[0]
    values: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": context, **tokens}
    if template is not None:
        values["chat_template"] = template.source
    return values


def write_tokenizer_config(
    folder: Path, template: ChatTemplate | None, tokenizer: Tokenizer, stop: tuple[str, ...], context: int
) -> None:
    """Write the file into a bundle that is being made."""
    values = tokenizer_config(template, tokenizer, stop, context)
    text = json.dumps(values, indent=2, ensure_ascii=False) + "\n"
    (folder / TOKENIZER_CONFIG).write_text(text, encoding="utf-8")


def has_chat_template(folder: Path) -> bool:
    """Whether a bundle has the file, with a chat template in it. Raises InputError where it is damaged."""
    file = folder / TOKENIZER_CONFIG
    return file.is_file() and isinstance(read_json_object(file).get("chat_template"), str)
