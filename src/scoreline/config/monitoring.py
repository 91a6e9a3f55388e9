"""The sections `metrics` and `lineage`: where a command's figures and events go."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from scoreline.config.section import Section

__all__ = ["LineageSettings", "MetricsSettings"]


def _address(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    try:
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:  # what stands for the port is no number
        whole = False
    if not whole or "@" in parts.path + parts.query + parts.fragment:
        raise ValueError(
            "expected http(s)://[user:password@]host[:port]; of a password / : ? # @ are written as %2F %3A %3F %23 %40"
        )
    return value


Address = Annotated[SecretStr, AfterValidator(_address)]


class MetricsSettings(Section):
    """Where each command leaves its figures for Prometheus (extra `metrics`). What cannot be left, fails nothing."""

    pushgateway: Address | None = None
    """its URL, such as `http://pushgateway:9091`, with user and password by `${NAME}` if it wants them"""
    textfile: Annotated[str, Field(pattern=r"\.prom$")] | None = None
    """a file in the folder that the node exporter's textfile collector reads; pipelines may share it"""

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.pushgateway is None and self.textfile is None:
            raise ValueError("give pushgateway (a URL), textfile (a file that ends in .prom) or both")
        return self


class LineageSettings(Section):
    """Where each command's OpenLineage events go (extra `lineage`). What cannot be sent, fails nothing."""

    url: Annotated[str, Field(pattern=r"^https?://[^\s@?#]+$")] | None = None
    """a collector, such as `http://marquez:5000`, to which `/api/v1/lineage` is added"""
    api_key: SecretStr | None = None
    """what the collector knows us by, by `${NAME}`"""
    file: Annotated[str, Field(min_length=1)] | None = None
    """in place of a collector: events are appended, a line each"""
    namespace: Annotated[str, Field(min_length=1)] = "scoreline"
    """of the jobs, which are called by pipeline and command: `movies.run`"""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.url is None) == (self.file is None):
            raise ValueError("give either url (a collector) or file, not both or none")
        if self.api_key is not None and self.url is None:
            raise ValueError("api_key does nothing without url")
        return self
