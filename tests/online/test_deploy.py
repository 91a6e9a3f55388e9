"""The deployment files by the vendors' own tools, and each tool shown to notice a mistake."""

import copy
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from scoreline_fraud.server.settings import environment, load_settings
from scoreline_fraud.serving.rules import rules_of

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "conf/deploy"
Change = Callable[[dict[str, Any]], object]


def text(name: str) -> str:
    return (DEPLOY / name).read_text()


def changed(document: dict[str, Any], change: Change) -> dict[str, Any]:
    found = copy.deepcopy(document)
    change(found)
    return found


# Kubernetes: the JSON schemas of its API, strict about unknown fields

KINDS = {document["kind"]: document for document in yaml.safe_load_all(text("kubernetes/fraud-online.yaml"))}


def check_kubernetes(document: dict[str, Any]) -> None:
    validator = pytest.importorskip("kubernetes_validate")
    validator.validate(document, "1.33", strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_knows_every_field(kind: str) -> None:
    check_kubernetes(KINDS[kind])


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Deployment", lambda d: d["spec"]["template"]["spec"]["containers"][0].update(resource={})),
        ("Deployment", lambda d: d["spec"]["template"]["spec"].update(terminationGracePeriodSeconds="40")),
        ("Deployment", lambda d: d["spec"].pop("selector")),
        ("Service", lambda d: d["spec"]["ports"][0].update(port="https")),
        ("HorizontalPodAutoscaler", lambda d: d["spec"].update(maxReplica=3)),
        ("HorizontalPodAutoscaler", lambda d: d["spec"].pop("maxReplicas")),
        ("PodDisruptionBudget", lambda d: d["spec"].update(selectors={})),
        ("ConfigMap", lambda d: d["data"].update(OMP_NUM_THREADS=1)),
    ],
)
def test_kubernetes_notices_a_mistake(kind: str, change: Change) -> None:
    pytest.importorskip("kubernetes_validate")
    with pytest.raises(Exception, match=r"."):
        check_kubernetes(changed(KINDS[kind], change))


def test_kubernetes_is_configured_as_the_shipped_yaml_says() -> None:
    wanted = environment(load_settings(ROOT / "conf/serving/fraud.yaml"))
    found = dict(KINDS["ConfigMap"]["data"])
    rules = rules_of(json.loads(found.pop("SERVING_MODEL_CONFIG"))).model_dump(mode="json")
    shipped = rules_of(json.loads(wanted.pop("SERVING_MODEL_CONFIG"))).model_dump(mode="json")
    rules["features"].pop("snapshot"), shipped["features"].pop("snapshot")
    rules["metrics"].pop("host"), shipped["metrics"].pop("host")
    assert rules == shipped
    elsewhere = {"MLFLOW_HOST", "MLFLOW_PORT", "MLFLOW_MODELS_WORKERS", "PROMETHEUS_MULTIPROC_DIR"}
    same = {key: value for key, value in found.items() if key not in elsewhere}
    assert same == {key: value for key, value in wanted.items() if key not in elsewhere}


def test_kubernetes_selectors_find_the_pods() -> None:
    labels = KINDS["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    assert KINDS["Service"]["spec"]["selector"].items() <= labels
    assert KINDS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels
    assert KINDS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == KINDS["Deployment"]["metadata"]["name"]


# SageMaker: botocore's parameter validation (unknown keys and types) and its model's enums

SAGEMAKER = json.loads(text("sagemaker/fraud-online.json"))


@functools.cache  # SageMaker's model takes seconds to read
def botocore_client(service: str) -> Any:
    session = pytest.importorskip("botocore.session").get_session()
    return session.create_client(
        service, region_name="eu-central-1", aws_access_key_id="none", aws_secret_access_key="none"
    )


def check_sagemaker(call: str, request: dict[str, Any]) -> None:
    service, operation = call.split(".")
    client = botocore_client(service)
    from botocore.validate import ParamValidator

    shape = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[operation]).input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    walk_enums(shape, request)


