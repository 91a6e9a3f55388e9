"""Where a module's test is: in a file of its name, or where THROUGH says."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE, TESTS = ROOT / "src" / "scoreline", ROOT / "tests"
# folders beside unit/<package> and integration/<package> that are about a package
ALSO = {
    "deploy": ["deploy"],
    "export": ["integration/databases"],
    "sources": ["integration/databases"],
}
# modules that are tested by another name, because they are only met together: what they do is seen in one whole table,
# one command, one file
THROUGH = {
    # commands: words, exit codes and what is printed
    "integration/cli/test_cli.py": ["cli/main", "cli/options", "cli/beginning", "cli/nightly", "cli/morning",
                                    "cli/upkeep", "cli/demo", "cli/demo_data"],
    "unit/cli/test_init.py": ["cli/first_rows"],
    "deploy/test_submit.py": ["cli/elsewhere"],
    "deploy/test_wheel.py": ["deploy/shipped"],
    "deploy/test_every_key.py": ["deploy/targets"],
    "integration/deploy/test_mapreduce.py": ["deploy/hadoop_streaming/job", "deploy/hadoop_streaming/mapper"],
    # what a file may say, seen by reading one
    "unit/config/test_loading.py": ["config/section", "config/settings", "config/sources", "config/model",
                                    "config/scoring", "config/monitoring"],
    "unit/config/test_triggers.py": ["config/watch"],
    "unit/config/test_page.py": ["config/keys", "config/estimator_names"],
    # what tables hold already
    "unit/test_stored_values.py": ["pipeline/manifest"],
    # a session, and what is asked of it
    "integration/engine/test_borrowed_session.py": ["engine/session", "engine/session_settings"],
    "integration/engine/test_sources.py": ["engine/embedded/files", "engine/embedded/spool", "engine/embedded/text",
                                           "sources/arrow_parquet", "sources/copied_postgres", "sources/json_text",
                                           "sources/local_json"],
    "integration/engine/test_embedded.py": ["engine/choice", "engine/engine", "engine/thrown", "engine/embedded/sail",
                                            "pipeline/pooled", "sources/arrow_csv", "tables/embedded",
                                            "tables/added_files"],
    "integration/engine/test_embedded_accidents.py": ["engine/memory"],
    "integration/tables/test_catalog.py": ["tables/delta", "engine/sql"],
    "integration/tables/test_reading.py": ["tables/session_reading"],
    "integration/runs/test_keeping.py": ["tables/appending", "operations/log"],
    "integration/test_every_key.py": ["tables/schema", "tables/names"],
    "integration/sources/test_files.py": ["sources/reader", "sources/heads", "sources/text_files", "sources/parquet",
                                          "engine/filesystem"],
    "integration/databases/test_postgres_ingest.py": ["sources/database"],
    # the way of the data: whole tables before and after
    "integration/ingest/test_ingest.py": ["ingest/events", "ingest/items", "ingest/merge", "tables/quarantine"],
    "integration/ingest/test_order_of_events.py": ["ingest/histories"],
    "integration/ingest/test_new_files.py": ["engine/listing"],
    "integration/ingest/test_new.py": ["sources/news"],
    "integration/pipeline/test_run.py": ["pipeline/snapshot", "pipeline/slices", "pipeline/staging", "pipeline/publish",
                                         "pipeline/reasons", "pipeline/run_report",
                                         "pipeline/audit_sample", "sources/rules", "engine/frames",
                                         "sources/whole_numbers", "pipeline/published", "operations/show",
                                         "operations/status", "registry/run_log"],
    "integration/operations/test_explain.py": ["operations/explanation", "operations/pinned_row", "operations/causes",
                                               "operations/staged"],
    "unit/engine/test_failures.py": ["engine/worker_errors"],
    "integration/pipeline/test_tabular.py": ["pipeline/inputs"],
    "integration/operations/test_report.py": ["operations/report/gather", "operations/report/written",
                                              "operations/report/model_facts"],
    "integration/operations/test_ui.py": ["operations/ui/lookups", "operations/ui/pages"],
    "integration/pipeline/test_strangers.py": ["operations/doctor", "operations/repair"],
    "faults/test_overlap.py": ["pipeline/fence"],
    "faults/test_audit_refuses.py": ["pipeline/approve"],
    "faults/test_tampered_models.py": ["pipeline/pinned_model", "pipeline/scoring_task", "registry/files"],
    "faults/alone/test_killed_workers.py": ["pipeline/worker_daemon"],
    # a watch from its beginning to its end
    "integration/watch/test_watching.py": ["watch/looks", "watch/process"],
    # one kind of database, one protocol
    "integration/databases/test_protocol.py": ["export/destinations/sql", "export/destinations/opening"],
    "integration/databases/test_postgres_export.py": [
        "export/destinations/postgres", "export/destinations/postgres_sql", "export/destinations/postgres_copy",
    ],
    # a model, from the estimator to the file and back
    "unit/models/test_estimator.py": ["models/latent_factors", "models/scoring"],
    "unit/models/test_recommender.py": ["models/artifacts"],
    "unit/models/test_signature.py": ["models/signature_types"],
    "unit/registry/test_versions.py": ["registry/store", "registry/promotion"],
    "unit/training/test_fit.py": ["training/train", "training/experiment", "training/interactions"],
}  # fmt: skip


def modules() -> set[str]:
    paths = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.glob("*/**/*.py"))
    return {path.as_posix() for path in paths if path.name != "__init__"}


def own_tests(module: str) -> list[Path]:
    package, name = module.split("/", maxsplit=1)[0], module.rsplit("/", 1)[-1]
    homes = [f"unit/{package}", f"integration/{package}", *ALSO.get(package, [])]
    return [path for home in homes for path in (TESTS / home).rglob(f"test_{name}.py")]


def test_every_module_has_its_test() -> None:
    elsewhere = {module for listed in THROUGH.values() for module in listed}
    assert {module for module in modules() - elsewhere if not own_tests(module)} == set()


def test_the_list_of_exceptions_has_no_line_too_many() -> None:
    listed = [module for group in THROUGH.values() for module in group]
    assert sorted(set(listed) - modules()) == []
    assert [module for module in listed if own_tests(module)] == []
    assert len(listed) == len(set(listed))
    assert [test for test in THROUGH if not (TESTS / test).is_file()] == []


def test_every_test_module_of_its_own_is_about_a_module() -> None:
    """A folder of unit tests has no file that nobody would look for: what it imports is in the package it mirrors."""
    strays = [
        path.relative_to(TESTS).as_posix()
        for path in (TESTS / "unit").glob("*/**/test_*.py")
        if f"scoreline.{path.relative_to(TESTS / 'unit').parts[0]}" not in path.read_text(encoding="utf-8")
    ]
    assert strays == []


def test_no_two_test_modules_have_one_name() -> None:
    # pytest takes a module in a folder that is no package for the first one of its name, and stops
    modules = [str(p.with_suffix("").relative_to(TESTS)) for p in TESTS.rglob("*.py")]
    folders = {m.rpartition("/")[0] for m in modules if m.endswith("__init__")}
    names = [m.rpartition("/")[2] for m in modules if m.rpartition("/")[0] not in folders]
    assert {n for n in names if names.count(n) > 1} <= {"conftest"}
