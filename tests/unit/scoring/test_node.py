"""The model is unpacked once per node, and a wrong package is said in one sentence."""

import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from scoreline import __version__
from scoreline.errors import RunFailed
from scoreline.pipeline.distribute import _packed
from scoreline.scoring.node import Shipment, model_folder, score_shipped, unpacked


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    model = tmp_path / "films" / "3-abcdef01"
    (model / "artifacts").mkdir(parents=True)
    (model / "MLmodel").write_text("flavors: {}")
    (model / "artifacts" / "factors.npy").write_bytes(os.urandom(100_000))
    return _packed(model)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "node").mkdir()
    return tmp_path / "node"


def test_an_archive_holds_the_folder_and_says_which_model_it_is(archive: Path, place: Path) -> None:
    assert archive.name == "films-3-abcdef01.zip"
    folder = unpacked(archive, place)
    original = archive.with_name("3-abcdef01")
    files = {path.relative_to(original) for path in original.rglob("*")}
    assert {path.relative_to(folder) for path in folder.rglob("*")} == files
    assert (folder / "artifacts/factors.npy").read_bytes() == (original / "artifacts/factors.npy").read_bytes()


def inode(arguments: tuple[Path, Path]) -> int:
    return (unpacked(*arguments) / "artifacts" / "factors.npy").stat().st_ino


def test_many_workers_at_once_share_one_copy(archive: Path, place: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("spawn")) as processes, ThreadPoolExecutor(4) as threads:
        found = [*processes.map(inode, [(archive, place)] * 6), *threads.map(inode, [(archive, place)] * 6)]
    assert len(set(found)) == 1
    assert sorted(path.suffix for path in place.iterdir()) == ["", ".lock"]


def test_what_nobody_asked_for_in_a_week_is_removed(archive: Path, place: Path) -> None:
    old, young = place / "old", place / "young"
    for folder in (old, young):
        folder.mkdir()
    os.utime(old, (time.time() - 8 * 24 * 3600,) * 2)
    unpacked(archive, place)
    assert (old.exists(), young.exists()) == (False, True)


def test_a_broken_archive_leaves_nothing_that_looks_like_a_model(archive: Path, place: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:1000])
    with pytest.raises(RunFailed, match=r"archive films-3-abcdef01\.zip cannot be unpacked into .*arrive in part\?"):
        unpacked(archive, place)
    assert not (place / archive.stem).exists()


def test_a_folder_that_all_see_is_used_as_it_is(tmp_path: Path) -> None:
    assert model_folder(Shipment(str(tmp_path), None), str) == tmp_path


def test_a_worker_with_another_version_scores_nothing() -> None:
    with pytest.raises(RuntimeError, match=rf"has scoreline {__version__}, the driver 9\.9: install the same version"):
        score_shipped(Shipment("unused", None, version="9.9"), None, str, iter([]))  # type: ignore[arg-type]
