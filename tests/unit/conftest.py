"""MLflow warns while it is imported: that happens here, before warnings are errors."""

import pytest
from hypothesis import settings

from scoreline.registry.client import pointing_at, quiet_mlflow

settings.register_profile("shared machine", deadline=None)  # others may be using its cores
settings.load_profile("shared machine")

with quiet_mlflow():
    import mlflow.pyfunc

    from scoreline.models.mlflow_model import log_recommender
    from unit.models.fitted import fitted_model


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry with two versions of `movies`; 1 is the champion, 2 is worse and has string ids."""
    home = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{home / 'mlflow.db'}"
    with quiet_mlflow(), pointing_at(uri, None):
        client = mlflow.MlflowClient()
        mlflow.set_experiment(experiment_id=client.create_experiment("tests", str(home / "artifacts")))
        for score, key in (("0.30", "long"), ("0.20", "string")):
            with mlflow.start_run():
                info = log_recommender(fitted_model(key=key), registered_name="movies")
            tags = {"ndcg_at_10": score, "test_users": "100"}
            if info.registered_model_version != 1:
                tags |= {"champion": "1", "champion_ndcg_at_10": "0.30"}
            for name, value in tags.items():
                client.set_model_version_tag("movies", info.registered_model_version, f"scoreline.{name}", value)
        client.set_registered_model_alias("movies", "champion", "1")
    return uri