def walk_enums(shape: Any, value: Any) -> None:
    if shape.type_name == "structure":
        for key, inner in value.items():
            walk_enums(shape.members[key], inner)
    elif shape.type_name == "list":
        for inner in value:
            walk_enums(shape.member, inner)
    elif getattr(shape, "enum", None):
        assert value in shape.enum, f"{value} is no {shape.name}"


@pytest.mark.parametrize("call", SAGEMAKER)
def test_sagemaker_knows_every_parameter(call: str) -> None:
    check_sagemaker(call, SAGEMAKER[call])


def variant(request: dict[str, Any]) -> dict[str, Any]:
    return dict.__getitem__(request, "ProductionVariants")[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("call", "change"),
    [
        ("sagemaker.create_model", lambda d: d["PrimaryContainer"].update(ImageUri="x")),
        ("sagemaker.create_model", lambda d: d.pop("ModelName")),
        ("sagemaker.create_endpoint_config", lambda d: variant(d).update(InstanceType="ml.c5.larg")),
        ("sagemaker.create_endpoint_config", lambda d: variant(d).update(InitialInstanceCount="2")),
        ("application-autoscaling.register_scalable_target", lambda d: d.update(ScalableDimension="sagemaker:x")),
        ("application-autoscaling.put_scaling_policy", lambda d: d.update(PolicyType="TargetTracking")),
    ],
)
def test_sagemaker_notices_a_mistake(call: str, change: Change) -> None:
    pytest.importorskip("botocore")
    with pytest.raises(AssertionError):
        check_sagemaker(call, changed(SAGEMAKER[call], change))


def test_sagemaker_scales_the_variant_that_is_deployed() -> None:
    endpoint = SAGEMAKER["sagemaker.create_endpoint"]["EndpointName"]
    name = variant(SAGEMAKER["sagemaker.create_endpoint_config"])["VariantName"]
    for call in ("register_scalable_target", "put_scaling_policy"):
        assert SAGEMAKER[f"application-autoscaling.{call}"]["ResourceId"] == f"endpoint/{endpoint}/variant/{name}"


def test_sagemakers_calls_succeed_against_a_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    moto = pytest.importorskip("moto")
    boto3 = pytest.importorskip("boto3")
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "none")
    with moto.mock_aws():
        for call, request in SAGEMAKER.items():
            service, operation = call.split(".")
            getattr(boto3.client(service, region_name="eu-central-1"), operation)(**request)
        found = boto3.client("sagemaker", region_name="eu-central-1").describe_endpoint(EndpointName="card-fraud")
    assert found["EndpointConfigName"] == "card-fraud-1"


# Vertex: the protobuf messages of its API

VERTEX = json.loads(text("vertex/fraud-online.json"))


def check_vertex(message: str, request: dict[str, Any]) -> None:
    api = pytest.importorskip("google.cloud.aiplatform_v1")
    getattr(api, message).from_json(json.dumps(request), ignore_unknown_fields=False)


@pytest.mark.parametrize("message", VERTEX)
def test_vertex_knows_every_field(message: str) -> None:
    check_vertex(message, VERTEX[message])


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("UploadModelRequest", lambda d: d["model"]["containerSpec"].update(healthPath="/ping")),
        ("DeployModelRequest", lambda d: d["deployedModel"]["dedicatedResources"].update(minReplicas=2)),
        ("DeployModelRequest", lambda d: d["deployedModel"]["dedicatedResources"].update(minReplicaCount="two")),
        ("CreateEndpointRequest", lambda d: d["endpoint"].update(dedicated=True)),
    ],
)
def test_vertex_notices_a_mistake(message: str, change: Change) -> None:
    api = pytest.importorskip("google.cloud.aiplatform_v1")
    assert api
    with pytest.raises(Exception, match=r"(?i)pars|field"):
        check_vertex(message, changed(VERTEX[message], change))


# Azure ML: its own loaders; its autoscaling: Azure Monitor's model

AZURE = {name: yaml.safe_load(text(f"azureml/fraud-{name}.yml")) for name in ("endpoint", "deployment")}


