"""The benchmark's judgement: a fast wrong answer is called wrong, and why; and everybody's cost from subsets."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sp

import check
import figures
import page
import table
import workload
from job import usual_top_k

K = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest workload, with factors that need no peer."""
    return workload.make(tmp_path_factory.mktemp("work"), "XS", peer_python="/nowhere", kinds=workload.KINDS)


@pytest.fixture
def lists(made: Path) -> np.ndarray:
    """Right lists of the first 300 users, as item rows."""
    seen = sp.load_npz(made / "events.npz")[:300]
    users = np.load(made / "folded_users.npy")[:300]
    return usual_top_k(users, np.load(made / "als_items.npy"), seen, K)[0]


def judged(made: Path, lists: list[list[int]], tmp_path: Path) -> dict[str, int]:
    ids = [[item + 1 for item in row] for row in lists]
    users = range(1, len(ids) + 1)
    pq.write_table(pa.table({"user_id": list(users), "item_ids": ids}), tmp_path / "lists.parquet")
    found = check.check_job(made, tmp_path, users=300, k=K)
    return {verdict: count for verdict, count in found.items() if count}


def test_right_lists_are_right(made: Path, lists: np.ndarray, tmp_path: Path) -> None:
    found = judged(made, lists.tolist(), tmp_path)
    assert set(found) <= {"right", "rounding"}
    assert found["right"] > 290


def test_wrong_lists_are_called_wrong_and_why(made: Path, lists: np.ndarray, tmp_path: Path) -> None:
    wrong = lists.tolist()
    seen = sp.load_npz(made / "events.npz")
    wrong[0][2] = int(seen[0].indices[0])
    wrong[1] = wrong[1][:-1]
    wrong[2][1] = wrong[2][0]
    unliked = np.setdiff1d(np.arange(seen.shape[1]), np.append(seen[3].indices, lists[3]))
    wrong[3][-1] = int(unliked[-1])
    wrong[4] = wrong[4][::-1]
    found = judged(made, wrong[:-1], tmp_path)
    assert {name: found.get(name, 0) for name in check.WRONG} == {"seen": 1, "short": 2, "other": 2, "missing": 1}
    assert figures.lists_said(found | {v: found.get(v, 0) for v in check.VERDICTS}).startswith("WRONG 6 of 300")


def test_neighbours_swapped_by_rounding_are_not_wrong() -> None:
    scores = np.array([0.5, 1.0, 1.0 + 1e-7, 0.9, 0.8])
    nobody = np.empty(0, np.int64)
    assert check.verdict(scores, nobody, np.array([1, 2]), k=2) == "rounding"
    assert check.verdict(scores, nobody, np.array([1, 3]), k=2) == "other"
    assert check.verdict(scores, nobody, np.array([2, 1]), k=2) == "right"


@pytest.mark.parametrize("layout", ["structs", "rows"])
def test_other_layouts_of_lists_are_read(layout: str, tmp_path: Path) -> None:
    structs = [[{"item_id": 4, "score": 2.0}, {"item_id": 2, "score": 1.0}], [{"item_id": 1, "score": 3.0}]]
    rows = {"user_id": [2, 1, 1], "item_id": [1, 2, 4], "score": [3.0, 1.0, 2.0]}
    table = pa.table({"user_id": [1, 2], "recommendations": structs} if layout == "structs" else rows)
    pq.write_table(table, tmp_path / "part.parquet")
    found = check.read_lists(tmp_path, users=10)
    assert {user: items.tolist() for user, items in found.items()} == {0: [3, 1], 1: [0]}


def test_cost_for_everybody_is_the_line_through_two_subsets() -> None:
    def run(users: int, cpu: float) -> dict[str, object]:
        return {"users": users, "peak_mib": 1.0, "stages": {"job 1": {"cpu": cpu, "wall": cpu / 2}}}

    cost = figures.cost({"everyone": 1_000, "runs": [run(100, 12.0), run(200, 14.0)]})
    assert cost is not None
    assert (cost.cpu, cost.wall, cost.basis) == (30.0, 15.0, "from 100 and 200 users")


def test_page_and_table_stand_whatever_failed(tmp_path: Path) -> None:
    right = dict.fromkeys(check.VERDICTS, 0) | {"right": 10}
    spent = {"cpu": 2.0, "wall": 1.0}
    stages = dict.fromkeys(("session", "job 1", "job 2", "run one", "run one again", "run share"), spent)
    run = {"users": 9, "peak_mib": 1.0, "workers_mib": 1.0, "stages": stages, "steps": {}, "verdicts": right}
    ours = {"label": "this project", "size": "L", "everyone": 9, "runs": [run]}
    results = {
        "about": {"began": "today", "origin": "nowhere"},
        "job-L-ours": {"state": "done", "found": ours},
        "job-L-replay": {"state": "not here", "message": "no environment"},
        "kernel-als": {"state": "failed", "message": "exit code 1: MemoryError"},
    }
    said = table.as_text(results)
    assert "no environment" in said
    assert "MemoryError" in said
    written = page.write(results, tmp_path)
    assert "this project | 2.0 | 2.0 |" in written.read_text()
    picture = (tmp_path / "performance.svg").read_bytes()
    page.write(results, tmp_path)
    assert (tmp_path / "performance.svg").read_bytes() == picture


def test_the_page_says_what_stands_in_the_way_of_a_target_that_is_missed_only(tmp_path: Path) -> None:
    def kernels(naive: float) -> dict[str, object]:
        rows = {
            name: {"us": us, "verdicts": None} for name, us in {"ours": 10.0, "gemm": 100.0, "naive": naive}.items()
        }
        absent = {name: {"absent": True} for name in ("implicit", "faiss")}
        return {"kernel-als": {"state": "done", "found": {"rows": rows | absent}}}

    missed = page.write(kernels(naive=790.0), tmp_path).read_text()
    assert "naive NumPy top-K | kernel, S, ALS factors | ≥ 80× | 79.0× | **not reached** |" in missed
    assert "costs no more than 7.9 matrix products, and 80 times\n  less than that would be 9.9 µs a user." in missed
    assert "in the way" not in page.write(kernels(naive=801.0), tmp_path).read_text()


def test_each_point_belongs_to_a_target() -> None:
    results = {"about": {}}
    written = (Path(page.__file__).parent / "in_the_way.template.md").read_text().split("\n\n")
    heads = {head for part in written for head in part.partition("\n")[0].split(" | ")}
    assert heads <= {target.against for target in figures.targets(results, "L")}
