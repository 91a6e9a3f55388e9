"""Settings of a session for small jobs."""

from scoreline.engine.session import QUIET

# Start-up and small jobs: less compilation, fewer partitions. With one level of compilation Java keeps 48 MB of code,
# and soon throws away and compiles again what it runs all the time: so it gets more. Planning anew after each stage is
# a fifth of a small run. One test of the whole job keeps code generation and adaptive execution on.
QUICK = {
    "spark.master": "local[2]",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.extraJavaOptions": " ".join(
        [
            QUIET,
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-XX:ReservedCodeCacheSize=256m",
        ]
    ),
}
