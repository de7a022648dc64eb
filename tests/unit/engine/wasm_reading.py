"""Reads a wasm module's sections and instructions (WebAssembly core specification 2.0, chapter 5)."""

from collections.abc import Iterator

CODE_SECTION = 10
# Instructions by what follows their opcode; sign-extension and saturating conversions included.
BLOCKS = range(0x02, 0x05)
ONE_INDEX = {0x0C, 0x0D, 0x10, *range(0x20, 0x27), 0x3F, 0x40, 0x41, 0x42}
BRANCH_TABLE, CALL_INDIRECT = 0x0E, 0x11
MEMORY_ACCESSES = range(0x28, 0x3F)
CONSTANT_BYTES = {0x43: 4, 0x44: 8}
PLAIN = {0x00, 0x01, 0x05, 0x0B, 0x0F, 0x1A, 0x1B, *range(0x45, 0xC5)}
EXTENDED = 0xFC
EXTENDED_INDICES = {**dict.fromkeys(range(8), 0), 8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}
TABLE_WRITES = {(0x26, 0), (EXTENDED, 12), (EXTENDED, 14), (EXTENDED, 15), (EXTENDED, 17)}
"""table.set, table.init, table.copy, table.grow, table.fill."""


def leb128(content: bytes, at: int) -> tuple[int, int]:
    """An unsigned LEB128 number and where it ends (a signed one ends at the same place)."""
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def sections_of(module: bytes) -> dict[int, bytes]:
    """The sections of a module by id; custom ones (0) overwrite each other."""
    sections: dict[int, bytes] = {}
    at = 8
    while at < len(module):
        section_id = module[at]
        length, begin = leb128(module, at + 1)
        sections[section_id] = module[begin : begin + length]
        at = begin + length
    return sections


def opcodes_of(code_section: bytes) -> Iterator[tuple[int, int]]:
    """Every instruction's opcode, with the second one of extended instructions (else 0).

    Fails at an opcode it does not know, so none is passed over.
    """
    function_count, at = leb128(code_section, 0)
    for _ in range(function_count):
        length, at = leb128(code_section, at)
        end = at + length
        local_groups, at = leb128(code_section, at)
        for _ in range(local_groups):
            _, at = leb128(code_section, at)
            at += 1
        while at < end:
            opcode, extension, at = _instruction(code_section, at)
            yield opcode, extension
        assert at == end, "an instruction was misread"


def _instruction(code: bytes, at: int) -> tuple[int, int, int]:
    opcode, extension, at = code[at], 0, at + 1
    indices = 0
    if opcode in BLOCKS or opcode in ONE_INDEX:
        indices = 1
    elif opcode in MEMORY_ACCESSES or opcode == CALL_INDIRECT:
        indices = 2
    elif opcode == BRANCH_TABLE:
        targets, at = leb128(code, at)
        indices = targets + 1
    elif opcode == EXTENDED:
        extension, at = leb128(code, at)
        indices = EXTENDED_INDICES[extension]
    elif opcode not in PLAIN:
        at += CONSTANT_BYTES[opcode]
    for _ in range(indices):
        _, at = leb128(code, at)
    return opcode, extension, at
