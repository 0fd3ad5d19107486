"""Writes tests/vectors/tokenizer.json: small tokenizers of the kinds that models have, texts, and their ids.

    python tests/make_tokenizer_vectors.py

The ids are those of Hugging Face's `tokenizers`; the Android app's own reader of `tokenizer.json` is held against them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

VECTORS = Path(__file__).parent / "vectors" / "tokenizer.json"
CORPUS = Path(__file__).parent.parent / "mlp_export" / "data" / "text.txt"
LLAMA3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
LLAMA4_WORDS = "|".join(
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
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im", "</s>"]
TEXTS = [
    "",
    " ",
    "a",
    "Hello, world!",
    "  two  spaces   three\t\ttabs \n\n newlines\r\n\r\nend  ",
    "trailing space ",
    "\n",
    " \n \n",
    "a\u00a0b\u2003c\u3000d\u200be\u0085f\x0bg\x0ch\x1ci\u2028j",
    "It's we'RE I'm you'll they'd DON'T 'tis '\u017f \u2019s",
    "1 12 123 1234 12345678901 3.14 1,000,000 \u00bd\u2167\u0664\u0665 \u2460x\u00b2",
    "HTTPServer camelCase snake_case kebab-case __init__ XMLHttpRequest \u01c5 \u1f88",
    "Gr\u00fc\u00dfe, \u00c4pfel, na\u00efve caf\u00e9 cafe\u0301 e\u0301\u0323",
    "\u65e5\u672c\u8a9e\u306e\u6587\u7ae0\u3067\u3059\u3002 \u4e2d\u6587\u3001\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5",
    "\u0645\u0631\u062d\u0628\u0627 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd \u0928\u092e\u0938\u094d\u0924\u0947 "
    "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f642\U0001f468\u200d\U0001f469\u200d\U0001f467\U0001f1e9\U0001f1ea\U0001f44d\U0001f3fd\u2764\ufe0f \U0001f642",
    "\U0001d4d0\U0001d4d1 \U00020000 \ufb01 \uff21\uff22 \u212b \ufdfa",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
    "x <|im_end|> y<|im_end|>\n z",
    "<|im <|im_st <|im_start|<|im_start|> <|endoftext|><|endoftext|></s>",
    "cat catalog  cat  cat. MASK [MASK] x[MASK]  y",
    "http://example.org/a//b?c=d&e=%20#f\n{\"k\": [1, 2]}\n\tif (x != y) { return; }\n",
    "!!! ??? ... --- *** /// \\\\\\ ~~~ !?\n\n!?",
    "\u2581 \u2581a \u2581\u2581",
    "word" * 20 + " " + "xyz" * 30,
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "\x00\x01\x7f\u00ad\ufeff\uffff\u0378",
]


def byte_level(words: str | None, *, whole_words: bool = False, digits: bool = False) -> Tokenizer:
    """GPT-2's kind: words by its own pattern or `words`."""
    tokenizer = Tokenizer(BPE(ignore_merges=whole_words))
    steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    if words is not None:
        steps.append(pre_tokenizers.Split(Regex(words), "isolated"))
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words is None))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    _train(tokenizer, BpeTrainer(vocab_size=520, initial_alphabet=alphabet, show_progress=False))
    return tokenizer


def sentencepiece(*, metaspace: str | None) -> Tokenizer:
    """Llama 2's kind: characters, bytes for those that are not known. Without `metaspace` the normalizer does its work."""
    names = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if metaspace is None:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        training = Tokenizer(BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        training.pre_tokenizer = pre_tokenizers.Metaspace()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=metaspace)
        training = tokenizer
    trainer = BpeTrainer(vocab_size=480, special_tokens=names, limit_alphabet=100, show_progress=False)
    training.train_from_iterator(CORPUS.read_text(encoding="utf-8").splitlines()[:400], trainer)
    model = json.loads(training.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    tokenizer.model = BPE(
        vocab=model["vocab"], merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True
    )
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in SPECIAL])
    return tokenizer


def with_odd_added_tokens() -> Tokenizer:
    """Added tokens with all the flags there are, and a normalizer."""
    tokenizer = byte_level(None)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens(
        [
            AddedToken("cat", single_word=True, normalized=True, special=False),
            AddedToken("caf\u00e9", normalized=True, special=False),
            AddedToken("[MASK]", lstrip=True, rstrip=True, normalized=False, special=True),
        ]
    )
    return tokenizer


def all_tokenizers() -> Iterator[tuple[str, Tokenizer]]:
    """Names and tokenizers."""
    yield "gpt-2", byte_level(None)
    yield "smollm", byte_level(None, digits=True)
    yield "llama 3", byte_level(LLAMA3_WORDS, whole_words=True)
    yield "llama 4", byte_level(LLAMA4_WORDS, whole_words=True)
    yield "llama 2", sentencepiece(metaspace=None)
    yield "metaspace, always", sentencepiece(metaspace="always")
    yield "metaspace, first", sentencepiece(metaspace="first")
    yield "odd added tokens", with_odd_added_tokens()


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """The ids, without what a post-processor adds."""
    return tokenizer.encode(text, add_special_tokens=False).ids


def vectors() -> list[dict[str, Any]]:
    """What the file holds."""
    return [
        {
            "name": name,
            "tokenizer": json.loads(tokenizer.to_str()),
            "cases": [{"text": text, "ids": encode(tokenizer, text)} for text in TEXTS],
        }
        for name, tokenizer in all_tokenizers()
    ]


def _train(tokenizer: Tokenizer, trainer: BpeTrainer) -> None:
    tokenizer.train_from_iterator(CORPUS.read_text(encoding="utf-8").splitlines()[:400], trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL])


if __name__ == "__main__":
    VECTORS.parent.mkdir(exist_ok=True)
    VECTORS.write_text(json.dumps(vectors(), separators=(",", ":")) + "\n", encoding="utf-8")
