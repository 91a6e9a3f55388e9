"""Something happens just before a step, as if another host had done it."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest


def just_before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], Any]) -> None:
    """Do `act` before the next call of `module.name`, once."""
    real = getattr(module, name)

    def late(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        act()
        return real(*args, **options)

    monkeypatch.setattr(module, name, late)


def without_locks(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As on shared storage, where the lock of one machine is not seen by another."""
    for module in modules or ("scoreline.pipeline.run", "scoreline.pipeline.rollback"):
        monkeypatch.setattr(f"{module}.exclusive", lambda *_: nullcontext())
