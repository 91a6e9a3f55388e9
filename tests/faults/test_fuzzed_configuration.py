"""Configurations at random: each is valid, or one clear message and exit code 2; never a stack trace."""

import copy
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from faults.tally import Tally
from scoreline.cli import main as cli
from scoreline.config.loading import load_settings
from scoreline.errors import ConfigurationError

CONF = Path(__file__).parents[2] / "conf" / "demo.yaml"
ODD: list[Any] = [
    None, "", " ", 0, -1, 1.5, 10**30, float("nan"), True, [], {}, [[]], {"a": {"b": 1}}, "${NOBODY_SET_THIS}", "${",
    "a" * 5000, "é\u0000", "../../etc/passwd", "'; DROP TABLE x; --", "`", "x://a:b@c", "7 parsecs", "1e400", b"bytes",
    {1: 2}, {None: None}, [None], "models:/", "NaN", "\n", "🙂", {"root": "a", "catalog": "b"},
]  # fmt: skip
NOISE = ["{", "[", ": ", "- ", "\t", "&a *a", "!!python/object:os.system x", "%", "---\n", "\x00", "|", "? ", "'", '"']


def _places(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(tree, dict):
        for key, child in tree.items():
            yield (*at, key)
            yield from _places(child, (*at, key))


def _mutated(tree: dict[str, Any], dice: random.Random) -> str:
    changed = copy.deepcopy(tree)
    for _ in range(dice.randint(1, 3)):
        *parents, key = dice.choice(list(_places(changed)) or [("x",)])
        node: Any = changed
        for parent in parents:
            node = node[parent]
        what = dice.choice(["value", "key", "remove", "add"])
        if what == "value":
            node[key] = dice.choice(ODD)
        elif what == "key":
            node[f"{key}{dice.choice('sx_. ')}"] = node.pop(key)
        elif what == "add":
            node[dice.choice(["", "unknown", 7, "tables.root", "__class__"])] = dice.choice(ODD)
        else:
            node.pop(key)
    try:
        text = yaml.safe_dump(changed, allow_unicode=True)
    except yaml.YAMLError:
        text = str(changed)
    if dice.random() < 0.2:
        at = dice.randrange(len(text) + 1)
        text = text[:at] + dice.choice(NOISE) + text[at:]
    return text


@pytest.mark.parametrize("rounds", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_a_wrong_configuration_is_one_message_and_exit_code_2(
    rounds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], tally: Tally
) -> None:
    tree = yaml.safe_load(CONF.read_text(encoding="utf-8"))
    dice = random.Random(rounds)
    path = tmp_path / "fuzzed.yaml"
    refused = 0
    for _ in range(rounds):
        path.write_text(_mutated(tree, dice), encoding="utf-8", errors="replace")
        try:
            load_settings(path)
        except ConfigurationError:
            refused += 1
            with pytest.raises(SystemExit) as left:
                cli.entry(["plan", "--config", str(path)])
            said = capsys.readouterr().err
            assert left.value.code == 2, path.read_text()
            assert said.startswith("error: ")
            assert "Traceback" not in said
            assert str(path) in said
    assert refused > rounds / 2
    tally("configuration fuzzed", "refused", times=refused)
    tally("configuration fuzzed", "valid", times=rounds - refused)
