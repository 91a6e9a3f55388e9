"""How a model is packed for the workers, and what executors that lack something are told."""

from pathlib import Path

import pytest

from scoreline import __version__
from scoreline.errors import ConfigurationError
from scoreline.pipeline.distribute import _packed, _require_version, _why


def test_packing_twice_packs_once(tmp_path: Path) -> None:
    model = tmp_path / "films" / "3-abcdef01"
    model.mkdir(parents=True)
    (model / "MLmodel").write_text("flavors: {}")
    first = _packed(model).stat()
    assert _packed(model).stat().st_mtime_ns == first.st_mtime_ns


def test_executors_with_another_version_are_named() -> None:
    found = [{"host": "a", "scoreline": __version__}, {"host": "b", "scoreline": "0.0.1"}]
    with pytest.raises(ConfigurationError, match=r"executor on b has scoreline 0\.0\.1, the driver .*--py-files"):
        _require_version(found)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("ModuleNotFoundError: No module named 'scoreline'", "The executors have no package scoreline. Ship it"),
        ("ModuleNotFoundError: No module named 'pyarrow'", "lack a dependency: .*'pyarrow'.* packed environment"),
        ("RuntimeError: [PYTHON_VERSION_MISMATCH] 3.9", r"cannot run Python for this job: .*3\.9"),
    ],
)
def test_what_executors_lack_is_said_with_what_to_do(said: str, advice: str) -> None:
    with pytest.raises(ConfigurationError, match=advice):
        raise ConfigurationError(_why(said))
