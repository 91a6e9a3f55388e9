import pytest

from scoreline.operations.absent import _is


@pytest.mark.parametrize(
    ("user", "row", "place", "found"),
    [
        (42, "42,17,5", (0, 3), True),
        (42, " 42.0 ,17,5", (0, 3), True),
        (42, "17,42,5", (0, 3), False),
        (42, "5,17,42", (2, 3), True),
        (42, "5,a title, with a separator,42", (2, 3), True),
        (42, "42", (0, 3), True),  # a line that was cut
        (42, "5", (2, 3), False),
        ("0042", "0042,17", (0, 2), True),
        ("42", "0042,17", (0, 2), False),
    ],
)
def test_a_quarantined_row_is_a_users_by_the_field_of_the_user(
    user: object, row: str, place: tuple[int, int], found: bool
) -> None:
    assert _is(user, row.split(","), place) is found
