"""An alias moves to a version unless that would be a step back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from getpass import getuser
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from scoreline.errors import InputError
from scoreline.hashing import digest, verify
from scoreline.registry.files import download
from scoreline.registry.store import DIGEST_TAG, TAG, Registry
from scoreline.registry.versions import pin
from scoreline.report import Report
from scoreline.typed import typed

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["Champion", "Promotion", "champion", "promote"]


@dataclass(frozen=True)
class Promotion(Report):
    """An alias, the version it points to now, and the one it pointed to before (None: the alias is new)."""

    name: str
    alias: str
    version: str
    previous: str | None

    def __str__(self) -> str:
        if self.previous == self.version:
            return f"{self.name}@{self.alias} is version {self.version} already"
        before = f" (was version {self.previous})" if self.previous else ""
        return f"{self.name}@{self.alias} is version {self.version}{before}"


@dataclass(frozen=True)
class Champion:
    """The version that an alias points to, and what it was made by; estimator: None if nobody wrote that down."""

    version: str
    estimator: str | None
    params: Mapping[str, object]


def champion(name: str, alias: str, *, tracking_uri: str, registry_uri: str | None = None) -> Champion | None:
    """What the alias points to; None if there is no such model or alias yet."""
    registry = Registry.open(tracking_uri, registry_uri)
    version = registry.alias(name, alias)
    if version is None:
        return None
    tags = registry.version(f"models:/{name}/{version}").tags or {}
    params = tags.get(f"{TAG}params")
    return Champion(version, tags.get(f"{TAG}estimator") if params else None, json.loads(params or "{}"))


def promote(
    name: str,
    version: str | None,
    alias: str,
    *,
    metric: str = "ndcg_at_10",
    margin: float = 0.0,
    min_test_users: int = 20,
    force: bool = False,
    tracking_uri: str,
    registry_uri: str | None = None,
    folder: Path | None = None,
) -> Promotion:
    """Point `alias` of model `name` to `version` (None: the newest).

    Records the digest of the version's files, which are fetched to `folder` for that; runs compare with it. A digest
    that was recorded before stays: files that have changed since are refused with `InputError`.

    Refused with `InputError`, unless `force`, when the version's `metric` is not known, rests on fewer than
    `min_test_users`, was not compared with the version the alias points to now on the same events, or is below
    (1 - margin) times that one's. Who, when and from which version goes into the version's tags. A version that the
    alias points to already keeps them.
    """
    registry = Registry.open(tracking_uri, registry_uri)
    candidate = registry.version(f"models:/{name}/{version}") if version else registry.newest(name)
    chosen, previous = str(candidate.version), registry.alias(name, alias)
    if previous != chosen and not force:
        _require_measured(candidate, metric=metric, least=min_test_users)
        if previous is not None:
            present = registry.version(f"models:/{name}/{previous}")
            _require_no_worse(candidate, present, metric=metric, margin=margin)
    recorded = _recorded_digest(name, chosen, folder, tracking_uri=tracking_uri, registry_uri=registry_uri)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"by": _who(), "at": now, "from": previous or "", "forced": str(force).lower()}
    tags = {f"{TAG}promoted_{key}": value for key, value in record.items()} if previous != chosen else {}
    registry.move(name, alias, chosen, {**tags, **recorded})
    return Promotion(name, alias, chosen, previous)


def _recorded_digest(
    name: str, version: str, folder: Path | None, *, tracking_uri: str, registry_uri: str | None
) -> dict[str, str]:
    if folder is None:
        return {}
    pinned = pin(f"models:/{name}/{version}", tracking_uri=tracking_uri, registry_uri=registry_uri)
    files = download(pinned, folder)
    if pinned.digest is not None:
        verify(files, pinned.digest)
        return {}
    return {DIGEST_TAG: digest(files)}


def _require_measured(candidate: "ModelVersion", *, metric: str, least: int) -> None:
    figure, users = _figure(candidate, metric), _figure(candidate, "test_users") or 0.0
    if figure is not None and users >= least:
        return
    found = (
        f"its {metric} is not known"
        if figure is None
        else f"its {metric} rests on {users:.0f} users, at least {least} are needed (model.train.min_test_users)"
    )
    raise InputError(
        f"version {candidate.version} of {candidate.name} stays registered and was not promoted: {found}. Train on "
        f"more events or by another split (model.train.split), or promote it all the same with --force"
    )


def _require_no_worse(candidate: "ModelVersion", present: "ModelVersion", *, metric: str, margin: float) -> None:
    """Compare two versions by figures of the same events: those that one of them was compared with when it was made."""
    if candidate.tags.get(f"{TAG}champion") == str(present.version):
        new, old = _figure(candidate, metric), _figure(candidate, f"champion_{metric}")
    elif present.tags.get(f"{TAG}champion") == str(candidate.version):
        new, old = _figure(present, f"champion_{metric}"), _figure(present, metric)
    else:
        new, old = None, None
    if new is None or old is None:
        raise InputError(
            f"version {candidate.version} of {candidate.name} stays registered and was not promoted: it was never "
            f"compared on the same events with version {present.version}, which the alias points to now. Train again: "
            f"{typed('train')}. It compares with that version, if it knows how it was made. Or promote it all the same "
            "with --force"
        )
    if new >= old * (1 - margin):
        return
    raise InputError(
        f"version {candidate.version} of {candidate.name} stays registered and was not promoted: its {metric} is "
        f"{new:.4f}, that of version {present.version}, which the alias points to now, on the same events is {old:.4f} "
        f"(margin {margin:.0%}). Promote it all the same with --force, or keep the present one"
    )


def _figure(version: "ModelVersion", name: str) -> float | None:
    """A number from the tags of a version; None if there is none, or NaN."""
    try:
        value = float((version.tags or {})[f"{TAG}{name}"])
    except (KeyError, ValueError):
        return None
    return None if isnan(value) else value


def _who() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
