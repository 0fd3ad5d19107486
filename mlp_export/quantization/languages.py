"""Which language a text is in, as far as telling a mix from a single one needs it: by script, and by frequent words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_SCRIPTS: tuple[tuple[int, int, str], ...] = (
    (0x0041, 0x024F, "Latin"),
    (0x0370, 0x03FF, "Greek"),
    (0x0400, 0x052F, "Cyrillic"),
    (0x0590, 0x05FF, "Hebrew"),
    (0x0600, 0x06FF, "Arabic script"),
    (0x0900, 0x097F, "Devanagari"),
    (0x0980, 0x09FF, "Bengali"),
    (0x0B80, 0x0BFF, "Tamil"),
    (0x0C00, 0x0C7F, "Telugu"),
    (0x0E00, 0x0E7F, "Thai"),
    (0x1E00, 0x1EFF, "Latin"),
    (0x3040, 0x30FF, "Japanese"),
    (0x4E00, 0x9FFF, "Chinese"),
    (0xAC00, 0xD7AF, "Korean"),
)
# Words that are frequent in one of these languages and rare or absent in the others.
_WORDS: Mapping[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "English": "the and of to is that it was for with you this are on not have be from they which",
        "German": "der die und das ist nicht ein eine den mit sich auf für dem von zu auch wird sind ich",
        "French": "le les et des est une dans pour qui pas il sur ce du au vous avec sont nous je",
        "Spanish": "el los las y que una por con para su se lo está como pero más al del es muy",
        "Italian": "il che di è per una non sono con gli della del si nel le più anche ma questo alla",
        "Portuguese": "o os que não uma para com em do da dos as é no na mais por foi ao um",
        "Dutch": "het een van en dat niet zijn op voor met die ook naar er aan maar ik wordt deze bij",
        "Polish": "w i na się nie jest że do to z jak po ale co tak od przez za ze są",
        "Swedish, Norwegian or Danish": "och att som är på det av för inte og ikke til jeg var med den vi har fra om",
        "Turkish": "ve bir bu için da de ile çok ne daha olarak olan gibi ama var değil sonra kadar ben her",
        "Indonesian": "yang dan di itu dengan untuk tidak dari ini dalam akan pada saya juga ke adalah bisa oleh ada",
        "Vietnamese": "và của là có không được cho một những trong người với các này đã để khi tôi",
    }.items()
}
# Letters that no other of these languages has: where words take endings, few are frequent.
_LETTERS: Mapping[str, frozenset[str]] = {
    "Turkish": frozenset("ığ"),
    "Polish": frozenset("łż"),
    "German": frozenset("ß"),
}
_LEAST_HITS = 0.1  # of the words: the lists above make up 20 to 40 % of prose, and next to nothing of code


def spoken_language(text: str) -> str | None:
    """The name of the language, or of the script, that most of `text` is in; None where it is not recognised.

    Latin script is told apart by words; Chinese from Japanese by kana.
    """
    scripts = Counter(_script(character) for character in text[:20_000])
    del scripts[""]
    if not scripts:
        return None
    name, _ = scripts.most_common(1)[0]
    if name == "Chinese" and scripts["Japanese"] > 0.1 * scripts["Chinese"]:
        return "Japanese"
    if name != "Latin":
        return name
    words = re.findall(r"[^\W\d_]+", text[:20_000].lower())
    hits = {
        language: sum(word in frequent or not letters.isdisjoint(word) for word in words)
        for language, frequent in _WORDS.items()
        for letters in [_LETTERS.get(language, frozenset())]
    }
    best = max(hits, key=hits.__getitem__)
    return best if words and hits[best] >= max(2, _LEAST_HITS * len(words)) else None


def _script(character: str) -> str:
    if not character.isalpha():
        return ""
    code = ord(character)
    return next((name for first, last, name in _SCRIPTS if first <= code <= last), "")
