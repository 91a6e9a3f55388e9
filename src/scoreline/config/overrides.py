"""What `--set` may change: a list of what is allowed, everything else is for who may write the file.

A file that guards its model (`model.allow`, `model.require_digest`, `model.sha256`) says that whoever starts jobs is
not trusted with the choice of code: then places are locked as well, for the registry behind a name decides what the
name means. docs/threats.md has the reason for each key.
"""

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

import yaml

from scoreline.config.keys import leaves
from scoreline.config.settings import Settings
from scoreline.errors import ConfigurationError

__all__ = ["ALWAYS", "UNGUARDED", "apply"]

GUARDS = ("allow", "require_digest", "sha256")
# what a run asks for, how much of it at once, and what it tolerates; `model.uri` is what the guards look at
ALWAYS = (
    "scoring.*", "audit.*", "engine", "model.uri", "model.train.*", "events.max_bad_share",
    "spark.sql.shuffle.partitions", "spark.default.parallelism", "spark.sql.files.maxPartitionBytes",
    "spark.sql.autoBroadcastJoinThreshold", "spark.task.cpus",
    "spark.driver.memory", "spark.driver.memoryOverhead", "spark.driver.cores", "spark.driver.maxResultSize",
    "spark.executor.memory", "spark.executor.memoryOverhead", "spark.executor.cores", "spark.executor.instances",
    "spark.dynamicAllocation.enabled", "spark.dynamicAllocation.minExecutors", "spark.dynamicAllocation.maxExecutors",
)  # fmt: skip
# where things are and how they look: these win over the wider patterns above
UNGUARDED = (
    "tables.*", "mlflow.*", "keys.*", "events.*", "items.*", "histories.*", "input", "input.*", "export", "export.*",
    "scoring.allowed_items", "scoring.blocked_items", "model.folder", "model.shared", "spark.master",
)  # fmt: skip
# one spelling of a key, so that none slips past the patterns
_KEY = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_-]+)*")


def apply(tree: dict[str, object], overrides: Sequence[str]) -> None:
    """Change the keys of a file's tree, `key=value` with dotted keys and YAML values (`scoring.k=50`).

    Raises ConfigurationError for a key that is not on the list, or that the file's guards lock.
    """
    guarded = _guarded(tree)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(f"--set {key}: expected key=value, such as scoring.k=50.")
        _require_allowed(key.strip(), guarded=guarded)
        _set(tree, key.strip(), text)


def _guarded(tree: dict[str, object]) -> bool:
    model = tree.get("model")
    return isinstance(model, dict) and any(model.get(guard) not in (None, False) for guard in GUARDS)


def _require_allowed(key: str, *, guarded: bool) -> None:
    plain = _KEY.fullmatch(key) is not None
    place = plain and _fits(key, UNGUARDED) and key not in ALWAYS
    if place and guarded:
        raise ConfigurationError(
            f"--set {key}: this file guards its model ({', '.join(f'model.{guard}' for guard in GUARDS)}), so where "
            f"things are is changed in the file only. --set may change: {', '.join(ALWAYS)}."
        )
    if not place and not (plain and _fits(key, ALWAYS)):
        if plain and (close := _nearest(key)) is not None:
            raise ConfigurationError(f"--set {key}: there is no such key. Did you mean {close}?")
        more = "" if guarded else f", {', '.join(UNGUARDED)}"
        raise ConfigurationError(
            f"--set {key}: this is changed in the file only. --set may change: {', '.join(ALWAYS)}{more}."
        )


def _nearest(key: str) -> str | None:
    """The key that a misspelt one may mean; None for one that there is, and for those of Spark."""
    known = [*leaves(Settings)]
    if key in known or any(name.startswith(f"{key}.") or key.startswith(f"{name}.") for name in known):
        return None
    return next(iter(difflib.get_close_matches(key, known, n=1, cutoff=0.8)), None)


def _fits(key: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _set(tree: dict[str, object], key: str, text: str) -> None:
    # keys below `spark` have dots of their own
    parts = ["spark", key] if key.startswith("spark.") else key.split(".")
    node = tree
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise ConfigurationError(f"--set {key}: {part} is a value, not a section.")
        node = child
    try:
        node[parts[-1]] = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigurationError(f"--set {key}: the value is not readable as YAML.") from None
