"""The languages a program may be written in. Apart from the engine's models: saving a workflow needs no more."""

from enum import StrEnum


class Language(StrEnum):
    """The language a program is written in."""

    JAVASCRIPT = "javascript"
    TYPESCRIPT = "typescript"
