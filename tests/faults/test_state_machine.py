"""Runs, rollbacks, kills, other clocks and strangers in any order: the logs never hide a user who is due.

After each step the answer of the logs, where there is one, is compared with that of all keys; and a night that nobody
disturbs leaves nobody due. `make faults` does it 20,000 times.
"""

import os
import random
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from faults.spark_world import Both
from faults.tally import Tally
from faults.world import T0, Begun, Row, World

FAULT = "who is due, by logs and by keys"
STEPS = 30
HOSTS = [timedelta(0), timedelta(minutes=20), timedelta(minutes=-20)]
NON_DATA_OPERATIONS = ["OPTIMIZE", "VACUUM START", "ADD COLUMNS", "SET TBLPROPERTIES"]


class Pipeline:
    """Both tables, the runs between opening and publishing, on whatever host, and what can happen to them."""

    def __init__(self, world: World, *, clocks: bool, races: bool = True) -> None:
        self.world, self.now, self.model, self.clocks, self.races = world, T0, "1", clocks, races
        self.runs: list[Begun] = []
        self.exact = world.window == 200  # no clock was wrong, and the whole log is looked at

    def clock(self, dice: random.Random) -> datetime:
        """Some host's."""
        self.now += timedelta(minutes=5)
        offset = dice.choice(HOSTS) if self.clocks and dice.random() < 0.3 else HOSTS[0]
        self.exact = self.exact and not offset
        return self.now + offset

    def some(self, dice: random.Random, among: Any) -> frozenset[int]:
        return frozenset(dice.sample(sorted(among), min(len(among), dice.randint(1, 3))))

    # what we do

    def ingest(self, dice: random.Random) -> None:
        self.world.ingest(sorted(self.some(dice, range(12))), self.clock(dice))

    def open_a_run(self, dice: random.Random) -> None:
        if len(self.runs) < 3:
            self.runs.append(self.begun(dice))

    def begun(self, dice: random.Random) -> Begun:
        quarter, verify = self.races and dice.random() < 0.2, dice.random() < 0.2
        users = self.some(dice, range(14)) if not (quarter or verify) and dice.random() < 0.2 else None
        return self.world.begin(self.clock(dice), model=self.model, quarter=quarter, verify=verify, users=users)

    def publish(self, dice: random.Random) -> None:
        if self.runs:
            run = self.runs.pop(dice.randrange(len(self.runs)))
            self.finish(run, dice, failing=0.2)

    def finish(self, run: Begun, dice: random.Random, *, failing: float) -> None:
        failed = frozenset(run.to_score[:1]) if dice.random() < failing else frozenset[int]()
        self.world.finish(run, failed, self.slipping_in(dice))

    def slipping_in(self, dice: random.Random) -> Row | None:
        if self.races and dice.random() < 0.1:
            return Row(dice.randrange(14), 0, dice.choice("12"), T0, "slipped in")
        return None

    def kill(self, dice: random.Random) -> None:
        if self.runs:
            self.runs.pop(dice.randrange(len(self.runs)))

    def roll_back(self, dice: random.Random) -> None:
        if published := [c.version for c in self.world.target.commits if c.kind == "publish"]:
            base = self.world.target.version - (self.races and dice.random() < 0.25)  # a stranger may be faster
            earlier = [version for version in published[-4:] if version <= base]
            if earlier:
                self.world.rollback(dice.choice(earlier), base=base, slipped_in=self.slipping_in(dice))

    def promote(self, dice: random.Random) -> None:
        self.model = dice.choice("12")

    def wait(self, dice: random.Random) -> None:
        self.now += timedelta(hours=dice.randint(1, 5))

    def set_the_clock(self, dice: random.Random) -> None:
        if self.clocks:
            hours = dice.randint(-9, 9)
            self.now += timedelta(hours=hours)
            self.exact = self.exact and hours >= 0

    # what strangers do

    def delete(self, dice: random.Random) -> None:
        if there := {row.user for row in self.world.target.rows}:
            self.world.delete(self.some(dice, there))

    def update(self, dice: random.Random) -> None:
        if there := {row.user for row in self.world.target.rows}:
            self.world.update(self.some(dice, there))

    def append(self, dice: random.Random) -> None:
        self.world.append(dice.randrange(14), dice.choice("12"))

    def forget(self, dice: random.Random) -> None:
        if len(self.world.history.rows) > 5:
            self.world.forget(self.some(dice, self.world.history.rows))

    def make_anew(self, dice: random.Random) -> None:
        self.world.make_anew(self.clock(dice))
        self.exact = False  # all its ingests have one clock

    def rewrite(self, dice: random.Random) -> None:
        self.world.rewrite(self.some(dice, self.world.history.rows))

    def restore(self, dice: random.Random) -> None:
        log = dice.choice([self.world.target, self.world.target, self.world.history])
        if log.version:
            to = dice.randint(max(1, log.version - 5), log.version)
            self.world.restore(log, to, by_time=self.races and dice.random() < 0.3)

    def tend(self, dice: random.Random) -> None:
        self.world.harmless(dice.choice([self.world.target, self.world.history]), dice.choice(NON_DATA_OPERATIONS))


