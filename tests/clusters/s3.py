"""A server that speaks S3 (S3Proxy, objects in memory), and what Spark needs to be its client."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusters.processes import free_port, listening, maven_jars, server
from scoreline.engine.jars import delta_jars

REGION = "us-east-1"
# by default it logs every request, headers included
_LOGBACK = """<configuration>
<appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
<encoder><pattern>%d %msg%n</pattern></encoder></appender>
<root level="WARN"><appender-ref ref="OUT"/></root>
</configuration>
"""


@dataclass(frozen=True)
class Store:
    """A running server with one bucket."""

    url: str
    bucket: str
    key: str
    secret: str

    @property
    def environment(self) -> dict[str, str]:
        """The credentials, by the variables that every client of S3 reads; they are nowhere else."""
        return {"AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret}

    @property
    def spark(self) -> dict[str, Any]:
        """How `s3a://` reaches this server instead of Amazon's."""
        return {
            "spark.hadoop.fs.s3a.endpoint": self.url,
            "spark.hadoop.fs.s3a.endpoint.region": REGION,
            "spark.hadoop.fs.s3a.path.style.access": True,
        }

    def client(self) -> Any:
        import boto3
        from botocore.config import Config

        # this server knows the checksums of S3's first years only
        plain = Config(request_checksum_calculation="when_required", response_checksum_validation="when_required")
        keys = {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret}
        return boto3.client("s3", endpoint_url=self.url, region_name=REGION, config=plain, **keys)

    def fetch(self, prefix: str, folder: Path) -> None:
        """Copy every object below `prefix` into `folder`."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{prefix}/"):
            for entry in page.get("Contents", []):
                target = folder / entry["Key"].removeprefix(f"{prefix}/")
                if not entry["Key"].endswith("/"):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    client.download_file(self.bucket, entry["Key"], str(target))


@contextmanager
def s3(folder: Path) -> Iterator[Store]:
    """A store that lives until the block ends."""
    port = free_port()
    store = Store(f"http://127.0.0.1:{port}", "bucket", "scoreline", secrets.token_hex(16))
    settings = {
        "s3proxy.endpoint": store.url,
        "s3proxy.authorization": "aws-v4",
        "s3proxy.identity": store.key,
        "s3proxy.credential": store.secret,
        "jclouds.provider": "transient",
        "jclouds.identity": "none",
        "jclouds.credential": "none",
    }
    folder.mkdir(parents=True)
    properties = folder / "s3proxy.properties"
    properties.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
    classes = f"{maven_jars('s3proxy')}/*"
    logging = folder / "logback.xml"
    logging.write_text(_LOGBACK)
    command = ["java", "-Xmx512m", f"-Dlogback.configurationFile={logging}", "-cp", classes, "org.gaul.s3proxy.Main"]
    command += ["--properties", str(properties)]
    with server("s3proxy", command, logs=folder, environment=os.environ, ready=lambda: listening(port)):
        store.client().create_bucket(Bucket=store.bucket)
        yield store


def client_jars(folder: Path) -> Path:
    """Delta's jars and those of Hadoop's S3 client, in one folder for SCORELINE_JARS."""
    folder.mkdir()
    for jar in [*delta_jars(), *maven_jars("s3").glob("*.jar")]:
        shutil.copy(jar, folder)
    return folder
