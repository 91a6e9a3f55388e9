"""Read a pipeline's YAML file into `Settings`: `${ENV}` replaced, `--set` applied, errors in one line each."""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from scoreline.errors import ConfigurationError
from scoreline.redaction import is_secret_name, remember
from scoreline.settings import Settings

# who may only start a job must not choose what code it runs
_LOCKED = ("model", "model.allow", "model.require_digest")
_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_settings(
    path: Path, overrides: Sequence[str] = (), *, environment: Mapping[str, str] | None = None
) -> Settings:
    """Read, complete and validate one file.

    `overrides` are `key=value` with dotted keys and YAML values (`scoring.k=50`). `${NAME}` and `${NAME:-default}` are
    replaced from `environment` (default: the process's). Raises ConfigurationError with a line per mistake.
    """
    tree = _read(path)
    for override in overrides:
        _apply(tree, override)
    _require_references(tree, (), path)
    expanded = _expand(tree, os.environ if environment is None else environment, path)
    try:
        return Settings.model_validate(expanded)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path)) from None


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        found = sorted(str(p) for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        hint = f" There are: {', '.join(found)}." if found else ""
        raise ConfigurationError(f"{path}: no such configuration file.{hint}")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        where = f", line {mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else ""
        reason = getattr(error, "problem", None) or type(error).__name__
        raise ConfigurationError(f"{path}{where}: not readable as YAML: {reason}.") from None
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path}: expected a mapping of keys at the top, found {type(tree).__name__}.")
    return tree


def _apply(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigurationError(f"--set {override}: expected key=value, such as scoring.k=50.")
    if key.strip() in _LOCKED:
        raise ConfigurationError(f"--set {key.strip()}: what guards the model is changed in the file only.")
    # keys below `spark` have dots of their own
    parts = ["spark", key.strip()] if key.startswith("spark.") else key.strip().split(".")
    node = tree
    for part in parts[:-1]:
        child = node.setdefault(part, {})
        if child is None:
            child = node[part] = {}
        if not isinstance(child, dict):
            raise ConfigurationError(f"--set {override}: {part} is a value, not a section.")
        node = child
    try:
        node[parts[-1]] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigurationError(f"--set {override}: the value is not readable as YAML.") from None


def _require_references(value: Any, place: tuple[str, ...], path: Path) -> None:
    """A secret in the file itself ends up in version control: it comes from the environment, by reference."""
    if isinstance(value, dict):
        for key, child in value.items():
            _require_references(child, (*place, str(key)), path)
    elif isinstance(value, str) and "${" not in value:
        # a URL's password, or a Spark setting that is named like one
        in_url = re.search(r"://[^\s/@:]*:([^\s/@]+)@", value)
        if in_url or (place[:1] == ("spark",) and is_secret_name(place[-1]) and value not in ("true", "false")):
            raise ConfigurationError(
                f"{path}: {'.'.join(place)}: a secret stands in the file (not shown). Put it into an environment "
                "variable and write its name: ${NAME}."
            )


def _expand(value: Any, environment: Mapping[str, str], path: Path) -> Any:
    if isinstance(value, dict):
        return {key: _expand(child, environment, path) for key, child in value.items()}
    if isinstance(value, list):
        return [_expand(child, environment, path) for child in value]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        found = environment.get(match[1], match[2])
        if found is None:
            raise ConfigurationError(
                f"{path}: environment variable {match[1]} is not set, and ${{{match[1]}}} needs it."
            )
        if is_secret_name(match[1]):
            remember(found)
        return found

    return _ENV.sub(replaced, value)


def _explain(error: ValidationError, path: Path) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        lines.append(f"{path}: {where}: {_sentence(problem)}")
    return "\n".join(lines)


def _sentence(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown key.{_nearest(problem['loc'])}"
    if problem["type"] == "missing":
        return "this key is required and was not found."
    found = problem.get("input")
    shown = "" if isinstance(found, dict | list) else f" Found {_short(found)}."
    return f"{problem['msg'].removeprefix('Value error, ')}.{shown}"


def _short(value: object) -> str:
    # a value that came by ${ENV} may be a secret: strings with credentials are not repeated
    text = repr(value)
    if "@" in text and "://" in text:
        return "a URL (not shown)"
    return text if len(text) <= 80 else text[:77] + "..."


def _nearest(location: Sequence[Any]) -> str:
    model: Any = Settings
    for part in location[:-1]:
        field = model.model_fields.get(part) if _is_section(model) else None
        model = _section_of(field.annotation) if field else None
    if not _is_section(model):
        return ""
    known = sorted(model.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f" Did you mean {close[0]}?" if close else f" Known keys: {', '.join(known)}."


def _is_section(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, BaseModel)


def _section_of(annotation: Any) -> Any:
    options = getattr(annotation, "__args__", (annotation,))
    return next((option for option in options if _is_section(option)), None)
