"""Which keys a file may have: a walk over the models that say so."""

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel

__all__ = ["leaves", "section_in"]


def leaves(model: type[BaseModel], before: str = "") -> Iterator[str]:
    """Every key that holds no section, with the names of its sections before it: `scoring.k`."""
    for name, field in model.model_fields.items():
        section = section_in(field.annotation)
        yield from leaves(section, f"{before}{name}.") if section else [f"{before}{name}"]


def section_in(annotation: object) -> type[BaseModel] | None:
    """The section that a key holds, also an optional one or one of a list; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_in(part))), None)
