"""Write random texts with the ids of `tokenizers`, for the Swift test TokenizerComparisonTests.

    python tokenizer_texts.py TOKENIZER_JSON FOLDER COUNT

TOKENIZER_TEXTS=FOLDER then makes that test run. `make test-ios` has it run on a few texts, since a debug build is slow.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path

from tokenizers import Tokenizer

_WORDS = (
    "the river rises It's they'LL don't HTTPServer camelCase snake_case Grüße café cafe\u0301 naïve 世界 你好 日本語 "
    "한국어 كتاب Привет ελληνικά हिन्दी ไทย 1 12 1234567 3.14 ½ Ⅷ x² -- ... !? def return == += // <| |> \U0001f642 "
    "\U0001f44b\U0001f3fd \ufb01 \u212b \u017f"
).split()
_GAPS = [" "] * 12 + ["", "", "  ", "   ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u00a0", "\u3000", "\u0085", "\u2028"]


def main() -> None:
    source, folder, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(str(source))
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    draw = random.Random(15)
    with (folder / "texts.jsonl").open("w", encoding="utf-8") as file:
        for _ in range(count):
            text = _text(draw, added)
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            file.write(json.dumps({"text": text, "ids": ids}) + "\n")


def _text(draw: random.Random, added: list[str]) -> str:
    kind = draw.random()
    length = draw.randint(1, 60)
    if kind < 0.2:
        return "".join(_character(draw) for _ in range(length))
    parts: list[str] = []
    for _ in range(length):
        special = added and draw.random() < 0.03
        parts += [draw.choice(added) if special else draw.choice(_WORDS), draw.choice(_GAPS)]
        if draw.random() < 0.1:
            parts.append(_character(draw))
    return "".join(parts)


def _character(draw: random.Random) -> str:
    """Any scalar, most of them of the first planes' scripts."""
    code = draw.choice(
        [draw.randrange(0x80), draw.randrange(0x3000), draw.randrange(0xD800), draw.randrange(0x1F000, 0x1FB00)]
    )
    return chr(code)


if __name__ == "__main__":
    main()
