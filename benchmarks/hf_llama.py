"""A checkpoint of checkpoint.py as an ordinary Llama of the Hugging Face hub, for peers whose converters read no other.

Same weights, same shape, so the same work for a runtime. Two things differ. Full attention in every layer: Llama has no
local layers (as llama.cpp in these benchmarks). And Llama turns the first half of a head against the second, where the
checkpoint turns neighbours; q and k are left as they are, so the text would be another one, at the same speed.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

_SAME = (
    *("attention_bias", "attention_dropout", "bos_token_id", "eos_token_id", "head_dim", "hidden_act", "hidden_size"),
    *("initializer_range", "intermediate_size", "max_position_embeddings", "num_attention_heads", "num_hidden_layers"),
    *("num_key_value_heads", "pad_token_id", "rms_norm_eps", "rope_scaling", "rope_theta", "tie_word_embeddings"),
    *("torch_dtype", "use_cache", "vocab_size"),
)


def write_llama(checkpoint: Path, folder: Path) -> Path:
    """Writes the folder and returns it. `config.json` comes last: a folder that has a newer one is kept."""
    config = folder / "config.json"
    if config.is_file() and config.stat().st_mtime > (checkpoint / "config.json").stat().st_mtime:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(checkpoint / name, folder / name)
    with (
        (checkpoint / "model.safetensors").open("rb") as source,
        (folder / "model.safetensors").open("wb") as target,
    ):
        header = json.loads(source.read(int.from_bytes(source.read(8), "little")))
        renamed = json.dumps({key.replace(".feed_forward.", ".mlp."): value for key, value in header.items()}).encode()
        renamed += b" " * (-len(renamed) % 8)
        target.write(len(renamed).to_bytes(8, "little") + renamed)
        shutil.copyfileobj(source, target, 1 << 24)
    values = json.loads((checkpoint / "config.json").read_text())
    llama = {key: values[key] for key in _SAME}
    llama |= {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "mlp_bias": False}
    config.write_text(json.dumps(llama, indent=2))
    return folder