def check_azure(kind: str, document: dict[str, Any], folder: Path) -> None:
    azure = pytest.importorskip("azure.ai.ml")
    path = folder / "azure.yml"
    path.write_text(yaml.safe_dump(document))
    {"endpoint": azure.load_online_endpoint, "deployment": azure.load_online_deployment}[kind](path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", AZURE)
def test_azure_loads_it(kind: str, tmp_path: Path) -> None:
    check_azure(kind, AZURE[kind], tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("endpoint", lambda d: d.update(auth_mode="keys")),
        ("endpoint", lambda d: d.update(public_access="disabled")),
        ("deployment", lambda d: d.update(instance_counts=2)),
        ("deployment", lambda d: d["request_settings"].update(request_timeout=3)),
        ("deployment", lambda d: d["liveness_probe"].update(period="ten")),
        ("deployment", lambda d: d.pop("endpoint_name")),
    ],
)
def test_azure_notices_a_mistake(kind: str, change: Change, tmp_path: Path) -> None:
    pytest.importorskip("azure.ai.ml")
    with pytest.raises(Exception, match=r"(?i)valid"):
        check_azure(kind, changed(AZURE[kind], change), tmp_path)


AUTOSCALE = json.loads(text("azureml/fraud-autoscale.json"))


def check_azure_autoscale(document: dict[str, Any]) -> None:
    """What Azure Monitor's model did not understand is missing when it is written out again."""
    models = pytest.importorskip("azure.mgmt.monitor.models")
    assert models.AutoscaleSettingResource.deserialize(document).serialize() == on_the_wire(document)


def on_the_wire(value: Any) -> Any:
    """Durations and numbers as the model writes them."""
    if isinstance(value, dict):
        return {key: on_the_wire(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [on_the_wire(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def test_azure_monitor_understands_the_autoscaling() -> None:
    check_azure_autoscale(AUTOSCALE)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["properties"].update(enable=True),
        lambda d: d["properties"]["profiles"][0]["rules"][0]["scaleAction"].update(directions="Increase"),
        lambda d: d["properties"]["profiles"][0]["rules"][0]["metricTrigger"].update(threshold="sixty"),
        lambda d: d["properties"]["profiles"][0]["rules"][0]["metricTrigger"].update(timeGrain="1 minute"),
    ],
)
def test_azure_monitor_notices_a_mistake(change: Change) -> None:
    pytest.importorskip("azure.mgmt.monitor")
    with pytest.raises(Exception, match=r"."):
        check_azure_autoscale(changed(AUTOSCALE, change))


# Databricks: the SDK's dataclasses drop what they do not know

DATABRICKS = json.loads(text("databricks/fraud-online.json"))


def check_databricks(document: dict[str, Any]) -> None:
    serving = pytest.importorskip("databricks.sdk.service.serving")
    from databricks.sdk.service.serving import EndpointTag

    assert serving.EndpointCoreConfigInput.from_dict(document["config"]).as_dict() == document["config"]
    assert [EndpointTag.from_dict(tag).as_dict() for tag in document["tags"]] == document["tags"]
    import inspect

    accepted = set(inspect.signature(serving.ServingEndpointsAPI.create).parameters)
    assert set(document) <= accepted, set(document) - accepted


def test_databricks_understands_everything() -> None:
    check_databricks(DATABRICKS)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(route_optimised=True),
        lambda d: d["config"]["served_entities"][0].update(scale_to_zero=False),
        lambda d: d["config"]["served_entities"][0].update(workload_type="CPUS"),
        lambda d: d["config"]["traffic_config"]["routes"][0].update(percentage=100),
    ],
)
def test_databricks_notices_a_mistake(change: Change) -> None:
    pytest.importorskip("databricks.sdk")
    with pytest.raises(AssertionError):
        check_databricks(changed(DATABRICKS, change))


def test_no_deployment_scales_to_zero_or_below_two() -> None:
    assert KINDS["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
    assert SAGEMAKER["application-autoscaling.register_scalable_target"]["MinCapacity"] >= 2
    assert VERTEX["DeployModelRequest"]["deployedModel"]["dedicatedResources"]["minReplicaCount"] >= 2
    assert AZURE["deployment"]["instance_count"] >= 2
    assert DATABRICKS["config"]["served_entities"][0]["scale_to_zero_enabled"] is False
