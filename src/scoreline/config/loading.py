"""The one reader of YAML files, of pipelines, targets and servers: `${ENV}` replaced, all errors in one line each.

A cluster's driver reads the file from where it was uploaded: a path with `://` is fetched by Arrow's file systems, with
the credentials of the machine, because Spark is not started before the file is valid.
"""

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from scoreline.config.keys import section_in
from scoreline.config.overrides import apply
from scoreline.config.settings import Settings
from scoreline.errors import ConfigurationError, told
from scoreline.redaction import is_secret_name, redacted, remember, remember_in, secrets_in

M = TypeVar("M", bound=BaseModel)

_ENV = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def load_settings(
    source: Path | str | Mapping[str, object],
    overrides: Sequence[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
) -> Settings:
    """Read, complete and validate one file, or what one would say: a mapping may hold a secret, a file may not.

    `overrides` are `key=value`, of the keys that `scoreline.config.overrides` lists. `${NAME}` and
    `${NAME:-default}` are replaced from `environment` (default: the process's). Raises ConfigurationError with a
    line per mistake.
    """
    if isinstance(source, Mapping):
        tree, path = deepcopy(dict(source)), "configuration"
        apply(tree, overrides)
    else:
        tree, path = _read(source), str(source)
        apply(tree, overrides)
        require_references(tree, path)
    return _checked(_expanded(tree, os.environ if environment is None else environment, path), path, Settings)


def load_file(path: Path, model: type[M]) -> M:
    """Read another of our YAML files by the model that says what it may hold."""
    return _checked(_expanded(_read(path), os.environ, path), path, model)


def load_kind(path: Path, kinds: Mapping[str, type[M]], *, variables: Mapping[str, str]) -> M:
    """Read a file whose key `kind` says by which model; `variables` win over the environment."""
    expanded = _expanded(_read(path), {**os.environ, **variables}, path)
    if (model := kinds.get(str(expanded.get("kind")))) is None:
        raise ConfigurationError(f"{path}: kind: expected {' or '.join(kinds)}, found {expanded.get('kind')!r}.")
    return _checked(expanded, path, model)


def _checked(tree: Mapping[str, object], path: Path | str, model: type[M]) -> M:
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path, model)) from None


def _expanded(tree: Mapping[str, object], environment: Mapping[str, str], path: Path | str) -> dict[str, object]:
    expanded = {key: expand(value, environment, path) for key, value in tree.items()}
    _remember_all(expanded)
    _remember_addresses(expanded.get("notify"))
    _remember_key(expanded.get("lineage"))
    return expanded


def _read(path: Path | str) -> dict[str, object]:
    try:
        tree = yaml.safe_load(_text(path))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        where = f", line {mark.line + 1}" if (mark := getattr(error, "problem_mark", None)) else ""
        reason = getattr(error, "problem", None) or type(error).__name__
        inside = getattr(error, "context", "") == "while parsing a flow mapping" and "{" in reason
        advice = ' Inside of { } a reference is put in quotes: {root: "${ROOT}"}.' if inside else ""
        raise ConfigurationError(f"{path}{where}: not readable as YAML: {reason}.{advice}") from None
    if not isinstance(tree, dict):
        raise ConfigurationError(f"{path}: expected a mapping of keys at the top, found {type(tree).__name__}.")
    return tree


