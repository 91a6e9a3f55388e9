"""EMR, EMR Serverless and their schedules by botocore's own model, and the model shown to notice mistakes."""

import shlex
from typing import Any

import pytest

from deploy.filled import Change, beside, changed, request

botocore = pytest.importorskip("botocore.session")


def check(service: str, operation: str, document: dict[str, Any]) -> None:
    from botocore.validate import ParamValidator

    shape = botocore.get_session().get_service_model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(document, shape)
    assert not report.has_errors(), report.generate_report()
    walk(shape, document)


def walk(shape: Any, value: Any) -> None:
    """What the validator leaves out: values that are one of a list."""
    if shape.type_name == "structure":
        for key, inner in value.items():
            walk(shape.members[key], inner)
    elif shape.type_name == "list":
        for inner in value:
            walk(shape.member, inner)
    elif shape.type_name == "map":
        for inner in value.values():
            walk(shape.value, inner)
    elif getattr(shape, "enum", None):
        assert value in shape.enum, f"{value} is no {shape.name}"


def check_steps(document: dict[str, Any]) -> None:
    check("emr", "AddJobFlowSteps", document)


def check_cluster(document: dict[str, Any]) -> None:
    check("emr", "RunJobFlow", document)


def check_job_run(document: dict[str, Any]) -> None:
    # every client of AWS puts in a token of its own, so that a request it repeats starts one run
    check("emr-serverless", "StartJobRun", {"clientToken": "x", **document})


def check_schedule(document: dict[str, Any]) -> None:
    check("scheduler", "CreateSchedule", document)


DOCUMENTS = {
    "emr/step": (lambda: request("emr", "run", "--fraction", "0.25"), check_steps),
    "emr/cluster": (lambda: beside("emr/cluster.json"), check_cluster),
    "emr/schedule": (lambda: beside("emr/schedule.json"), check_schedule),
    "emr-serverless/job-run": (lambda: request("emr-serverless"), check_job_run),
    "emr-serverless/application": (
        lambda: {"clientToken": "x", **beside("emr-serverless/application.json")},
        lambda d: check("emr-serverless", "CreateApplication", d),
    ),
    "emr-serverless/schedule": (lambda: beside("emr-serverless/schedule.json"), check_schedule),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_aws_knows_every_parameter(name: str) -> None:
    document, validate = DOCUMENTS[name]
    validate(document())


def first_step(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["Steps"][0]
    return found


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("emr/step", lambda d: first_step(d).update(ActionOnFail="CONTINUE")),
        ("emr/step", lambda d: first_step(d).update(ActionOnFailure="CONTINU")),
        ("emr/step", lambda d: first_step(d)["HadoopJarStep"].update(Args="spark-submit")),
        ("emr/cluster", lambda d: d["Instances"].update(InstanceFleet=[])),
        ("emr/cluster", lambda d: d["Instances"]["InstanceFleets"][0].update(InstanceFleetType="DRIVER")),
        ("emr/cluster", lambda d: d.update(StepConcurrencyLevel="1")),
        ("emr/schedule", lambda d: d["FlexibleTimeWindow"].update(Mode="NEVER")),
        ("emr/schedule", lambda d: d["Target"].pop("RoleArn")),
        ("emr-serverless/job-run", lambda d: d["jobDriver"]["sparkSubmit"].update(entrypoint="x")),
        ("emr-serverless/job-run", lambda d: d.update(mode="NIGHTLY")),
        ("emr-serverless/application", lambda d: d.update(architecture="x86")),
        ("emr-serverless/schedule", lambda d: d["Target"]["RetryPolicy"].update(MaximumRetryAttempts="2")),
    ],
)
def test_aws_notices_a_mistake(name: str, change: Change) -> None:
    document, validate = DOCUMENTS[name]
    with pytest.raises(AssertionError):
        validate(changed(document(), change))


def test_the_step_runs_the_job_with_its_options() -> None:
    arguments = first_step(request("emr", "export", "--quiet"))["HadoopJarStep"]["Args"]
    assert arguments[-4:] == [
        "s3://bucket/scoreline/0.1.0/jobs/export_recommendations.py",
        "--config",
        "s3://bucket/scoreline/0.1.0/conf/movies.yaml",
        "--quiet",
    ]


def test_serverless_options_are_words_of_a_shell() -> None:
    words = shlex.split(request("emr-serverless")["jobDriver"]["sparkSubmit"]["sparkSubmitParameters"])
    assert words[0::2].count("--conf") == len(words) // 2 - 2
    assert all("=" in value for option, value in zip(words[0::2], words[1::2], strict=True) if option == "--conf")


def test_a_stand_in_of_emr_takes_cluster_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    moto = pytest.importorskip("moto")
    boto3 = pytest.importorskip("boto3")
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "none")
    with moto.mock_aws():
        emr = boto3.client("emr", region_name="eu-central-1")
        cluster = emr.run_job_flow(**beside("emr/cluster.json"))["JobFlowId"]
        emr.add_job_flow_steps(**{**request("emr"), "JobFlowId": cluster})
        assert [step["Name"] for step in emr.list_steps(ClusterId=cluster)["Steps"]] == ["scoreline run"]
