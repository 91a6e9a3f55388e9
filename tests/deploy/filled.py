"""The deployment files as `scoreline submit` fills them, and a way to spoil them."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scoreline import __version__
from scoreline.config.loading import expand_text
from scoreline.deploy.requests import Document, Post
from scoreline.deploy.submit import Work, plan_submission

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "conf" / "deploy"
CONFIG = ROOT / "conf" / "movies.yaml"
ENVIRONMENT = {
    "SCORELINE_BUCKET": "bucket",
    "SCORELINE_CONTAINER": "container",
    "SCORELINE_ACCOUNT": "account",
    "EMR_CLUSTER_ID": "j-2AXXXXXXGAPLF",
    "EMR_SERVERLESS_APPLICATION": "00f1abcdefghij25",
    "AWS_ACCOUNT": "123456789012",
    "GOOGLE_PROJECT": "project-1",
    "GOOGLE_REGION": "europe-west3",
}
Change = Callable[[dict[str, Any]], object]


def request(target: str, step: str = "run", *options: str) -> dict[str, Any]:
    """The request of a target; the environment has to be set."""
    parts = plan_submission(target, Work(step, CONFIG, options), folder=DEPLOY)
    content = next(p.content if isinstance(p, Document) else p.body for p in parts if isinstance(p, Document | Post))
    found: dict[str, Any] = json.loads(content)
    return found


def beside(name: str) -> dict[str, Any]:
    """A file that a page in docs/deploy has the user send once, such as a cluster's."""
    known = {**ENVIRONMENT, "version": __version__, "config": "movies.yaml", "zip": "scoreline.zip", "delta": "io:d:1"}
    path = DEPLOY / name
    found: dict[str, Any] = json.loads(expand_text(path.read_text(), known, path))
    return found


def changed(document: dict[str, Any], change: Change) -> dict[str, Any]:
    found = copy.deepcopy(document)
    change(found)
    return found
