"""Pod templates, accounts and the schedule by the schemas of Kubernetes' API, strictly."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from deploy.filled import DEPLOY, ROOT, Change, changed

validator = pytest.importorskip("kubernetes_validate")

FOLDER = DEPLOY / "kubernetes"
PODS = {name: yaml.safe_load((FOLDER / f"{name}-pod.yaml").read_text()) for name in ("driver", "executor")}
BATCH = {document["kind"]: document for document in yaml.safe_load_all((FOLDER / "batch.yaml").read_text())}


def check(document: dict[str, Any]) -> None:
    validator.validate(document, "1.33", strict=True)


def check_template(document: dict[str, Any], name: str) -> None:
    # Spark fills in the image, which a pod has to have
    filled = changed(document, lambda d: d["spec"]["containers"][0].update(image="x"))
    check(changed(filled, lambda d: d["metadata"].update(name=name)))


@pytest.mark.parametrize("name", PODS)
def test_kubernetes_knows_every_field_of_a_pod_template(name: str) -> None:
    check_template(PODS[name], name)


@pytest.mark.parametrize("kind", BATCH)
def test_kubernetes_knows_every_field_beside_it(kind: str) -> None:
    check(BATCH[kind])


def container(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["spec"]["containers"][0]
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda d: container(d).update(volumeMount=[]),
        lambda d: container(d)["securityContext"].update(allowPrivilegeEscalation="no"),
        lambda d: d["spec"].update(securityContexts={}),
        lambda d: d["spec"]["volumes"][0].pop("name"),
    ],
)
def test_a_mistake_in_a_pod_template_is_noticed(change: Change) -> None:
    with pytest.raises(Exception, match=r"."):
        check_template(changed(PODS["driver"], change), "driver")


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("CronJob", lambda d: d["spec"].update(schedul="x")),
        ("CronJob", lambda d: d["spec"].update(startingDeadlineSeconds="3600")),
        ("CronJob", lambda d: d["spec"]["jobTemplate"]["spec"].update(backOffLimit=2)),
        ("Role", lambda d: d["rules"][0].update(verb=["get"])),
        ("RoleBinding", lambda d: d.pop("roleRef")),
    ],
)
def test_a_mistake_beside_it_is_noticed(kind: str, change: Change) -> None:
    with pytest.raises(Exception, match=r"."):
        check(changed(BATCH[kind], change))


def test_what_the_image_copies_is_there_or_built() -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    sources = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    built = [word for word in sources if word.startswith("dist/")]
    assert built == ["dist/constraints.txt", "dist/scoreline-*.whl", "dist/jobs"]
    assert [word for word in sources if word not in built and not (ROOT / word).exists()] == []


def test_the_image_asks_for_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = re.findall(r'"\$1\[([a-z,]+)\]"', (FOLDER / "Dockerfile").read_text())
    assert [name for name in asked[0].split(",") if name not in extras] == []