def _text(path: Path | str) -> str:
    if "://" in str(path):
        return _fetched(str(path))
    path = Path(path)
    if not path.is_file():
        found = sorted(str(p) for p in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        hint = f" There are: {', '.join(found)}." if found else ""
        raise ConfigurationError(f"{path}: no such configuration file.{hint}")
    return path.read_text(encoding="utf-8")


def _fetched(uri: str) -> str:
    import pyarrow as pa
    import pyarrow.fs

    try:
        files, path = pyarrow.fs.FileSystem.from_uri(uri.replace("s3a://", "s3://", 1))
        with files.open_input_stream(path) as stream:
            return bytes(stream.read()).decode()
    except (OSError, pa.ArrowException) as error:
        raise ConfigurationError(f"{uri}: this configuration file could not be fetched: {told(error)}") from None


def require_references(value: object, path: Path | str, place: tuple[str, ...] = ()) -> None:
    """A secret in the file itself ends up in version control: it comes from the environment, by reference."""
    if isinstance(value, dict):
        for key, child in value.items():
            require_references(child, path, (*place, str(key)))
    elif isinstance(value, list):
        for child in value:
            require_references(child, path, place)
    elif not isinstance(value, bool) and isinstance(value, str | int) and _literal_secret(str(value), place):
        raise ConfigurationError(
            f"{path}: {'.'.join(place)}: a secret stands in the file (not shown). Put it into an environment "
            "variable and write its name: ${NAME}."
        )


def _literal_secret(value: str, place: tuple[str, ...]) -> bool:
    # what a reference leaves in the file is its default
    written = _ENV.sub(lambda match: match[2] or "", value)
    if place[:1] == ("spark",) or place[:2] == ("events", "kafka"):
        named = is_secret_name(place[-1]) and written not in ("", "true", "false")
        return named or bool(secrets_in(written))
    if place == ("lineage", "api_key"):
        return bool(written)
    # pairs count where they are a URL's: a query in SQL, or a path, may well name a column `token`
    if written.startswith("jdbc:"):
        return bool(secrets_in(written))
    return "://" in written and bool(secrets_in(written, named=False) or secrets_in(written.partition("?")[2]))


def expand(value: object, environment: Mapping[str, str], path: Path | str) -> object:
    """Replace `${NAME}` and `${NAME:-default}` in every string of a tree; a name unset is a ConfigurationError."""
    if isinstance(value, dict):
        return {key: expand(child, environment, path) for key, child in value.items()}
    if isinstance(value, list):
        return [expand(child, environment, path) for child in value]
    return expand_text(value, environment, path) if isinstance(value, str) else value


def expand_text(text: str, environment: Mapping[str, str], path: Path | str) -> str:
    """The same for one text."""

    def replaced(match: re.Match[str]) -> str:
        found = environment.get(match[1], match[2])
        if found is None:
            raise ConfigurationError(
                f"{path}: environment variable {match[1]} is not set, and ${{{match[1]}}} needs it."
            )
        if is_secret_name(match[1]):
            remember(found)
        return found

    return _ENV.sub(replaced, text)


def _remember_all(value: object) -> None:
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            _remember_all(child)
    elif isinstance(value, str) and ("://" in value or value.startswith("jdbc:")):
        remember_in(value)


def _remember_addresses(notify: object) -> None:
    """The path of such an address is its secret, whatever the variable is called that it came by."""
    for address in notify.get("to") or () if isinstance(notify, dict) else ():
        if isinstance(address, str) and address.partition("://")[2]:
            remember(address.partition("://")[2])


def _remember_key(lineage: object) -> None:
    if isinstance(lineage, dict) and isinstance(key := lineage.get("api_key"), str):
        remember(key)


def _explain(error: ValidationError, path: Path | str, model: type[BaseModel]) -> str:
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"]) or "the file"
        lines.append(f"{path}: {where}: {_sentence(problem, model)}")
    return redacted("\n".join(lines))


def _sentence(problem: ErrorDetails, model: type[BaseModel]) -> str:
    if problem["type"] == "extra_forbidden":
        return f"unknown key.{_nearest(problem['loc'], model)}"
    if problem["type"] == "missing":
        return "this key is required and was not found."
    if problem["type"] == "unknown_parameter":
        return str(problem["msg"])
    if (expected := _EXPECTED.get(problem["type"])) is not None:
        return f"expected {expected}. Found {_short(problem.get('input'))}."
    if problem["type"] == "literal_error":
        return f"expected {problem['ctx']['expected']}. Found {_short(problem.get('input'))}."
    found = problem.get("input")
    shown = "" if isinstance(found, dict | list) else f" Found {_short(found)}."
    return f"{problem['msg'].removeprefix('Value error, ')}.{shown}"


# pydantic's types of problems, in our words
_EXPECTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text (in quotes, if it looks like a number)",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a section with keys of its own",
    "model_type": "a section with keys of its own",
}


def _short(value: object) -> str:
    # a value that came by ${ENV} may be a secret: strings with credentials are not repeated
    text = repr(value)
    if "@" in text and "://" in text:
        return "a URL (not shown)"
    return text if len(text) <= 80 else text[:77] + "..."


def _nearest(location: Sequence[int | str], model: type[BaseModel]) -> str:
    section: type[BaseModel] | None = model
    for part in location[:-1]:
        if isinstance(part, int):  # the place in a list, whose annotation has told the section already
            continue
        field = section.model_fields.get(part) if section else None
        section = section_in(field.annotation) if field else None
    if section is None:
        return ""
    known = sorted(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f" Did you mean {close[0]}?" if close else f" Known keys: {', '.join(known)}."
