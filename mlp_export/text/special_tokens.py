"""The tokens that a checkpoint's files add to tokenizer.json, and which of them are BOS, EOS and their kin.

Precedence as in transformers 5 (`PreTrainedTokenizerBase._from_pretrained`, `TokenizersBackend.__init__`):
`added_tokens_decoder` of tokenizer_config.json, where it is there, and else special_tokens_map.json over
tokenizer_config.json, and added_tokens.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from mlp_export.errors import InputError
from mlp_export.jsonfile import read_json_object

NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_NO_TOKEN = (None, "")
_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")


@dataclass(frozen=True)
class SpecialTokens:
    """What the files besides tokenizer.json say of tokens."""

    named: Mapping[str, AddedToken] = field(default_factory=dict)  # "bos_token" -> token, and names of the model's own
    numbered: Mapping[int, AddedToken] = field(default_factory=dict)  # id -> token, as the files have them
    extra: tuple[AddedToken, ...] = ()

    def spelled(self) -> dict[str, str]:
        """The named tokens as text, for chat templates."""
        return {name: str(token.content) for name, token in self.named.items()}

    def to_add(self) -> list[AddedToken]:
        """All tokens, once each, in the order in which transformers adds them to those of tokenizer.json."""
        tokens: dict[str, AddedToken] = {}
        names = {token.content for token in self.named.values()}
        for token in [token for _, token in sorted(self.numbered.items())]:
            tokens[token.content] = _token({"content": token.content, **_flags(token)}, special=token.content in names)
        for token in (*self.named.values(), *self.extra):
            tokens.setdefault(token.content, token)
        return list(tokens.values())


def read_special_tokens(folder: Path) -> SpecialTokens:
    """Reads tokenizer_config.json, special_tokens_map.json and added_tokens.json, those that are there.

    Raises InputError where one cannot be read or holds something else than tokens.
    """
    file = folder / "tokenizer_config.json"
    settings = read_json_object(file) if file.is_file() else {}
    extra = settings.get("extra_special_tokens") or settings.get("additional_special_tokens") or []
    numbered: dict[int, AddedToken] = {}
    decoder = settings.get("added_tokens_decoder")
    if decoder is not None:
        if not isinstance(decoder, dict):
            raise _error(file, "added_tokens_decoder", decoder)
        for number, value in decoder.items():
            if not (str(number).isdecimal() and isinstance(value, dict)):
                raise _error(file, "added_tokens_decoder", {number: value})
            numbered[int(number)] = _parse(file, "added_tokens_decoder", value)
    else:
        legacy = folder / "special_tokens_map.json"
        table = read_json_object(legacy) if legacy.is_file() else {}
        more = table.pop("extra_special_tokens", None) or table.pop("additional_special_tokens", None)
        if more:
            extra = [*extra, *more] if isinstance(extra, list) and isinstance(more, list) else more
        settings = {**settings, **table}  # null takes a token away
    named = {key: _parse(file, key, settings[key]) for key in NAMES if settings.get(key) not in _NO_TOKEN}
    if isinstance(extra, dict):
        named |= {key: _parse(file, key, value) for key, value in extra.items()}
        extra = settings.get("additional_special_tokens") or []
    if not isinstance(extra, list):
        raise _error(file, "extra_special_tokens", extra)
    extra = tuple(_parse(file, "extra_special_tokens", value) for value in extra)
    added = folder / "added_tokens.json"
    if decoder is None and added.is_file():
        special = {token.content for token in (*named.values(), *extra)}
        for text, number in read_json_object(added).items():
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise _error(added, text, number)
            flag = text in special
            numbered[number] = AddedToken(text, normalized=not flag, special=flag)
    return SpecialTokens(named, numbered, extra)


def token_ids(folder: Path, *names: str) -> dict[str, int]:
    """Ids of named tokens ("eos_token"), of those that the files name and give an id.

    Opens tokenizer.json, which may be large, only where the small files do not say.
    """
    tokens = read_special_tokens(folder)
    wanted = {name: tokens.named[name].content for name in names if name in tokens.named}
    ids = {token.content: number for number, token in tokens.numbered.items()}
    file = folder / "tokenizer.json"
    if not set(wanted.values()) <= ids.keys() and file.is_file():
        of_file, following = _ids_of_file(file)
        ids = of_file | ids
        for token in tokens.to_add():
            if token.content not in ids:
                ids[token.content] = following
            following = max(following, ids[token.content] + 1)
    return {name: ids[text] for name, text in wanted.items() if text in ids}


def _ids_of_file(file: Path) -> tuple[dict[str, int], int]:
    """The tokens of tokenizer.json, and the id of the next that is added; damage is named by who builds it."""
    values = read_json_object(file)
    model = values.get("model")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    ids = {text: number for text, number in vocab.items() if isinstance(number, int)} if isinstance(vocab, dict) else {}
    following = len(ids)
    entries = values.get("added_tokens")
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and isinstance(entry.get("content"), str) and entry["content"]:
            # The library takes no notice of the id that stands there, nor of tokens without text (tokenizers,
            # added_vocabulary.rs, `add_tokens`).
            number = ids.setdefault(entry["content"], following)
            following = max(following, number + 1)
    return ids, following


def _parse(file: Path, key: str, value: Any) -> AddedToken:
    """A token as text, or as an object with its flags."""
    if isinstance(value, str):
        return AddedToken(value, special=True, normalized=False)
    if isinstance(value, dict) and isinstance(value.get("content"), str):
        # A named token is special; of others the object says it.
        return _token(value, special=key != "added_tokens_decoder" or bool(value.get("special")))
    raise _error(file, key, value)


def _token(value: Mapping[str, Any], special: bool) -> AddedToken:
    flags = {name: bool(value[name]) for name in _FLAGS if name in value}
    flags["special"] = special or flags.get("special", False)
    return AddedToken(value["content"], **flags)


def _flags(token: AddedToken) -> dict[str, bool]:
    return {name: bool(getattr(token, name)) for name in _FLAGS}


def _error(file: Path, key: str, value: object) -> InputError:
    return InputError(f"{file}: `{key}` is {str(value)[:60]!r}, expected tokens", "the file is damaged: fetch it again")
