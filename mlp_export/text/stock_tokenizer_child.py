"""The other process of stock_tokenizer.py: python -I -S THIS FOLDER-OF-PYTORCH_TOKENIZERS TOKENIZER.JSON < REQUEST.

It imports the extension module alone, without site-packages, so that it starts in a thirtieth of a second.
"""

import importlib
import json
import os
import sys


def main(extension: str, file: str) -> int:
    """Prints a line of JSON for each text, and one for all ids; 1 where the file is not read."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the C++ code prints is no answer
    sys.path.insert(0, extension)
    native = importlib.import_module("pytorch_tokenizers_cpp")
    request = json.load(sys.stdin)
    tokenizer = native.HFTokenizer()
    try:
        tokenizer.load(file)
    except Exception as error:
        sys.stderr.write(f"mlp-export: {error}\n")
        return 1
    for text, bos in request["texts"]:
        try:
            ids: list[int] | str = tokenizer.encode(text, int(bos), 0)
        except Exception as error:
            ids = str(error)
        print(json.dumps(ids), file=answers, flush=True)  # one by one: an abort shows which text it was
    pieces: list[str | list[str] | None] = []
    for token in range(request["ids"]):
        try:
            pieces.append(tokenizer.decode(token).encode().decode("latin-1"))
        except UnicodeDecodeError as error:  # of the binding, not of the tokenizer: part of a character
            pieces.append(error.object.decode("latin-1"))
        except RuntimeError:
            pieces.append(None)
        except Exception as error:
            pieces.append([str(error)])
    print(json.dumps(pieces), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
