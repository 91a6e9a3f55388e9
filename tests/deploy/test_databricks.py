"""The Databricks bundle: each resource by Databricks' own classes, the file around them by the keys it may have."""

from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.filled import DEPLOY, Change, changed

jobs = pytest.importorskip("databricks.bundles.jobs")
endpoints = pytest.importorskip("databricks.bundles.model_serving_endpoints")

FOLDER = DEPLOY / "databricks"
BUNDLE = yaml.safe_load((FOLDER / "databricks.yml").read_text())
JOBS = yaml.safe_load((FOLDER / "resources" / "jobs.yml").read_text())["resources"]["jobs"]
ENDPOINTS = yaml.safe_load((FOLDER / "resources" / "serving.yml").read_text())["resources"]["model_serving_endpoints"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Permission(Strict):
    group_name: str
    level: Literal["CAN_VIEW", "CAN_MANAGE", "CAN_RUN"]


class Target(Strict):
    mode: Literal["development", "production"]
    default: bool = False
    variables: dict[str, str] = {}
    workspace: dict[Literal["root_path", "host"], str] = {}
    run_as: dict[Literal["service_principal_name", "user_name"], str] = {}
    permissions: list[Permission] = []


class Variable(Strict):
    description: str
    default: str | None = None


class Bundle(Strict):
    bundle: dict[Literal["name"], str]
    include: list[str]
    sync: dict[Literal["include", "exclude"], list[str]]
    variables: dict[str, Variable]
    targets: dict[str, Target]


def check_job(document: dict[str, Any]) -> None:
    found = jobs.Job.from_dict(document)
    known = {task.task_key for task in found.tasks}
    for task in found.tasks:
        assert {needed.task_key for needed in task.depends_on} <= known
        assert task.environment_key in {environment.environment_key for environment in found.environments}
    if found.schedule:
        assert len(found.schedule.quartz_cron_expression.split()) in (6, 7), "quartz begins with seconds"


@pytest.mark.parametrize("name", JOBS)
def test_databricks_knows_every_field_of_a_job(name: str) -> None:
    check_job(JOBS[name])


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(max_concurrent_run=1),
        lambda d: d["queue"].update(enabled="sometimes"),
        lambda d: d["schedule"].update(quartz="0 30 2 * * ?"),
        lambda d: d["schedule"].update(quartz_cron_expression="30 2 * * *"),
        lambda d: d["schedule"].update(pause_status="RUNNING"),
        lambda d: d["tasks"][0]["python_wheel_task"].update(entrypoint="scoreline"),
        lambda d: d["tasks"][1].update(depends_on=[{"task_key": "injest"}]),
        lambda d: d["tasks"][1].update(environment_key="none"),
        lambda d: d["permissions"][0].update(level="CAN_DO"),
    ],
)
def test_databricks_notices_a_mistake_in_a_job(change: Change) -> None:
    with pytest.raises((ValueError, AssertionError)):
        check_job(changed(JOBS["nightly"], change))


@pytest.mark.parametrize(
    ("job", "change"),
    [
        ("on_new_files", lambda d: d["trigger"]["file_arrival"].update(path="/x")),
        ("on_changed_histories", lambda d: d["trigger"]["table_update"].update(condition="SOMETIMES")),
        ("on_changed_histories", lambda d: d["trigger"]["table_update"].update(tables=[])),
        ("on_new_champion", lambda d: d["trigger"]["model"].update(condition="MODEL_ALIAS_MOVED")),
        ("on_new_champion", lambda d: d["trigger"]["model"].update(alias="champion")),
    ],
)
def test_databricks_notices_a_mistake_in_a_trigger(job: str, change: Change) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_job(changed(JOBS[job], change))


def test_databricks_knows_every_field_of_the_endpoint() -> None:
    for document in ENDPOINTS.values():
        endpoints.ModelServingEndpoint.from_dict(document)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["config"]["served_entities"][0].update(workload="Small"),
        lambda d: d["config"]["served_entities"][0].update(workload_type="TPU"),
        lambda d: d["permissions"][0].update(level="CAN_ASK"),
    ],
)
def test_databricks_notices_a_mistake_in_the_endpoint(change: Change) -> None:
    with pytest.raises(ValueError, match=r"."):
        endpoints.ModelServingEndpoint.from_dict(changed(ENDPOINTS["fraud"], change))


def test_the_bundle_has_only_keys_that_bundles_have() -> None:
    Bundle.model_validate(BUNDLE)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(variable={}),
        lambda d: d["targets"]["dev"].update(mode="test"),
        lambda d: d["targets"]["prod"]["permissions"][0].update(level="CAN_ALL"),
        lambda d: d["targets"]["prod"].update(runas={}),
    ],
)
def test_a_mistake_in_the_bundle_is_noticed(change: Change) -> None:
    with pytest.raises(ValidationError):
        Bundle.model_validate(changed(BUNDLE, change))


def test_each_target_has_a_schema_of_its_own_and_every_variable_is_declared() -> None:
    schemas = {name: target["variables"]["schema"] for name, target in BUNDLE["targets"].items()}
    assert len(set(schemas.values())) == len(schemas) == 3
    text = "".join((FOLDER / "resources" / name).read_text() for name in ("jobs.yml", "serving.yml"))
    used = {part.split("}")[0] for part in text.split("${var.")[1:]}
    assert used <= set(BUNDLE["variables"])


def test_jobs_never_run_twice_at_once_and_tasks_are_steps_of_the_command() -> None:
    from scoreline.deploy.submit import JOBS as STEPS

    for job in JOBS.values():
        assert (job["max_concurrent_runs"], job["queue"]) == (1, {"enabled": True})
        for task in job["tasks"]:
            assert task["python_wheel_task"]["parameters"][0] == task["task_key"] in STEPS


def test_a_new_champion_starts_a_run_with_that_model() -> None:
    trigger = JOBS["on_new_champion"]["trigger"]["model"]
    [alias] = trigger["aliases"]
    uri = f"--set=model.uri=models:/{trigger['securable_name']}@{alias}"
    with_model = [t for job in JOBS.values() for t in job["tasks"] if t["task_key"] in ("ingest", "run", "train")]
    assert [t["task_key"] for t in with_model if uri not in t["python_wheel_task"]["parameters"]] == []
