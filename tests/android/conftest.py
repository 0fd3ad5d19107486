"""Tests of the Android app's package and on its runtime: `make test-android` fetches what they need and runs them."""

from phone_runtime.conftest import collect_ignore_glob, needs

__all__ = ["collect_ignore_glob", "needs"]
