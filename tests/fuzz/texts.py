"""Tokenizer files and chat templates. What is accepted gives the ids and the text that transformers gives."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fuzz.edits import apply, every_edit, random_edits
from fuzz.target import expect
from small_checkpoints import CHAT_TEMPLATE, SPECIAL_TOKENS, VOCAB_SIZE, config_json, small_tokenizer, write_tokenizer
from transformers import AutoTokenizer

from mlp_export.checkpoints.config import read_config
from mlp_export.text.chat import Message, read_chat_template
from mlp_export.text.chat_derivation import derive_chat_format
from mlp_export.text.special_tokens import NAMES
from mlp_export.text.tokenizer import Tokenizer

_FLAGS = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
# What checkpoints have in the files beside tokenizer.json.
_SETTINGS: dict[str, Any] = {
    "tokenizer_config.json": {
        "added_tokens_decoder": {
            "306": {"content": "<tool>", **_FLAGS},
            "301": {"content": "<|end_of_text|>", **_FLAGS},
        },
        "additional_special_tokens": ["<tool>", "<img>"],
        "extra_special_tokens": {"image_token": "<img>"},
        "pad_token": {"content": "<pad>", **_FLAGS},
        "eos_token": "<|eot|>",
        "add_bos_token": True,
        "model_max_length": 1e30,
        "chat_template": [{"name": "default", "template": CHAT_TEMPLATE}],
    },
    "special_tokens_map.json": {"eos_token": "<|eot|>", "bos_token": {"content": "<|begin_of_text|>", **_FLAGS}},
    "added_tokens.json": {"<tool>": 306, "<img>": 307},
    "generation_config.json": {"eos_token_id": [301, 302]},
}
TEXTS = (
    "",
    "Hello world",
    " What is\tthe  capital\r\n of France?\n\n",
    "Gr\u00fc\u00dfe e\u0301 \u1112\u1161\u11ab \ud55c\uae00 \u4e16\u754c \u05e9\u05dc\u05d5\u05dd "
    "\U0001f469\U0001f3fd\u200d\U0001f4bb 1234567",
    "<|begin_of_text|>Hello<|eot|> <tool>x<img> <|header_start|>user<|header_end|>",
    "a\u0000b\ufffd\u200b\u00a0c",
)


_KEYS = {"tokenizer_config.json": [*NAMES, *_SETTINGS["tokenizer_config.json"], "tokenizer_class", "legacy"]}


class TokenizerTarget:
    """tokenizer.json and the files beside it: refused, or ids, text, stop ids and streams as transformers has them."""

    name = "tokenizer"
    compared_with = "transformers"

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            write_tokenizer(Path(place))
            small_tokenizer(SPECIAL_TOKENS).save(
                f"{place}/tokenizer.json"
            )  # ids from 306 on are for other files to add
            self._files = {path.name: path.read_bytes() for path in sorted(Path(place).iterdir())}

    def draw(self, draw: random.Random) -> Any:
        beside = [name for name in _SETTINGS if draw.random() < 0.3]
        files = {name: self._merged(name) for name in beside} | {
            name: data for name, data in self._files.items() if name not in beside and draw.random() < 0.6
        }
        return {"beside": beside, "edits": random_edits(draw, files or self._files, _KEYS)}

    def every(self) -> Iterator[Any]:
        for beside in ([], sorted(_SETTINGS)):
            files = self._files | {name: self._merged(name) for name in beside}
            for edit in every_edit({name: data for name, data in files.items() if name.endswith(".json")}, _KEYS):
                yield {"beside": beside, "edits": [edit]}

    def _merged(self, name: str) -> bytes:
        own = json.loads(self._files.get(name, b"{}"))
        return json.dumps({**own, **_SETTINGS[name]}).encode()

    def check(self, given: Any, folder: Path) -> int:
        (folder / "config.json").write_text(json.dumps(config_json("llama")))
        for name, data in self._files.items():
            (folder / name).write_bytes(data)
        for name in given["beside"]:
            (folder / name).write_bytes(self._merged(name))
        apply(folder, given["edits"])
        config = read_config(folder)
        ours = Tokenizer.from_folder(folder, VOCAB_SIZE)
        template = read_chat_template(folder)
        _check_streams(ours)
        _check_written(ours, folder)
        theirs = _unless_it_fails(lambda: AutoTokenizer.from_pretrained(folder))
        if theirs is None:
            return 0
        compared = 0
        settings = folder / "tokenizer_config.json"
        if settings.is_file() and json.loads(settings.read_bytes()).get("tokenizer_class") in _LIKE_THE_FILE:
            if ours.dropout is not None:  # at random: nobody's ids are the same again
                theirs.backend_tokenizer.model.dropout = None
            for text in TEXTS:
                for bos in (False, True):
                    wanted = _unless_it_fails(partial(_ids, theirs, text, bos))
                    found = ours.encode(text, bos=bos, special=True)
                    expect(wanted in (None, found), f"ids {found} of {text!r}, {bos}: transformers {wanted}")
                    compared += wanted is not None
            # Of a token that is in no vocabulary, transformers gives the id of the unknown token.
            stop = theirs.eos_token_id if theirs.eos_token in theirs.get_vocab() else None
            known = stop is None or stop in config.eos_ids or stop >= VOCAB_SIZE
            expect(known, f"stop ids {config.eos_ids}, transformers' eos_token_id {stop}")
        if template is not None:
            conversation = [Message("user", "Hello"), Message("assistant", "x"), Message("user", "y")]
            wanted = _rendered(theirs, conversation)
            expect(wanted is None or template.render(conversation) == wanted, f"chat of transformers {wanted!r}")
            compared += wanted is not None
        return compared


def _ids(tokenizer: Any, text: str, bos: bool) -> Any:
    return tokenizer(text, add_special_tokens=bos).input_ids


def _unless_it_fails(call: Callable[[], Any]) -> Any:
    """What transformers answers, None where it breaks: then there is nothing to compare with."""
    try:
        return call()
    except Exception:
        return None


def _rendered(tokenizer: Any, conversation: Sequence[Message]) -> Any:
    messages = [{"role": turn.role, "content": turn.content} for turn in conversation]
    return _unless_it_fails(lambda: tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


_LIKE_THE_FILE = ("PreTrainedTokenizerFast", "TokenizersBackend")  # classes that change nothing of tokenizer.json


def _check_streams(tokenizer: Tokenizer) -> None:
    """Piece by piece is all at once, for texts and for ids in any order."""
    draw = random.Random(7)
    runs = [tokenizer.encode(text, bos=True, special=True) for text in TEXTS]
    runs += [[draw.randrange(VOCAB_SIZE) for _ in range(30)] for _ in range(4)]
    for ids in runs:
        for special in (False, True):
            stream = tokenizer.stream(special=special)
            pieces = "".join([stream.push(token) for token in ids]) + stream.flush()
            whole = tokenizer.decode(ids, special=special)
            expect(pieces == whole, f"{ids} in a stream {pieces!r}, at once {whole!r}")


def _check_written(tokenizer: Tokenizer, folder: Path) -> None:
    """A bundle's tokenizer gives the ids of the checkpoint's."""
    written = folder / "written"
    written.mkdir()
    tokenizer.write(written)
    again = Tokenizer.from_folder(written, VOCAB_SIZE)
    for text in TEXTS:
        for special in (False, True):
            found = again.encode(text, bos=True, special=special)
            wanted = tokenizer.encode(text, bos=True, special=special)
            expect(found == wanted, f"{text!r} of the bundle is {found}, of the checkpoint {wanted}")


# Parts of templates as the field writes them.
_HEADS = (
    "",
    "{{ bos_token }}",
    "{{- bos_token -}}",
    "{% if not date %}{% set date = strftime_now('%d %b') %}{% endif %}",
)
_SYSTEMS = (
    "",
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nBe kind<|im_end|>\n' }}{% endif %}",
    "{% if messages[0]['role'] == 'system' %}{{ '<<SYS>>' + messages[0]['content'] + '<</SYS>>' }}"
    "{% set messages = messages[1:] %}{% endif %}",
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}",
)
_CONTENTS = (
    "message['content']",
    "message.content | trim",
    "message.content.strip()",
    "message.content.split('</think>')[-1].lstrip('\n')",
    "message.content | tojson",
    "message.content | upper",
    "(message.content if loop.last else message.content | trim)",
    "message.content * 2",
    "message.content[:100000]",
)
_TURNS = (
    "{{ '<|im_start|>' + message.role + '\n' + (CONTENT) + '<|im_end|>\n' }}",
    "{% if message.role == 'user' %}{{ '[INST] ' + (CONTENT) + ' [/INST]' }}{% else %}"
    "{{ (CONTENT) + eos_token }}{% endif %}",
    "{{ message.role | upper }}: {{ CONTENT }}\n",
    "{% if loop.index0 % 2 == 0 %}USER: {{ CONTENT }} {% else %}ASSISTANT: {{ CONTENT }}</s>{% endif %}",
    "{% if loop.first and message.role == 'system' %}{{ CONTENT }}{% elif message.role == 'user' %}<u>{{ CONTENT }}</u>"
    "{% else %}<a>{% generation %}{{ CONTENT }}{% endgeneration %}</a>{% endif %}",
)
_PROMPTS = (
    "",
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}",
    "{% if add_generation_prompt and messages[-1].role != 'assistant' %}ASSISTANT:{% endif %}",
    "{{ 'A' }}",
)
_ODD: tuple[str, ...] = (
    "{{",
    "{% if %}",
    "{{ 1/0 }}",
    "{{ x.y.z }}",
    "{% include 'x' %}",
    "{{ messages[9].role }}",
    "{{ [] + 1 }}",
    "{{ ''.join(1) }}",
)
_ODD += (
    "{{ '%d' % 'x' }}",
    "{{ 10 ** 400 * 1.0 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{{ range(9**9) }}",
)
_ODD += (
    "{{ messages | tojson(indent=-1) }}",
    "{{ strftime_now('%Q') }}",
    "{{ '\ud800' }}",
    "{% break %}",
)
_ODD += (
    "{{ strftime_now(1) }}",
    "{{ messages.pop() }}",
    "{{ 'x' * 10**6 }}",
    "{{ caller() }}",
    "{% import 'x' as y %}",
)
_CONTENT_TEXTS: tuple[str, ...] = (
    "",
    " ",
    "Hi",
    "a\nb\n",
    "<think>x</think>\n\ny",
    "\u05e9\u05dc\u05d5\u05dd",
    "e\u0301 \U0001f469\u200d\U0001f4bb",
)
_CONTENT_TEXTS += ("<|im_end|>", "{{ x }}", "\t x \u00a0", "</think>", "a'b\"c\\")


class TemplateTarget:
    """Chat templates put together of common parts: refused, or strings that give what the template gives."""

    name = "template"
    compared_with = "transformers"

    def draw(self, draw: random.Random) -> Any:
        turn = draw.choice(_TURNS).replace("CONTENT", draw.choice(_CONTENTS))
        parts = [draw.choice(_HEADS), draw.choice(_SYSTEMS), "{% for message in messages %}", turn, "{% endfor %}"]
        parts.append(draw.choice(_PROMPTS))
        if draw.random() < 0.3:
            parts.insert(draw.randrange(len(parts) + 1), draw.choice(_ODD))
        source = "".join(parts)
        if draw.random() < 0.2 and source:
            at = draw.randrange(len(source))
            source = source[:at] + source[at + draw.randrange(1, 4) :]
        roles = [draw.choice(("system", "user", "assistant")) for _ in range(draw.randrange(5))] + ["user"]
        if draw.random() < 0.8:
            roles = ["system"] * draw.randrange(2) + ["user", "assistant"] * draw.randrange(3) + ["user"]
        return {"template": source, "turns": [[role, draw.choice(_CONTENT_TEXTS)] for role in roles]}

    def check(self, given: Any, folder: Path) -> int:
        write_tokenizer(folder, chat_template=None)
        apply(folder, [{"file": "chat_template.jinja", "write": given["template"]}])
        template = read_chat_template(folder)
        assert template is not None
        derived = derive_chat_format(template, ["<|eot|>"])
        turns = [Message(role, content) for role, content in given["turns"]]
        roles = ["user", "assistant"] * len(turns)
        if derived.chat is not None and not derived.limits and [turn.role for turn in turns] == roles[: len(turns)]:
            expect(
                derived.chat.compose(turns) == template.render(turns, date=False), "strings that are not the template"
            )
        ours = template.render(turns)
        wanted = _rendered(AutoTokenizer.from_pretrained(folder), turns)
        expect(wanted in (None, ours), f"rendered {ours!r}, transformers {wanted!r}")
        return int(wanted is not None)
