"""Text <-> token ids, over Hugging Face's `tokenizers` alone.

The stock ExecuTorch runner reads the same `tokenizer.json`, through code of its own. It always takes special tokens
that are spelled in a prompt as the tokens themselves, and adds BOS through the file's post-processor: `encode(text,
bos=..., special=True)` gives its ids.
"""

from __future__ import annotations

import base64
import binascii
import functools
import itertools
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from tokenizers import AddedToken, Regex, decoders, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as HFTokenizer
from tokenizers.models import BPE, Model

from mlp_export.errors import InputError
from mlp_export.paths import check_fetched
from mlp_export.text.special_tokens import NAMES, SpecialTokens, read_special_tokens

# The words of OpenAI's o200k encoding, which Llama 4 splits text into before BPE.
_LLAMA4_WORDS = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
_BYTE_TOKEN = re.compile("<0x[0-9A-Fa-f]{2}>")  # of SentencePiece: a byte that no piece of the vocabulary has
# What `tokenizers` strips beside added tokens: Unicode's White_Space. Python's `strip` takes U+001C to U+001F as well.
_WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029"
    "\u202f\u205f\u3000"
)
_LLAMA4_RANKS = 200_000
_LLAMA4_SPECIALS = 2_048


class Tokenizer:
    """A checkpoint's tokenizer. Ids are those of the checkpoint's embedding rows."""

    def __init__(self, tokenizer: HFTokenizer, source: Path | None = None) -> None:
        """`source` is the file the tokenizer came from, where there is one."""
        self._tokenizer = tokenizer
        self._source = source
        # BPE dropout splits words at random, which is for training: https://arxiv.org/abs/1910.13267
        self.dropout: float | None = getattr(tokenizer.model, "dropout", None) or None
        if self.dropout is not None:
            tokenizer.model.dropout = None
        self._changed = self.dropout is not None  # whether it is another than the file
        self._carried: str | None = None  # the text of a bundle's tokenizer.json that leaves steps to the caller
        self.normalization: Literal["NFC"] | None = None
        self.answer_strip: str | None = None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @classmethod
    def from_folder(cls, folder: Path, model_vocab_size: int | None = None) -> Tokenizer:
        """Reads `tokenizer.json`, or builds Llama 4's from a `tokenizer.model` in tiktoken format; other files may add
        tokens: see `special_tokens`.

        Raises InputError where there is neither, where the file is damaged, and where it has ids that an embedding of
        `model_vocab_size` rows does not.
        """
        json_file, model_file = folder / "tokenizer.json", folder / "tokenizer.model"
        if json_file.is_file():
            data = _read_bytes(json_file)
            try:
                with _library_errors(json_file, "read"):
                    tokenizer = cls(HFTokenizer.from_buffer(data), json_file)
            except InputError:
                check_fetched(json_file)
                raise
            tokenizer._check_ids()
            tokenizer._check_template()
        elif model_file.is_file():
            tokenizer = cls(llama4_tokenizer(model_file), model_file)
        else:
            raise InputError(
                f"no tokenizer in {folder}: looked for tokenizer.json and tokenizer.model",
                "copy the tokenizer's files there",
            )
        tokens = read_special_tokens(folder)
        left_out = tokenizer._leave_out(tokens, model_vocab_size)
        tokenizer._add(tokens, folder, model_vocab_size, left_out)
        tokenizer._check_put_ids()
        if model_vocab_size is not None and tokenizer.vocab_size > model_vocab_size:
            raise InputError(
                f"the tokenizer in {folder} has ids to {tokenizer.vocab_size - 1}, "
                f"expected less than the model's vocab_size, {model_vocab_size}",
                "tokenizer and weights do not belong together: copy the tokenizer of this checkpoint",
            )
        return tokenizer

    def _check_ids(self) -> None:
        """Raises InputError where two tokens have one id: which of them is lost depends on who reads the file."""
        tokens: dict[int, str] = {}
        for text, number in self._tokenizer.get_vocab(with_added_tokens=True).items():
            if (other := tokens.setdefault(number, text)) != text:
                first, second = sorted((text, other))
                raise InputError(
                    f"{self._source}: {first!r} and {second!r} have one id, {number}",
                    "the file is damaged: fetch it again",
                )

    def _check_template(self) -> None:
        """Raises InputError where a template that adds special tokens has no place for the text."""
        if self._tokenizer.post_processor is None:
            return
        processor = json.loads(self._tokenizer.post_processor.__getstate__())
        for step in (processor, *processor.get("processors", [])):
            if step["type"] == "TemplateProcessing" and not any("Sequence" in piece for piece in step["single"]):
                raise InputError(
                    f"{self._source}: the template of `post_processor` leaves the text out, expected a `Sequence`",
                    "the file is damaged: fetch it again",
                )

    def _check_put_ids(self) -> None:
        """Raises InputError where the post-processor puts an id that no token has."""
        for number in self.encode("", bos=True, special=False):
            if self.token(number) is None:
                raise InputError(
                    f"{self._source}: `post_processor` puts the id {number}, which no token has",
                    "the file is damaged: fetch it again",
                )

    @classmethod
    def from_json(
        cls, values: dict[str, Any], source: Path | None, normalization: Literal["NFC"] | None, answer_strip: str | None
    ) -> Tokenizer:
        """A tokenizer whose file is `values` and leaves steps to the caller: `TokenizerInfo` of a manifest has them.
        `encode` and `decode` do these steps.

        Raises InputError where the file cannot be put together with them.
        """
        carried = json.dumps(values, ensure_ascii=False)
        whole = dict(values)
        if normalization is not None:
            steps = [{"type": normalization}, *([values["normalizer"]] if values.get("normalizer") else [])]
            whole["normalizer"] = {"type": "Sequence", "normalizers": steps}
        if answer_strip is not None:
            strip = {"type": "Strip", "content": answer_strip, "start": 1, "stop": 0}
            steps = [values["decoder"]] if values.get("decoder") else []
            whole["decoder"] = {"type": "Sequence", "decoders": [*steps, {"type": "Fuse"}, strip]}
        with _library_errors(source, f"take normalization {normalization!r} and answer_strip {answer_strip!r}"):
            tokenizer = cls(HFTokenizer.from_str(carried if whole == values else json.dumps(whole)), source)
        tokenizer._carried = carried
        tokenizer.normalization, tokenizer.answer_strip = normalization, answer_strip
        return tokenizer

    def _leave_out(self, tokens: SpecialTokens, model_vocab_size: int | None) -> frozenset[str]:
        """Drop tokens added behind a vocabulary that has an embedding row each: Gemma 3's text models have one of
        images (`<image_soft_token>`, id 262144) from their larger siblings. Returns their spellings.

        Tokens that the files name (BOS, EOS and their kin) are none of those: then the files do not belong together.
        """
        if model_vocab_size is None or self._tokenizer.get_vocab_size(with_added_tokens=False) != model_vocab_size:
            return frozenset()
        added = self._tokenizer.get_added_tokens_decoder()
        beyond = frozenset(token.content for number, token in added.items() if number >= model_vocab_size)
        if not beyond or beyond & {tokens.named[name].content for name in NAMES if name in tokens.named}:
            return frozenset()
        values = self.to_json()
        values["added_tokens"] = [entry for entry in values["added_tokens"] if entry["content"] not in beyond]
        self._tokenizer = HFTokenizer.from_str(json.dumps(values))
        self._changed = True
        return beyond

    def _add(self, tokens: SpecialTokens, folder: Path, model_vocab_size: int | None, left_out: frozenset[str]) -> None:
        """The tokens that other files of `folder` add, as transformers does; InputError where two give two ids."""
        known = self._tokenizer.get_added_tokens_decoder().values()
        present = {token.content for token in known}
        for token in tokens.to_add():
            if token.content in present | left_out:
                continue
            numbered = token.content in {entry.content for entry in tokens.numbered.values()}
            beyond = model_vocab_size is not None and self.vocab_size >= model_vocab_size
            if beyond and not numbered and self.token_id(token.content) is None:
                continue  # a padding token and its kin, for training: it has no embedding
            self._tokenizer.add_tokens([token])
            self._changed = True
        for number, token in tokens.numbered.items():
            if token.content in left_out:
                continue
            if (found := self.token_id(token.content)) != number:
                raise InputError(
                    f"{folder}: {token.content!r} has the id {number} in the added tokens, in tokenizer.json {found}",
                    "the tokenizer's files do not belong together: fetch them again",
                )

    def with_all_ids(self, rows: int) -> Tokenizer:
        """The same tokenizer with a token for each id below `rows`: `<|no-token-ID|>` where the vocabulary has none.

        ExecuTorch's runner (`get_llm_metadata`) takes as many logits as its tokenizer has tokens: where ids between
        them have none, the last tokens, often the stop tokens, could not be answered. Only for a BPE vocabulary; no
        merge leads to the added tokens, so that no text is encoded to one.
        """
        taken = set(self._tokenizer.get_vocab(with_added_tokens=True).values())
        missing = [number for number in range(rows) if number not in taken]
        values = self.to_json() if missing else {}
        if not missing or values["model"]["type"] != "BPE":
            return self
        # The library gives tokens that are not in the vocabulary ids behind its last.
        known = {entry["content"]: entry["id"] for entry in values["added_tokens"]}
        values["model"]["vocab"] |= known | {f"<|no-token-{number}|>": number for number in missing}
        filled = Tokenizer(HFTokenizer.from_str(json.dumps(values)), self._source)
        filled._changed = True
        filled.dropout = self.dropout
        return filled

    @functools.cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(token_id for token_id, token in added.items() if token.special)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    @property
    def adds_bos(self) -> bool:
        """Whether `encode(..., bos=True)` adds anything: it does where the file has a post-processor that says so."""
        return bool(self.encode("", bos=True, special=True))

    def encode(self, text: str, *, bos: bool, special: bool) -> list[int]:
        """Ids of `text`; with `bos`, after what the file's post-processor puts before a text.

        `special` takes special tokens that are spelled in the text as the tokens, else they are text like any other.
        Raises InputError where the text is not valid Unicode.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(
                f"the prompt is not valid UTF-8 at character {error.start}",
                "give it as UTF-8 text, without lone surrogates",
            ) from error
        self._tokenizer.encode_special_tokens = not special
        with _library_errors(self._source, "encode"):
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=bos).ids
        return ids

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of `ids`, special tokens spelled out or left out. Bytes that are no UTF-8 come out as U+FFFD."""
        with _library_errors(self._source, "decode"):
            text: str = self._tokenizer.decode(list(ids), skip_special_tokens=not special)
        return text

    def decode_each(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """`decode` of each sequence, special tokens spelled out."""
        with _library_errors(self._source, "decode"):
            texts: list[str] = self._tokenizer.decode_batch([list(ids) for ids in sequences], skip_special_tokens=False)
        return texts

    def unreachable_ids(self) -> list[int]:
        """Ids of `unreachable_words` of the vocabulary that are no added tokens."""
        vocab, added = self._tokenizer.get_vocab(with_added_tokens=False), self._tokenizer.get_added_tokens_decoder()
        with _library_errors(self._source, "encode"):
            return [vocab[word] for word in unreachable_words(self._tokenizer.model, vocab) if vocab[word] not in added]

    def stream(self, *, special: bool = False) -> TokenStream:
        """A decoder for ids that come one at a time."""
        return TokenStream(self, special=special)

    def token(self, token_id: int) -> str | None:
        """How the vocabulary spells an id; special tokens as they are written in text."""
        spelled: str | None = self._tokenizer.id_to_token(token_id)
        return spelled

    def token_id(self, token: str) -> int | None:
        """The id of a token of the vocabulary."""
        found: int | None = self._tokenizer.token_to_id(token)
        return found

    def is_special(self, token_id: int) -> bool:
        """Whether `decode` leaves the id out unless it is asked to spell special tokens."""
        return token_id in self._special_ids

    @property
    def source(self) -> Path | None:
        """The file it came from."""
        return self._source

    def added_tokens(self) -> list[str]:
        """The spellings of the added tokens, special or not: those with flags first, then by id."""
        added = [token for _, token in sorted(self._tokenizer.get_added_tokens_decoder().items())]
        added.sort(key=lambda token: not (token.single_word or token.lstrip or token.rstrip or token.normalized))
        return [token.content for token in added]

    def normalized(self, text: str) -> str:
        """`text` as it is given to a runner with the bundle's tokenizer.json: see `TokenizerInfo.normalization`; and
        without the white space that added tokens drop, which ExecuTorch's tokenizer takes for text.
        """
        text = self.without_dropped_space(text)
        if self.normalization is None:
            return text
        parts = self._between_added(text)
        parts[::2] = [normalizers.NFC().normalize_str(part) for part in parts[::2]]
        return "".join(parts)

    def without_dropped_space(self, text: str) -> str:
        """`text` without the white space that added tokens with `lstrip` or `rstrip` drop: the ids are the same."""
        stripping = self.stripping_tokens
        if not stripping:
            return text
        parts = self._between_added(text)
        for place in range(1, len(parts), 2):
            if (token := stripping.get(parts[place])) is not None:
                if token.lstrip:
                    parts[place - 1] = parts[place - 1].rstrip(_WHITE_SPACE)
                if token.rstrip:
                    parts[place + 1] = parts[place + 1].lstrip(_WHITE_SPACE)
        return "".join(parts)

    def _between_added(self, text: str) -> list[str]:
        """`text` in parts, of which every second is an added token that `tokenizers` finds before it normalizes."""
        return self._added_pattern.split(text) if self._added_pattern else [text]

    @functools.cached_property
    def stripping_tokens(self) -> dict[str, AddedToken]:
        """The added tokens that drop the white space before or behind them, by what they spell."""
        added = [token for _, token in sorted(self._tokenizer.get_added_tokens_decoder().items())]
        return {token.content: token for token in added if token.lstrip or token.rstrip}

    @functools.cached_property
    def _added_pattern(self) -> re.Pattern[str] | None:
        tokens = self._tokenizer.get_added_tokens_decoder().values()
        found = (token.content for token in tokens if self.normalization is None or not token.normalized)
        added = sorted(found, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, added))})") if added else None

    def file(self) -> Path | str:
        """The tokenizer.json that `write` writes: a file that is here, or its text."""
        if self._carried is not None:
            return self._carried
        if self._changed or self._source is None or self._source.name != "tokenizer.json":
            return self._tokenizer.to_str(pretty=True)
        return self._source

    def to_json(self) -> dict[str, Any]:
        """The object of a tokenizer.json, with the tokens that other files add."""
        values: dict[str, Any] = json.loads(self._tokenizer.to_str())
        return values

    def write(self, folder: Path) -> tuple[str, ...]:
        """Writes `tokenizer.json`, and `tokenizer.model` where the source has one, into a bundle. Returns the names."""
        file = self.file()
        if isinstance(file, Path):
            shutil.copyfile(file, folder / "tokenizer.json")
        else:  # its own `save` raises a bare Exception where the disk is full
            (folder / "tokenizer.json").write_text(file, encoding="utf-8")
        model = None if self._source is None else self._source.parent / "tokenizer.model"
        if model is None or not model.is_file():
            return ("tokenizer.json",)
        shutil.copyfile(model, folder / "tokenizer.model")
        return ("tokenizer.json", "tokenizer.model")


