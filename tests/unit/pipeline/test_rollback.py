from dataclasses import replace

from scoreline.pipeline.rollback import RollbackReport

BACK = RollbackReport("monday", "films", "1", 3, 4, 5, "recommendations", 1000, 2)


def test_a_rollback_to_the_present_champion_does_not_advise_to_promote_it() -> None:
    assert str(replace(BACK, next_version="1")) == (
        "recommendations shows run monday again (films version 1), as table version 5.\n"
        "1,000 users' rows came back from version 3, in the place of 2 of version 4.\n"
        "The next run scores again whoever is due, with the same version 1."
    )


def test_a_rollback_to_another_version_says_how_to_stay_with_it() -> None:
    for said in ("2", None):
        assert str(replace(BACK, next_version=said)) == (
            "recommendations shows run monday again (films version 1), as table version 5.\n"
            "1,000 users' rows came back from version 3, in the place of 2 of version 4.\n"
            "The next run scores again whoever is due: to stay with this model, promote it first (scoreline promote "
            "--version 1 --force), or name it in model.uri."
        )
