"""ingest, run and export each night by Dagster, as three assets; change what is in capitals.

    dagster dev -f definitions.py

scoreline is in an environment of its own. Secrets of the configuration come from Dagster's environment.
"""

import json
import subprocess

import dagster as dg

COMMAND = "/opt/scoreline/bin/scoreline"
CONFIG = "/etc/scoreline/pipeline.yaml"
FOLDER = "/var/lib/scoreline"  # relative paths of the configuration begin here
WAIT = 300  # seconds before a step that failed is tried again; a run takes up what is staged
POOL = "scoreline"  # one step at a time: `concurrency: {pools: {default_limit: 1}}` in dagster.yaml

# exit codes (docs/codes.md) at which trying again mends nothing
FINAL = {2: "usage, configuration or input is wrong", 3: "the audit refused to publish"}
AGAIN = dg.RetryPolicy(max_retries=3, delay=WAIT)


def step(*arguments: str) -> dg.MaterializeResult:
    """Run a step of scoreline; its messages are in the run's log, its report becomes the asset's metadata."""
    command = [COMMAND, *arguments, "--config", CONFIG, "--quiet", "--json"]
    done = subprocess.run(command, cwd=FOLDER, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        why = FINAL.get(done.returncode, "begun and not finished")
        raise dg.Failure(f"exit code {done.returncode}: {why}", allow_retries=done.returncode not in FINAL)
    return dg.MaterializeResult(metadata={"report": json.loads(done.stdout)})


@dg.asset(group_name="scoreline", pool=POOL, retry_policy=AGAIN)
def user_history() -> dg.MaterializeResult:
    """One row per user: all events, merged."""
    return step("ingest", "--new")  # the files of events.files


@dg.asset(group_name="scoreline", pool=POOL, retry_policy=AGAIN, deps=[user_history])
def recommendations() -> dg.MaterializeResult:
    """A list per user, published when the audit has passed it."""
    return step("run")


@dg.asset(group_name="scoreline", pool=POOL, retry_policy=AGAIN, deps=[recommendations])
def exported_recommendations() -> dg.MaterializeResult:
    """The same rows in the application's database."""
    return step("export")


ASSETS = [user_history, recommendations, exported_recommendations]

defs = dg.Definitions(
    assets=ASSETS,
    schedules=[
        dg.ScheduleDefinition(
            name="nightly", target=ASSETS, cron_schedule="30 2 * * *", execution_timezone="Europe/Berlin"
        )
    ],
)