@contextmanager
def _library_errors(source: Path | None, action: str) -> Iterator[None]:
    """InputError, naming the file, for what `tokenizers` raises: bare Exception, or a panic of its Rust, which is no
    Exception (`pyo3_runtime.PanicException`, which no module has to be imported from).
    """
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        what = "is not a tokenizer" if action == "read" else f"cannot {action}"
        raise InputError(
            f"{source or 'the tokenizer'} {what}: {error}", "the file is damaged: fetch the checkpoint again"
        ) from error


def unreachable_words(model: Model, vocab: Iterable[str]) -> Iterator[str]:
    """The words of `vocab` that the model encodes with other tokens: BPE words that no merges make, or that merges of a
    lower rank keep from being made. Not the tokens of bytes.
    """
    for word in vocab:
        if len(word) > 1 and not _BYTE_TOKEN.fullmatch(word) and len(model.tokenize(word)) > 1:
            yield word


def has_tokenizer(folder: Path) -> bool:
    """Whether `Tokenizer.from_folder` has a file to read there."""
    return any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model"))


class TokenStream:
    """Text of ids that come one at a time, in whole characters: a character's bytes may be spread over several ids.

    The pieces, with `flush()` at the end, add up to `Tokenizer.decode` of all ids. `tokenizers.decoders.DecodeStream`
    (0.23) does not do that: it has no flush, so that an answer cut inside a character loses its end, and it raises an
    error where byte tokens of a SentencePiece vocabulary turn out not to be UTF-8.
    """

    def __init__(self, tokenizer: Tokenizer, *, special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._special = special
        # Ids whose text is not all out, after one that is: decoders may treat a first id apart.
        self._ids: list[int] = []
        self._out = 0  # characters of the text of `_ids` that are out

    def push(self, token_id: int) -> str:
        """The characters that this id completes, maybe none."""
        token = self._tokenizer.token(token_id)
        if token is None or (not self._special and self._tokenizer.is_special(token_id)):
            return ""  # of an id without a token `decode` says nothing, and what follows is not a text's first
        self._ids.append(token_id)
        # A ByteFallback decoder takes a run of byte tokens together: all of them are U+FFFD where the run is not UTF-8.
        if _BYTE_TOKEN.fullmatch(token):
            return ""
        text = self._tokenizer.decode(self._ids, special=self._special)
        whole = text.rstrip("\N{REPLACEMENT CHARACTER}")  # what may be the first bytes of a character is held back
        piece = whole[self._out :]
        self._out += len(piece)
        if piece and whole == text:
            alone = self._tokenizer.decode([token_id], special=self._special)
            if alone:  # else decoders that strip a text's beginning would strip what comes next
                self._ids, self._out = [token_id], len(alone)
        return piece

    def flush(self) -> str:
        """What is held back: bytes that never became a character, as U+FFFD."""
        text = self._tokenizer.decode(self._ids, special=self._special)
        piece = text[self._out :]
        self._out = len(text)
        return piece


def llama4_tokenizer(path: Path) -> HFTokenizer:
    """Llama 4's tokenizer from its `tokenizer.model`, in tiktoken's format: lines of a token in base64 and its rank.

    tiktoken merges by rank, `tokenizers` by a list of pairs: a token's rank becomes that of each pair of tokens that
    spells it. Raises InputError for a file in another format (SentencePiece) or of another vocabulary.
    """
    ranks = _tiktoken_ranks(path)
    if len(ranks) != _LLAMA4_RANKS or sorted(ranks.values()) != list(range(_LLAMA4_RANKS)):
        raise InputError(
            f"{path} has {len(ranks)} tokens, expected the {_LLAMA4_RANKS} of Llama 4",
            "put the checkpoint's tokenizer.json beside it",
        )
    letters = _byte_letters()
    merges: list[tuple[str, str]] = []
    for token in sorted(ranks, key=ranks.__getitem__):
        cuts = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        cuts.sort(key=lambda cut: (ranks[cut[0]], ranks[cut[1]]))
        merges.extend((_spell(left, letters), _spell(right, letters)) for left, right in cuts)
    vocab = {_spell(token, letters): rank for token, rank in ranks.items()}
    tokenizer = HFTokenizer(BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA4_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = llama4_special_tokens()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    bos = specials[0]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, _LLAMA4_RANKS)]
    )
    return tokenizer


