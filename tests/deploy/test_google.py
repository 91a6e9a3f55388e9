"""Dataproc's job, batch and workflow template by its own protobuf messages."""

import json
from typing import Any

import pytest

from deploy.filled import Change, beside, changed, request

dataproc = pytest.importorskip("google.cloud.dataproc_v1")

DOCUMENTS = {
    "job": ("SubmitJobRequest", lambda: request("dataproc")),
    "batch": ("Batch", lambda: request("dataproc-batch")),
    "workflow": ("WorkflowTemplate", lambda: beside("dataproc/workflow-template.json")),
}


def check(message: str, document: dict[str, Any]) -> Any:
    return getattr(dataproc, message).from_json(json.dumps(document), ignore_unknown_fields=False)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_dataproc_knows_every_field(name: str) -> None:
    message, document = DOCUMENTS[name]
    check(message, document())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("job", lambda d: d["job"]["pysparkJob"].update(mainPythonFile="x")),
        ("job", lambda d: d["job"]["scheduling"].update(maxFailuresPerHour="two")),
        ("job", lambda d: d["job"]["placement"].update(cluster="scoreline")),
        ("batch", lambda d: d["pysparkBatch"].update(arguments=[])),
        ("batch", lambda d: d["runtimeConfig"].update(properties=["spark.executor.cores=4"])),
        ("batch", lambda d: d["environmentConfig"]["executionConfig"].update(ttl="4 hours")),
        ("workflow", lambda d: d["jobs"][1].update(prerequisites=["ingest"])),
        ("workflow", lambda d: d["placement"]["managedCluster"]["config"]["workerConfig"].update(numInstances="many")),
        ("workflow", lambda d: d["placement"]["managedCluster"]["config"].update(initActions=[])),
    ],
)
def test_dataproc_notices_a_mistake(name: str, change: Change) -> None:
    message, document = DOCUMENTS[name]
    with pytest.raises(Exception, match=r"(?i)pars|field|duration"):
        check(message, changed(document(), change))


def test_the_workflow_goes_from_events_to_the_application() -> None:
    jobs = beside("dataproc/workflow-template.json")["jobs"]
    order = [(job["stepId"], job.get("prerequisiteStepIds", [])) for job in jobs]
    assert order == [("ingest", []), ("score", ["ingest"]), ("export", ["score"])]


def test_the_schedule_starts_that_workflow() -> None:
    schedule, workflow = beside("dataproc/schedule.json"), beside("dataproc/workflow-template.json")
    assert schedule["httpTarget"]["uri"].endswith(f"/workflowTemplates/{workflow['id']}:instantiate")
