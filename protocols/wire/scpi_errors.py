"""SCPI errors: the standard numbers with their texts. Knows no message and no queue.

Numbers and texts are those of SCPI-1999, volume 2, chapter 21; the hundreds name the class.
"""

from __future__ import annotations

from protocols.wire.errors import RemoteProtocolError

__all__ = ["MAX_ERROR_TEXT", "STANDARD_TEXTS", "ScpiError"]

STANDARD_TEXTS: dict[int, str] = {
    -101: "Invalid character",
    -102: "Syntax error",
    -103: "Invalid separator",
    -108: "Parameter not allowed",
    -109: "Missing parameter",
    -111: "Header separator error",
    -112: "Program mnemonic too long",
    -113: "Undefined header",
    -114: "Header suffix out of range",
    -121: "Invalid character in number",
    -123: "Exponent too large",
    -124: "Too many digits",
    -128: "Numeric data not allowed",
    -131: "Invalid suffix",
    -134: "Suffix too long",
    -138: "Suffix not allowed",
    -144: "Character data too long",
    -148: "Character data not allowed",
    -151: "Invalid string data",
    -158: "String data not allowed",
    -161: "Invalid block data",
    -168: "Block data not allowed",
    -178: "Expression data not allowed",
    -203: "Command protected",
    -220: "Parameter error",
    -221: "Settings conflict",
    -222: "Data out of range",
    -223: "Too much data",
    -224: "Illegal parameter value",
    -240: "Hardware error",
    -241: "Hardware missing",
    -250: "Mass storage error",
    -310: "System error",
    -330: "Self-test failed",
    -350: "Queue overflow",
    -363: "Input buffer overrun",
    -365: "Time out error",
    -410: "Query INTERRUPTED",
    -420: "Query UNTERMINATED",
    -430: "Query DEADLOCKED",
}
"""Number -> text of every error this project reports."""

MAX_ERROR_TEXT = 255
"""Most characters of text and detail together (SCPI-1999, 21.8.1)."""


class ScpiError(RemoteProtocolError):
    """A program message, or one command of it, that was not carried out.

    Attributes:
        number: Standard number, -100 ... -499.
        text: Standard text, a semicolon and what was wrong here; printable ASCII.
    """

    def __init__(self, number: int, detail: str = "") -> None:
        text = STANDARD_TEXTS[number] + (f"; {detail}" if detail else "")
        self.number = number
        self.text = printable(text)[:MAX_ERROR_TEXT]
        super().__init__(f"{number}: {self.text}")


def printable(text: str) -> str:
    """Return `text` as one line of printable ASCII; a question mark stands for what is none."""
    return "".join(c if " " <= c <= "~" else " " if c in "\t\r\n" else "?" for c in text)