def llama4_special_tokens() -> list[str]:
    """Llama 4's 2,048 special tokens in the order of their ids, from 200,000 on (Meta's `llama-models`)."""

    def reserved(name: str, numbers: Iterable[int]) -> list[str]:
        return [f"<|{name}reserved_special_token_{i}|>" for i in numbers]

    named = [
        *("<|begin_of_text|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"),
        *("<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|step|>"),
        *reserved("text_post_train_", range(6)),
        *("<|python_start|>", "<|python_end|>", "<|finetune_right_pad|>"),
        *reserved("text_post_train_", range(8, 69)),
        *("<|image_start|>", "<|image_end|>"),
        *reserved("vision_", range(2)),
        *("<|tile_x_separator|>", "<|tile_y_separator|>"),
        *reserved("vision_", range(2, 6)),
        "<|image|>",
        *reserved("vision_", [6]),
        "<|patch|>",
        *reserved("vision_", range(7, 1048)),
        *reserved("reasoning_", range(8)),
        *("<|reasoning_thinking_start|>", "<|reasoning_thinking_end|>"),
    ]
    return named + reserved("", range(_LLAMA4_SPECIALS - len(named)))


def _tiktoken_ranks(path: Path) -> dict[bytes, int]:
    ranks: dict[bytes, int] = {}
    data = _read_bytes(path)
    try:
        for line in data.splitlines():
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
    except (ValueError, binascii.Error) as error:
        check_fetched(path)
        raise InputError(
            f"{path} is not in tiktoken's format",
            "other tokenizers (SentencePiece) are read from a tokenizer.json: put it beside",
        ) from error
    return ranks


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "check the file and its permissions") from error


def _byte_letters() -> list[str]:
    """GPT-2's letter for each byte: printable Latin-1 bytes stand for themselves, the others for U+0100 and on."""
    extra = itertools.count(0x100)
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    return [chr(byte) if byte in printable else chr(next(extra)) for byte in range(256)]


def _spell(token: bytes, letters: Sequence[str]) -> str:
    return "".join(letters[byte] for byte in token)
