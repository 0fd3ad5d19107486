"""The license of weights: read out of a checkpoint's folder, and written into what is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mlp_export.checkpoints.model_source import ResolvedModel
from mlp_export.errors import InputError
from mlp_export.models.license import License, find_license

LICENSE = "LICENSE"
NOTICE = "Notice"  # as the terms of Gemma and of Llama call it
_LICENSES = ("LICENSE*", "LICENCE*", "license*")
_NOTICES = ("NOTICE*", "Notice*")
LICENSE_PATTERNS = (*_LICENSES, "USE_POLICY*", *_NOTICES)


@dataclass(frozen=True)
class LicenseStatement:
    """What is said of a model's license where it comes from; `license` where it is one that mlp-export knows."""

    name: str | None = None
    link: str | None = None
    license: License | None = None


def license_text(folder: Path) -> str | None:
    """The text of the folder's license file. Raises InputError where it cannot be read."""
    return _first_text(folder, _LICENSES)


def notice_text(folder: Path) -> str | None:
    """The text of the folder's notice, which has to go along with copies. Raises InputError as above."""
    return _first_text(folder, _NOTICES)


def _first_text(folder: Path, patterns: tuple[str, ...]) -> str | None:
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            try:
                if path.is_file():
                    return path.read_text(encoding="utf-8", errors="replace")
            except OSError as error:  # a bundle carries the license of its weights
                raise InputError(
                    f"cannot read {path}: {error.strerror}", "check the path and its permissions"
                ) from error
    return None


def write_license_files(folder: Path, model: ResolvedModel, family_license: str, changes: str) -> None:
    """Writes into `folder`, which is made of `model`, what its recipients must get: license and, if any, notice.

    `family_license` is that of the family's released weights, for a checkpoint that names none. `changes` says what was
    done to the weights, and by what.
    """
    family = find_license(family_license) if model.license_name is None else None
    if family is not None:
        name = f"no license is stated; released weights of this family are under the {family.name}, {family.terms}"
    else:
        name = model.license_name or "license as follows"
    texts = [text for text in (model.license_text, family and family.text()) if text]
    text = "\n\n".join(texts) or "The source of these weights states no license."
    (folder / LICENSE).write_text(f"{model.id}: {name}\n\n{text}\n", encoding="utf-8")
    notice = model.notice or (family and family.notice_text())
    if notice:
        modified = f"Modified: the weights of {model.id} were {changes}."
        (folder / NOTICE).write_text(f"{notice.strip()}\n\n{modified}\n", encoding="utf-8")
