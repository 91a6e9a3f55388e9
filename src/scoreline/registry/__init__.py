"""MLflow: versions and aliases, the files of a model, runs that are logged."""
