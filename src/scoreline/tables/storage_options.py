"""What Spark is told of an object store, in delta-rs' words: credentials and addresses come from the same settings."""

import re
from collections.abc import Mapping

__all__ = ["storage_options"]

Setting = str | int | float | bool

_S3 = {
    "access.key": "aws_access_key_id",
    "secret.key": "aws_secret_access_key",
    "session.token": "aws_session_token",
    "endpoint": "aws_endpoint",
    "endpoint.region": "aws_region",
}
# how many at once, how long to wait, how to write: none of it changes what is read, or by whose leave
_S3_WAYS = re.compile(
    r"(?:connection\.(?!ssl)|threads|max|multipart|fast|block|buffer|committer|retry|attempts|socket|readahead"
    r"|experimental|input|vectored|list|change|paging|executor|directory|downgrade|impl$|create|path\.style\.access$)"
)
# those that ask the environment or the machine, as delta-rs does of itself, or take the two keys above
_S3_PROVIDERS = re.compile(
    r"(?:\w+\.)*(?:SimpleAWSCredentialsProvider|TemporaryAWSCredentialsProvider|DefaultCredentialsProvider"
    r"|DefaultAWSCredentialsProviderChain|EnvironmentVariableCredentialsProvider"
    r"|InstanceProfileCredentialsProvider|ContainerCredentialsProvider|IAMInstanceCredentialsProvider"
    r"|WebIdentityTokenFileCredentialsProvider|WebIdentityTokenCredentialsProvider)"
)


def storage_options(location: str, spark: Mapping[str, Setting]) -> dict[str, str] | None:
    """Options for a place, of the pipeline's `spark` settings; what they leave out the environment gives.

    None where delta-rs could not reach it by them: another kind of store, or a way to credentials that is Hadoop's own.

    >>> storage_options("s3a://films/tables", {"spark.hadoop.fs.s3a.endpoint": "http://127.0.0.1:9000"})
    {'aws_endpoint': 'http://127.0.0.1:9000', 'aws_allow_http': 'true'}
    >>> storage_options("hdfs://name/tables", {}) is None
    True
    """
    scheme, _, rest = location.partition("://")
    host = rest.partition("/")[0]
    hadoop = {key.removeprefix("spark.hadoop."): _text(value) for key, value in spark.items()}
    if scheme in ("s3", "s3a"):
        return _s3(host, hadoop)
    if scheme in ("abfs", "abfss"):
        return _azure(host.rpartition("@")[2], hadoop)
    return _google(hadoop) if scheme == "gs" else None


def _s3(bucket: str, hadoop: Mapping[str, str]) -> dict[str, str] | None:
    said: dict[str, str] = {}
    for start in ("fs.s3.", "fs.s3a.", f"fs.s3a.bucket.{bucket}."):  # the later win
        said |= {key.removeprefix(start): value for key, value in hadoop.items() if key.startswith(start)}
    said = {key: value for key, value in said.items() if not key.startswith("bucket.")}
    plain_http = said.pop("connection.ssl.enabled", "true") == "false"
    providers = said.pop("aws.credentials.provider", "")
    if not all(_S3_PROVIDERS.fullmatch(name.strip()) for name in providers.split(",") if name.strip()):
        return None
    options = {_S3[key]: said.pop(key) for key in _S3 if key in said}
    if any(_S3_WAYS.match(key) is None for key in said):
        return None
    if (address := options.get("aws_endpoint")) is not None:
        if "://" not in address:
            options["aws_endpoint"] = address = f"{'http' if plain_http else 'https'}://{address}"
        if address.startswith("http://"):
            options["aws_allow_http"] = "true"
    return options


def _azure(host: str, hadoop: Mapping[str, str]) -> dict[str, str] | None:
    account = host.partition(".")[0]
    said = {key.removesuffix(f".{host}"): value for key, value in hadoop.items() if key.startswith("fs.azure.")}
    kind = said.pop("fs.azure.account.auth.type", None)
    options = {"azure_storage_account_name": account}
    if (key := said.pop("fs.azure.account.key", None)) is not None and kind in (None, "SharedKey"):
        options["azure_storage_account_key"] = key
    elif (token := said.pop("fs.azure.sas.fixed.token", None)) is not None and kind == "SAS":
        options["azure_storage_sas_token"] = token
    elif kind == "OAuth":
        provider = said.pop("fs.azure.account.oauth.provider.type", "")
        names = ("id", "secret", "endpoint")
        parts = [said.pop(f"fs.azure.account.oauth2.client.{name}", "") for name in names]
        tenant = re.match(r"https://login\.microsoftonline\.com/([^/]+)/oauth2/", parts[2])
        if not provider.endswith("ClientCredsTokenProvider") or tenant is None:
            return None
        options |= {
            "azure_storage_client_id": parts[0],
            "azure_storage_client_secret": parts[1],
            "azure_storage_tenant_id": tenant[1],
        }
    elif kind is not None:
        return None
    return options if not any("account" in key or "sas" in key for key in said) else None


def _google(hadoop: Mapping[str, str]) -> dict[str, str] | None:
    said = {key: value for key, value in hadoop.items() if re.match(r"(?:fs\.gs|google\.cloud)\.auth\.", key)}
    files = [said.pop(key) for key in tuple(said) if key.endswith("auth.service.account.json.keyfile")]
    said = {key: value for key, value in said.items() if not key.endswith("auth.service.account.enable")}
    return None if said else {"google_service_account": files[0]} if files else {}


def _text(value: Setting) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
