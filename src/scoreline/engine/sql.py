"""Names and texts as Spark SQL takes them: nothing of a configuration reaches a statement unquoted."""

__all__ = ["literal", "quoted", "quoted_name"]


def quoted(name: str) -> str:
    """One part of an identifier, quoted for Spark SQL.

    >>> quoted("odd`name")
    '`odd``name`'
    """
    return "`" + name.replace("`", "``") + "`"


def quoted_name(dotted: str) -> str:
    """A name such as `catalog.schema.table`, each part quoted.

    >>> quoted_name("main.films")
    '`main`.`films`'
    """
    return ".".join(quoted(part) for part in dotted.split("."))


def literal(text: str) -> str:
    """A string literal of Spark SQL.

    >>> literal("it's")
    "'it\\\\'s'"
    """
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
