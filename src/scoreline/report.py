"""What every step gives back: a frozen report that people read and programs take apart."""

import dataclasses
import html
import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Report"]


class Report:
    """Base of all reports. Printed it is a few lines, in a notebook the same; a program takes a dict, JSON or rows.

    What prints it, `__str__`, is beside the fields of each.
    """

    def to_dict(self) -> dict[str, object]:
        """The fields, reports inside as dicts."""
        return dataclasses.asdict(self)  # type: ignore[call-overload,no-any-return]

    def to_json(self) -> str:
        """The fields as one line of JSON; moments are ISO texts."""
        return json.dumps(self.to_dict(), default=_plain, ensure_ascii=False)

    def rows(self) -> list[dict[str, object]]:
        """The report as rows of a table: one, with a name such as `audit.scored` for what is inside of a field."""
        return [dict(_flat(self.to_dict()))]

    def to_pandas(self) -> "pd.DataFrame":
        """`rows` as a DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.rows())

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _flat(fields: Mapping[str, object], before: str = "") -> list[tuple[str, object]]:
    """
    >>> _flat({"state": "published", "audit": {"scored": 3}})
    [('state', 'published'), ('audit.scored', 3)]
    """
    found: list[tuple[str, object]] = []
    for name, value in fields.items():
        found += _flat(value, f"{before}{name}.") if isinstance(value, Mapping) else [(f"{before}{name}", value)]
    return found
