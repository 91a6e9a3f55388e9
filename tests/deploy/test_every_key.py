"""Every key of `conf/deploy/*/target.yaml` changes what is sent."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.filled import CONFIG
from keys import set_in
from scoreline.config.keys import leaves
from scoreline.deploy.submit import Work, plan_submission
from scoreline.deploy.targets import Request, SparkSubmit

CLUSTER: dict[str, Any] = {
    "kind": "spark-submit",
    "master": "yarn",
    "artifacts": "s3://bucket/one",
    "delta": "provided",
}
CLIENT: dict[str, Any] = {"kind": "request", "artifacts": "s3://bucket/one", "send": ["client", "submit"]}
POST: dict[str, Any] = {key: CLIENT[key] for key in ("kind", "artifacts")} | {
    "document": "batch.json", "post": {"url": "http://127.0.0.1:1"},
}  # fmt: skip
USER = POST | {"post": POST["post"] | {"user": "u"}}
UPLOAD = {"upload": [["cp", "x", "${artifacts}"]]}

# another value, in which file
KEYS: dict[str, list[tuple[Any, dict[str, Any]]]] = {
    "SparkSubmit.kind": [("request", CLUSTER)],
    "SparkSubmit.master": [("spark://host:7077", CLUSTER)],
    "SparkSubmit.deploy_mode": [("cluster", CLUSTER)],
    "SparkSubmit.spark_home": [("/opt/spark", CLUSTER)],
    "SparkSubmit.artifacts": [("s3://bucket/other", CLUSTER)],
    "SparkSubmit.delta": [("packages", CLUSTER), ("local", CLUSTER)],
    "SparkSubmit.package": [("installed", CLUSTER)],
    "SparkSubmit.environment": [("s3://bucket/env.tar.gz", CLUSTER)],
    "SparkSubmit.python": [("/usr/bin/python3", CLUSTER)],
    "SparkSubmit.config_folder": [("/etc/scoreline", CLUSTER)],
    "SparkSubmit.conf": [({"spark.x": 1}, CLUSTER)],
    "SparkSubmit.variables": [({"HADOOP_CONF_DIR": "/etc/hadoop"}, CLUSTER)],
    "Request.kind": [("spark-submit", CLIENT)],
    "Request.artifacts": [("s3://bucket/other", CLIENT | UPLOAD), ("s3://bucket/other", POST)],
    "Request.upload": [([["cp", "x", "y"]], CLIENT)],
    "Request.document": [("batch.json", CLIENT), ("other.json", POST)],
    "Request.send": [(["other"], CLIENT)],
    "Request.jobs": [({"run": "nightly"}, CLIENT | {"send": ["client", "${own_job}"]})],
    "Request.post.url": [("http://127.0.0.1:2", POST)],
    "Request.post.user": [("u", POST)],
    "Request.post.password": [("p", USER)],
    "Request.post.token": [("t", POST)],
}


def _sent(folder: Path, file: dict[str, Any]) -> str:
    """What would be sent, or why nothing is."""
    (folder / "mine").mkdir(exist_ok=True)
    (folder / "mine" / "target.yaml").write_text(yaml.safe_dump(file))
    for name in ("batch", "other"):
        document = {"name": name, "file": "${artifacts}/jobs/${job}", "args": "${arguments}"}
        (folder / "mine" / f"{name}.json").write_text(json.dumps(document))
    try:
        return str([vars(part) for part in plan_submission("mine", Work("run", CONFIG), folder=folder)])
    except Exception as error:
        return str(error)


def test_every_key_has_its_entry() -> None:
    kinds = (SparkSubmit, Request)
    assert sorted(KEYS) == sorted(f"{kind.__name__}.{key}" for kind in kinds for key in leaves(kind))


@pytest.mark.parametrize(
    ("login", "message"),
    [
        ({"password": "p"}, "post: password does nothing without user"),
        ({"user": "u", "token": "t"}, "post: give token or user, not both"),
    ],
)
def test_a_login_that_would_not_be_sent_is_refused(login: dict[str, str], message: str, tmp_path: Path) -> None:
    assert message in _sent(tmp_path, POST | {"post": POST["post"] | login})


@pytest.mark.parametrize("key", KEYS)
def test_another_value_sends_something_else(key: str, tmp_path: Path) -> None:
    for value, file in KEYS[key]:
        changed = json.loads(json.dumps(file))
        set_in(changed, key.split(".", maxsplit=1)[1], value)
        assert _sent(tmp_path, changed) != _sent(tmp_path, file), value
