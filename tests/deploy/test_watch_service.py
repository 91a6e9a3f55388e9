"""The unit files of `scoreline watch`: by systemd's own tool, Compose's schema and Kubernetes' schemas, strictly."""

import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from deploy.filled import DEPLOY, ROOT, Change, changed
from scoreline.cli.main import main
from scoreline.config.watch import WatchSettings

UNIT = (DEPLOY / "systemd" / "scoreline-watch.service").read_text()
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
KINDS = {kind["kind"]: kind for kind in yaml.safe_load_all((DEPLOY / "kubernetes" / "watch.yaml").read_text())}
STOP_WITHIN = WatchSettings.model_fields["stop_within"].default.total_seconds()


def systemd(folder: Path, text: str, *arguments: str) -> str:
    """What systemd-analyze says of a unit whose command is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    unit = folder / "scoreline-watch.service"
    unit.write_text(text.replace("/opt/scoreline/bin/scoreline", shutil.which("true") or ""))
    command = ["systemd-analyze", *arguments, str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


def verify(folder: Path, text: str) -> None:
    assert systemd(folder, text, "verify", "--man=no") == ""


def test_systemd_knows_every_line_of_the_unit(tmp_path: Path) -> None:
    verify(tmp_path, UNIT)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("RestartSec=", "RestartSecs="),
        ("KillMode=mixed", "KillMode=main"),
        ("TimeoutStopSec=90s", "TimeoutStopSec=soon"),
        ("[Service]", "[Services]"),
        ("ExecStart=/", "ExecStart=/no"),
    ],
)
def test_systemd_notices_a_mistake(right: str, wrong: str, tmp_path: Path) -> None:
    assert right in UNIT
    with pytest.raises(AssertionError):
        verify(tmp_path, UNIT.replace(right, wrong))


def test_systemd_calls_the_unit_little_exposed(tmp_path: Path) -> None:
    """A unit that says nothing of the kind has 9.6 of 10; 2.0 and more of this one would end with exit code 1."""
    systemd(tmp_path, UNIT, "security", "--offline=true", "--threshold=20", "--no-pager")


def check_compose(document: dict[str, Any]) -> None:
    schemas = pytest.importorskip("check_jsonschema.builtin_schemas")
    validator = pytest.importorskip("jsonschema")
    validator.validate(document, schemas.get_builtin_schema("vendor.compose-spec"))


def test_compose_knows_every_field() -> None:
    check_compose(COMPOSE)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(service={}),
        lambda d: d["services"]["watch"].update(stop_grace="90s"),
        lambda d: d["services"]["watch"].update(read_only=[]),
        lambda d: d["services"]["watch"]["healthcheck"].update(tests=[]),
        lambda d: d["services"]["watch"]["env_file"][0].update(optional=True),
    ],
)
def test_a_mistake_in_compose_is_noticed(change: Change) -> None:
    pytest.importorskip("check_jsonschema")
    with pytest.raises(Exception, match=r"."):
        check_compose(changed(COMPOSE, change))


def test_compose_names_files_and_volumes_that_are_there() -> None:
    watch, folder = COMPOSE["services"]["watch"], DEPLOY / "compose"
    context = folder / watch["build"]["context"]
    assert context.resolve() == ROOT
    assert (context / watch["build"]["dockerfile"]).is_file()
    mounted = [volume.split(":")[0] for volume in watch["volumes"] if ":" in volume]
    named = {name for name in mounted if "/" not in name}
    assert named == set(COMPOSE["volumes"])
    assert [name for name in mounted if name not in named and not (folder / name).is_file()] == []


def check_kubernetes(document: dict[str, Any]) -> None:
    pytest.importorskip("kubernetes_validate").validate(document, "1.33", strict=True)


@pytest.mark.parametrize("kind", KINDS)
def test_kubernetes_knows_every_field(kind: str) -> None:
    check_kubernetes(KINDS[kind])


def pod(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["spec"]["template"]["spec"]
    return found


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("Deployment", lambda d: d["spec"].update(strategies={})),
        ("Deployment", lambda d: d["spec"].update(replicas="1")),
        ("Deployment", lambda d: pod(d).update(terminationGracePeriod=90)),
        ("Deployment", lambda d: pod(d)["containers"][0]["livenessProbe"]["httpGet"].update(url="/healthz")),
        ("Deployment", lambda d: pod(d)["containers"][0]["envFrom"][0].update(secret={})),
        ("PersistentVolumeClaim", lambda d: d["spec"].update(accessModes="ReadWriteOnce")),
        ("Service", lambda d: d["spec"].update(selectors={})),
    ],
)
def test_a_mistake_in_the_deployment_is_noticed(kind: str, change: Change) -> None:
    pytest.importorskip("kubernetes_validate")
    with pytest.raises(Exception, match=r"."):
        check_kubernetes(changed(KINDS[kind], change))


def test_the_deployment_is_whole() -> None:
    """One process at a time; what it mounts, its probes and the service name things that are there."""
    deployment, service, claim = (KINDS[kind] for kind in ("Deployment", "Service", "PersistentVolumeClaim"))
    spec, [container] = deployment["spec"], pod(deployment)["containers"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    volumes = {volume["name"]: volume for volume in pod(deployment)["volumes"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    [port] = container["ports"]
    assert service["spec"]["ports"][0]["targetPort"] == port["name"]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")]
    assert probes == [{"path": "/healthz", "port": port["name"]}] * 3


def test_each_starts_a_command_that_there_is() -> None:
    [line] = [line for line in UNIT.splitlines() if line.startswith("ExecStart=")]
    started = [
        line.split("/bin/")[1].split(),
        COMPOSE["services"]["watch"]["command"],
        pod(KINDS["Deployment"])["containers"][0]["args"],
    ]
    for program, name, *options in started:
        assert (program, name) == ("scoreline", "watch")
        main.commands[name].make_context(name, options, parent=click.Context(main))


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_compose_sees_whether_watch_is_well(status: int, code: int) -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        kind, _, *asked = COMPOSE["services"]["watch"]["healthcheck"]["test"]
        here = [word.replace(":8099/", f":{server.server_port}/") for word in asked]
        done = subprocess.run([sys.executable, *here], capture_output=True, check=False)
    assert (kind, done.returncode) == ("CMD", code)


def test_each_waits_longer_for_the_end_than_watch_takes() -> None:
    assert int(UNIT.split("TimeoutStopSec=")[1].split("s\n")[0]) > STOP_WITHIN
    assert int(COMPOSE["services"]["watch"]["stop_grace_period"].removesuffix("s")) > STOP_WITHIN
    assert pod(KINDS["Deployment"])["terminationGracePeriodSeconds"] > STOP_WITHIN
