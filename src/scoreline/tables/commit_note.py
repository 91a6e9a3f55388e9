"""What our commits say of themselves in a table's log: the memory that a later run decides by.

A note is written strictly: whoever makes one says each field. It is read tolerantly: what is missing, unknown or of
another type, as another version of ours or a stranger may write it, is None or passed over. A reader that needs a field
and finds None does the longer thing: it compares all keys.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError

Moment = AwareDatetime | None
Number = StrictInt | None
Text = str | None


class _Note(BaseModel):
    model_config = ConfigDict(frozen=True, protected_namespaces=())  # model_version is ours

    format: Number = 1

    def text(self) -> str:
        """The note as it stands in the log."""
        return self.model_dump_json(exclude_none=True)

    def fields(self) -> dict[str, Any]:
        """What it says, without its kind and what only Delta and the fence need."""
        return self.model_dump(mode="json", exclude_none=True, exclude={"kind", "format", "attempt"})


def _attempt() -> str:
    # two runs may begin in the same millisecond: the attempt tells whose commit it is
    return uuid4().hex


class Publication(_Note):
    """A run's rows became the table's. `base_version`: of the table, on which the run was decided.

    For the next run: `complete`: nobody was due any more after it; `input_at`: the input's commit, in milliseconds of
    its log's clock; `oldest`: a lower bound of `scored_at`; `verified_at`: when the keys of both tables were compared.
    `approved_by`, `approval` (why) and `broken` (which limits) are a person's who published what the audit had refused.
    """

    kind: Literal["publish"] = "publish"
    pipeline: Text
    run_id: Text
    sequence: Number
    base_version: Number
    model: Text
    model_version: Text
    input: Text
    input_version: Number
    rules_hash: Text
    users: Number
    complete: StrictBool | None = None
    input_at: Number = None
    oldest: Moment = None
    verified_at: Moment = None
    approved_by: Text = None
    approval: Text = None
    broken: Sequence[str] | None = None
    attempt: Text = Field(default_factory=_attempt)


class Rollback(_Note):
    """The rows of `to_version`, which run `to_run` had published, became the table's again."""

    kind: Literal["rollback"] = "rollback"
    sequence: Number
    base_version: Number
    to_version: Number
    to_run: Text
    attempt: Text = Field(default_factory=_attempt)


class Verified(_Note):
    """No row changed: the keys of both tables were compared, and nobody was due."""

    kind: Literal["verified"] = "verified"
    base_version: Number
    verified_at: Moment


class Ingested(_Note):
    """Events were merged. `columns`: of their source; `updated_at`: what the changed rows are stamped with.

    `place`: where they were: "files", or which database, table or topic.
    """

    kind: Literal["ingest"] = "ingest"
    columns: Sequence[str] | None
    updated_at: Moment
    place: Text = None
    attempt: Text = Field(default_factory=_attempt)


class Repaired(_Note):
    """Users who had more than one row, `users` of them, have one again."""

    kind: Literal["repair"] = "repair"
    users: Number


class Staged(_Note):
    """A slice of a run was scored; the first commit of a staging table has the run's `manifest`, too."""

    kind: Literal["staged"] = "staged"
    slice: Number
    manifest: Mapping[str, Any] | None = None


Note = Annotated[Publication | Rollback | Verified | Ingested | Repaired | Staged, Field(discriminator="kind")]
_KINDS: Mapping[str, type[_Note]] = {kind.model_fields["kind"].default: kind for kind in get_args(get_args(Note)[0])}


def read_note(text: str | None) -> Note | None:
    """What a commit's user metadata says; None for a stranger's.

    >>> note = read_note('{"kind": "verified", "base_version": "3", "verified_at": "2026-01-01T00:00:00Z", "more": 1}')
    >>> note.base_version is None, note.verified_at.year
    (True, 2026)
    """
    try:
        said = json.loads(text or "null")
    except ValueError:
        return None
    kind = _KINDS.get(str(said.get("kind"))) if isinstance(said, dict) else None
    if kind is None:
        return None
    fields = {name: said.get(name) for name in kind.model_fields}
    try:
        return kind.model_validate(fields)  # type: ignore[return-value]
    except ValidationError as error:
        wrong = {str(found["loc"][0]) for found in error.errors()}
        return kind.model_validate(fields | dict.fromkeys(wrong - {"kind"}))  # type: ignore[return-value]
