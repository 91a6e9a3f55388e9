"""What `conf/deploy/<target>/target.yaml` may say: a frozen model per way of submitting, an unknown key is an error.

Two ways cover every platform. `spark-submit` builds the command itself; `request` fills a document in the platform's
own language (checked by its own schema in the tests) and hands it to the platform's own client or interface.
"""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from scoreline.config.loading import load_kind
from scoreline.config.section import Section
from scoreline.errors import ConfigurationError

FILE = "target.yaml"


class SparkSubmit(Section):
    """A cluster that `spark-submit` speaks to."""

    kind: Literal["spark-submit"]
    master: str = Field(pattern=r"^(local(-cluster)?\[.+\]|spark://.+|yarn|k8s://.+)$")
    deploy_mode: Literal["client", "cluster"] = "client"
    spark_home: str | None = Field(default=None, description="where spark-submit is; default: the installed pyspark")
    artifacts: str = Field(default="dist", description="folder or URI with what `make package` built")
    delta: Literal["packages", "local", "provided"] = Field(
        default="packages", description="jars by --packages, from this machine's cache, or there already"
    )
    package: Literal["zip", "installed"] = Field(default="zip", description="how executors get scoreline")
    environment: str | None = Field(default=None, description="packed environment to unpack in each executor")
    python: str | None = Field(default=None, description="interpreter of driver and executors")
    config_folder: str | None = Field(default=None, description="where the driver finds the file, if not shipped")
    conf: dict[str, str | int | float | bool] = Field(default={}, description="passed on as they are")
    variables: dict[str, str] = Field(default={}, description="environment of spark-submit itself")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if wrong := [key for key in self.conf if not key.startswith("spark.")]:
            raise ValueError(f"keys of conf start with 'spark.', found {wrong}")
        if self.environment and self.python:
            raise ValueError("give environment (packed, shipped) or python (installed there), not both")
        if self.deploy_mode == "cluster" and self.master.startswith("local"):
            raise ValueError(f"deploy_mode cluster needs a cluster, and master is {self.master}")
        return self


class Post(Section):
    """An HTTP interface that takes the request, such as Livy's or Google's."""

    url: str = Field(pattern=r"^https?://")
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = Field(default=None, description="sent as a bearer token")

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if self.password and not self.user:
            raise ValueError("password does nothing without user")
        if self.token and self.user:
            raise ValueError("give token or user, not both: one login is sent")
        return self


class Request(Section):
    """A platform with an interface of its own."""

    kind: Literal["request"]
    artifacts: str = Field(description="URI of what `make package` built")
    upload: list[list[str]] = Field(default=[], description="commands that bring artifacts and configuration there")
    document: str | None = Field(default=None, description="the request, a file beside this one")
    send: list[str] | None = Field(default=None, description="the platform's client; ${document} is the filled file")
    post: Post | None = None
    jobs: dict[str, str] | None = Field(
        default=None, description="the platform's own job of each step, ${own_job}; other steps are refused"
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.send is None) == (self.post is None):
            raise ValueError("give either send (a command) or post (an HTTP interface), not both or none")
        if self.post and not self.document:
            raise ValueError("post needs a document")
        return self


Target = SparkSubmit | Request
_KINDS: dict[str, type[SparkSubmit] | type[Request]] = {"spark-submit": SparkSubmit, "request": Request}


def load_target(name: str, *, folder: Path, variables: dict[str, str]) -> Target:
    """Read one target's file; `variables` and the environment replace `${NAME}`. Raises ConfigurationError."""
    path = folder / name / FILE
    if not path.is_file():
        known = sorted(found.parent.name for found in folder.glob(f"*/{FILE}"))
        raise ConfigurationError(f"{path}: no such target. There are: {', '.join(known) or 'none'}.")
    return load_kind(path, _KINDS, variables=variables)
