"""ingest, run and export each night by Airflow 3: copy it into the folder of DAGs and change what is in capitals.

Needs apache-airflow-providers-standard. scoreline is in an environment of its own: Airflow pins
what it needs. Secrets of the configuration come from the worker's environment.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import DAG, BaseOperator, Context, CronTriggerTimetable, chain
from airflow.sdk.exceptions import AirflowFailException

COMMAND = "/opt/scoreline/bin/scoreline"
CONFIG = "/etc/scoreline/pipeline.yaml"
FOLDER = "/var/lib/scoreline"  # relative paths of the configuration begin here
SCHEDULE = CronTriggerTimetable("30 2 * * *", timezone="Europe/Berlin")
WAIT = timedelta(minutes=5)  # before a step that failed is tried again; a run takes up what is staged

# exit codes (docs/codes.md) at which trying again mends nothing
FINAL = {2: "usage, configuration or input is wrong", 3: "the audit refused to publish"}


class ScorelineOperator(BaseOperator):
    """A step of scoreline, its output in the task's log."""

    template_fields = ("arguments",)

    def __init__(self, *, arguments: Sequence[str], **kwargs) -> None:
        super().__init__(**kwargs)
        self.arguments = arguments

    @cached_property
    def hook(self) -> SubprocessHook:
        return SubprocessHook()

    def execute(self, context: Context) -> None:
        command = [COMMAND, *self.arguments, "--config", CONFIG, "--quiet"]
        code = self.hook.run_command(command, cwd=FOLDER).exit_code
        if code in FINAL:
            raise AirflowFailException(f"exit code {code}: {FINAL[code]}")
        if code:
            raise RuntimeError(f"exit code {code}: begun and not finished")

    def on_kill(self) -> None:
        self.hook.send_sigterm()


with DAG(
    "scoreline",
    description="Events into histories, due users scored, audited, published and exported",
    schedule=SCHEDULE,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,  # a run scores whoever is due: one makes up for all that were missed
    max_active_runs=1,
    default_args={"retries": 3, "retry_delay": WAIT, "execution_timeout": timedelta(hours=4)},
    tags=["scoreline"],
) as dag:
    chain(
        ScorelineOperator(task_id="ingest", arguments=["ingest", "--new"]),  # the files of events.files
        ScorelineOperator(task_id="run", arguments=["run"]),
        ScorelineOperator(task_id="export", arguments=["export"]),
    )
