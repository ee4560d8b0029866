"""Layout: a message class -> how its fields cross. Made once per class; knows no opcode.

The fields of fixed size at the head of a message are packed by one struct; the others follow one
by one. Every body is the one encoding of its message: what decodes encodes to the same bytes.
"""

from __future__ import annotations

import struct
from dataclasses import fields
from itertools import takewhile
from operator import attrgetter
from typing import Any, TypeVar, cast, get_type_hints

from protocols.wire.errors import LocalProtocolError, RemoteProtocolError
from protocols.wire.fields import FieldCodec, Fixed

__all__ = ["Layout", "Message"]


class Message:
    """Base of all messages; its subclasses are final."""


MessageT = TypeVar("MessageT", bound=Message)


class Layout:
    """Bytes of one kind of message."""

    def __init__(self, kind: type[Message]) -> None:
        """Read the annotations of `kind`: the codec of each field, in the order of the class."""
        hints = get_type_hints(kind, include_extras=True)
        codecs: dict[str, FieldCodec] = {
            f.name: hints[f.name].__metadata__[0] for f in fields(cast("Any", kind))
        }
        head = dict(takewhile(lambda item: isinstance(item[1], Fixed), codecs.items()))
        self.codecs = codecs
        self._kind = kind
        self._names = tuple(codecs)
        fixed = list(enumerate(cast("dict[str, Fixed]", head).values()))
        self._struct = struct.Struct("<" + "".join(c.format for _, c in fixed))
        self._checks = tuple((k, c.check) for k, c in fixed if c.check)
        self._understand = tuple((k, c.understand) for k, c in fixed if c.understand)
        self._get = _getter(tuple(head))
        self._tail = tuple((n, c) for n, c in codecs.items() if n not in head)

    def encode(self, message: Message) -> bytes:
        """Return the bytes of a message; LocalProtocolError if a value does not fit its field."""
        values = self._get(message)
        try:
            for place, check in self._checks:
                check(values[place])
            out = [self._struct.pack(*values)]
            for name, tail in self._tail:
                tail.write(getattr(message, name), out)
        except (LocalProtocolError, struct.error, OverflowError, TypeError) as error:
            raise self._blame(message) from error
        return b"".join(out)

    def decode(self, body: bytes) -> Message:
        """Return the message of a body; RemoteProtocolError for a field, missing or more bytes."""
        at = self._struct.size
        if at > len(body):
            raise RemoteProtocolError(
                f"{self._kind.__name__} ends after {len(body)} bytes, {at} are the least"
            )
        values = list(self._struct.unpack_from(body))
        try:
            for place, understand in self._understand:
                values[place] = understand(values[place])
            for _, tail in self._tail:
                value, at = tail.read(body, at)
                values.append(value)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{self._kind.__name__}: {error}") from error
        if at != len(body):
            raise RemoteProtocolError(f"{self._kind.__name__} has {len(body) - at} surplus bytes")
        # The values are checked; the __init__ of a frozen class would take longer than all of it.
        message = object.__new__(self._kind)
        message.__dict__.update(zip(self._names, values, strict=True))
        return message

    def _blame(self, message: Message) -> LocalProtocolError:
        for name, codec in self.codecs.items():
            try:
                codec.write(getattr(message, name), [])
            except (LocalProtocolError, TypeError) as error:
                return LocalProtocolError(f"{self._kind.__name__}.{name}: {error}")
        raise AssertionError("every field fits alone")  # pragma: no cover - heads are checked alike


def _getter(names: tuple[str, ...]) -> Any:  # noqa: ANN401 - message -> tuple of its head's values
    if not names:
        return lambda _: ()
    if len(names) == 1:
        return lambda message: (getattr(message, names[0]),)
    return attrgetter(*names)
