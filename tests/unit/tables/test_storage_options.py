"""One set of settings, two readers of a store: what Spark is told delta-rs is told, or it is not asked."""

from typing import Any

import pytest

from scoreline.tables.storage_options import storage_options

A, S3A = "fs.azure.account", "spark.hadoop.fs.s3a"
OAUTH = {
    f"spark.hadoop.{A}.auth.type": "OAuth",
    f"spark.hadoop.{A}.oauth.provider.type": "org.apache.hadoop.fs.azurebfs.oauth2.ClientCredsTokenProvider",
    f"spark.hadoop.{A}.oauth2.client.id": "app",
    f"spark.hadoop.{A}.oauth2.client.secret": "hush",
    f"spark.hadoop.{A}.oauth2.client.endpoint": "https://login.microsoftonline.com/firm/oauth2/token",
}


@pytest.mark.parametrize(
    ("location", "spark", "options"),
    [
        ("s3a://films/t", {}, {}),
        (
            "s3a://films/t",
            {f"{S3A}.access.key": "k", f"{S3A}.secret.key": "s", f"{S3A}.endpoint.region": "eu-west-1"},
            {"aws_access_key_id": "k", "aws_secret_access_key": "s", "aws_region": "eu-west-1"},
        ),
        (  # a bucket's own settings win, another's do not count
            "s3://films/t",
            {
                f"{S3A}.access.key": "all",
                f"{S3A}.bucket.films.access.key": "own",
                f"{S3A}.bucket.other.secret.key": "other",
            },
            {"aws_access_key_id": "own"},
        ),
        (
            "s3a://films/t",
            {f"{S3A}.endpoint": "127.0.0.1:9000", f"{S3A}.connection.ssl.enabled": False, f"{S3A}.threads.max": 9},
            {"aws_endpoint": "http://127.0.0.1:9000", "aws_allow_http": "true"},
        ),
        (
            "s3a://films/t",
            {f"{S3A}.path.style.access": True, f"{S3A}.endpoint": "https://store.example"},
            {"aws_endpoint": "https://store.example"},
        ),
        (
            "s3a://films/t",
            {f"{S3A}.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider"},
            {},
        ),
        ("gs://films/t", {}, {}),
        (
            "gs://films/t",
            {"spark.hadoop.google.cloud.auth.service.account.json.keyfile": "/etc/key.json"},
            {"google_service_account": "/etc/key.json"},
        ),
        ("abfss://c@lake.dfs.core.windows.net/t", {}, {"azure_storage_account_name": "lake"}),
        (
            "abfss://c@lake.dfs.core.windows.net/t",
            {f"spark.hadoop.{A}.key.lake.dfs.core.windows.net": "k"},
            {"azure_storage_account_name": "lake", "azure_storage_account_key": "k"},
        ),
        (
            "abfss://c@lake.dfs.core.windows.net/t",
            OAUTH,
            {
                "azure_storage_account_name": "lake",
                "azure_storage_client_id": "app",
                "azure_storage_client_secret": "hush",
                "azure_storage_tenant_id": "firm",
            },
        ),
    ],
)
def test_what_spark_is_told_delta_rs_is_told(location: str, spark: dict[str, Any], options: dict[str, str]) -> None:
    assert storage_options(location, spark) == options


@pytest.mark.parametrize(
    ("location", "spark"),
    [
        ("hdfs://name/t", {}),
        ("viewfs://name/t", {}),
        ("dbfs:/t", {}),
        ("s3a://films/t", {f"{S3A}.aws.credentials.provider": "org.apache.hadoop.fs.s3a.auth.AssumedRoleProvider"}),
        ("s3a://films/t", {f"{S3A}.assumed.role.arn": "arn"}),
        ("s3a://films/t", {f"{S3A}.encryption.key": "hush"}),
        ("s3a://films/t", {f"{S3A}.security.credential.provider.path": "jceks://x"}),
        ("gs://films/t", {"spark.hadoop.google.cloud.auth.type": "APPLICATION_DEFAULT"}),
        ("abfss://c@lake.dfs.core.windows.net/t", {f"spark.hadoop.{A}.auth.type": "Custom"}),
        ("abfss://c@lake.dfs.core.windows.net/t", {**OAUTH, f"spark.hadoop.{A}.oauth.provider.type": "x.Msi"}),
    ],
)
def test_a_way_to_a_store_that_only_hadoop_knows_is_left_to_it(location: str, spark: dict[str, Any]) -> None:
    assert storage_options(location, spark) is None
