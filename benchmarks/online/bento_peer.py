"""BentoML's service of the same model; runs in its own environment, with this project's source on its path."""

from typing import Any

import bentoml

from peers import PandasKernel, service


@bentoml.service(workers=1, traffic={"timeout": 10})
class Fraud:
    def __init__(self) -> None:
        self.scorer = service(PandasKernel())

    @bentoml.api(route="/invocations")
    def score(self, inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [dict(answer) for answer in self.scorer.answers(inputs)]