Action = Callable[[Pipeline, random.Random], None]
OURS: list[Action] = [
    Pipeline.ingest,
    Pipeline.open_a_run,
    Pipeline.publish,
    Pipeline.roll_back,
    Pipeline.tend,
    Pipeline.wait,
]
RARE: list[Action] = [
    Pipeline.kill, Pipeline.promote, Pipeline.set_the_clock, Pipeline.delete, Pipeline.update, Pipeline.append,
    Pipeline.forget, Pipeline.rewrite, Pipeline.restore, Pipeline.make_anew,
]  # fmt: skip
actions = st.sampled_from(OURS * 3 + RARE)
seeds = st.integers(0, 2**32)


class Nights(RuleBasedStateMachine):
    steps = 0

    def __init__(self) -> None:
        super().__init__()
        self.pipeline = Pipeline(World(), clocks=False)

    @initialize(window=st.sampled_from([200, 200, 6]), aged=st.booleans(), clocks=st.booleans())
    def begin(self, window: int, aged: bool, clocks: bool) -> None:
        world = World(window=window, max_age=timedelta(hours=8) if aged else None)
        self.pipeline = Pipeline(world, clocks=clocks)
        world.ingest(range(8), self.pipeline.clock(random.Random(0)))

    @rule(action=actions, seed=seeds)
    def act(self, action: Action, seed: int) -> None:
        action(self.pipeline, random.Random(seed))

    @rule(meanwhile=st.lists(actions, max_size=2), seed=seeds)
    def night(self, meanwhile: list[Action], seed: int) -> None:
        """A run, and what else happens between its opening and its publication."""
        dice = random.Random(seed)
        run = self.pipeline.begun(dice)
        for action in meanwhile:
            action(self.pipeline, dice)
        self.pipeline.finish(run, dice, failing=0.1)

    @rule(seed=seeds)
    def a_night_that_nobody_disturbs_leaves_nobody_due(self, seed: int) -> None:
        world, now = self.pipeline.world, self.pipeline.clock(random.Random(seed))
        run = world.begin(now, model=self.pipeline.model)
        world.finish(run)
        assert world.due_by_keys(now, self.pipeline.model) == {}

    @invariant()
    def nobody_publishes_over_what_was_published_since_it_began(self) -> None:
        ours = [c for c in self.pipeline.world.target.commits if c.kind in ("publish", "rollback")]
        for before, commit in pairwise(ours):
            assert commit.base_version >= before.version

    @invariant()
    def the_logs_hide_nobody(self) -> None:
        Nights.steps += 1
        pipeline, world = self.pipeline, self.pipeline.world
        news = world.news(pipeline.now)
        if news is None:
            return
        by_logs, by_keys = world.due_by_logs(news, pipeline.model), world.due_by_keys(pipeline.now, pipeline.model)
        assert set(by_keys) <= set(by_logs), "due, and the logs do not say so"
        if pipeline.exact:
            assert set(by_keys) == set(by_logs), "not due, and the logs say so"


@pytest.mark.parametrize(
    "steps", [2_000, pytest.param(int(os.environ.get("SCORELINE_STEPS", "20000")), marks=pytest.mark.slow)]
)
@pytest.mark.timeout(3_000)
def test_the_logs_never_hide_a_user_who_is_due(steps: int, tally: Tally) -> None:
    Nights.steps = 0
    machine = Nights.TestCase
    machine.settings = settings(
        max_examples=steps * 5 // 4 // STEPS,  # some end before their last step
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    machine().runTest()
    tally(FAULT, "steps", times=Nights.steps)
    assert Nights.steps >= steps


REAL = [action for action in [*OURS * 2, *RARE] if action != Pipeline.make_anew]


@pytest.mark.parametrize("steps", [8, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])])
def test_real_tables_agree_with_the_world_after_each_step(
    steps: int, pipeline: Any, tmp_path: Path, tally: Tally
) -> None:
    dice = random.Random(steps)
    world = Both(pipeline, tmp_path)
    there = Pipeline(world, clocks=True, races=False)
    world.ingest(range(8), there.clock(dice))
    for _ in range(steps):
        if dice.random() < 0.5:
            run = there.begun(dice)
            dice.choice(REAL)(there, dice)
            there.finish(run, dice, failing=0.1)
        else:
            dice.choice(REAL)(there, dice)
        world.check(there.now, there.model)
        tally("real tables agree with the model of them", "steps")
