"""A pickle reader that can run nothing: it builds plain data and inert records.

Python's own unpickler calls what a file names, takes the memory that a file asks for and recurses
as deep as a file likes. This one knows the instructions that weight files use, calls no foreign
code at all, leaves long byte strings where they are in the file, and counts what it builds.
Source of the instructions: the Python standard library's ``pickletools`` documentation.
"""

from __future__ import annotations

import struct
from typing import Any, BinaryIO, Callable, Mapping

from .errors import CheckpointError
from .pickle_values import Cursor, Global, Inert, Meaning
from .tensor_slots import brief

# The largest checkpoint known, with its optimizer, needs about 200,000 instructions.
MAX_STEPS = 1_000_000


class _Mark:
    """The bottom of a group on the stack."""


_MARK = _Mark()
Handler = Callable[["PickleMachine"], object]


class PickleMachine(Cursor):
    """One run over one pickle that lies in ``file`` from ``start`` to ``end``."""

    def __init__(self, file: BinaryIO, start: int, end: int, meaning: Meaning) -> None:
        """Prepare a run; nothing is read yet."""
        super().__init__(file, start, end)
        self._meaning = meaning
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Run to the end of the pickle and return its value; ``position`` is then behind it.

        Raises:
            CheckpointError: The pickle is truncated, damaged, too large, or asks for a name or
                an instruction that weight files do not need.
        """
        self.seek()
        for _ in range(MAX_STEPS):
            code = self.take(1)
            if code == b".":
                return self.pop()
            handler = _HANDLERS.get(code)
            if handler is None:
                raise CheckpointError(
                    f"has the pickle instruction {code!r} at byte {self.position - 1}, "
                    "which weight files do not use"
                )
            handler(self)
        raise CheckpointError(f"has a pickle of more than {MAX_STEPS} instructions")

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the top of the stack, which must not be a mark."""
        value = self._stack.pop() if self._stack else _MARK
        if value is _MARK:
            raise CheckpointError("has a damaged pickle: its stack is empty")
        return value

    def group(self) -> list[Any]:
        """Take everything above the last mark, and the mark."""
        for index in range(len(self._stack) - 1, -1, -1):
            if self._stack[index] is _MARK:
                values = self._stack[index + 1 :]
                del self._stack[index:]
                return values
        raise CheckpointError("has a damaged pickle: a mark is missing")

    def mark(self) -> None:
        """Begin a group."""
        self._stack.append(_MARK)

    def top(self) -> Any:
        """Return the top of the stack and leave it there."""
        value = self.pop()
        self.push(value)
        return value

    def remember(self, key: int) -> None:
        """Keep the top of the stack under a number."""
        self._memo[key] = self.top()

    def recall(self, key: int) -> None:
        """Push what is kept under a number."""
        if key not in self._memo:
            raise CheckpointError("has a damaged pickle: it refers to what is not there")
        self.push(self._memo[key])

    def memoize(self) -> None:
        """Keep the top of the stack under the next number."""
        self.remember(len(self._memo))

    def name(self, module: Any, name: Any) -> None:
        """Push a name that the file refers to, if its format knows it."""
        if not (isinstance(module, str) and isinstance(name, str)):
            raise CheckpointError("has a damaged pickle: a name is no text")
        found = Global(module, name)
        self._meaning.check(found)
        self.push(found)

    def call(self) -> None:
        """Replace a name and its arguments by what the format makes of them."""
        arguments, kind = self.pop(), self.pop()
        if not isinstance(kind, Global) or not isinstance(arguments, tuple):
            raise CheckpointError(f"asks to call {brief(type(kind).__name__)}, which is no name")
        self.push(self._meaning.call(kind, arguments))

    def call_with_keywords(self) -> None:
        """Do what ``call`` does, dropping keyword arguments."""
        self.pop()
        self.call()

    def build(self) -> None:
        """Give the object below the top its state."""
        state, target = self.pop(), self.pop()
        self.push(self._meaning.build(target, state))

    def persistent(self) -> None:
        """Replace a persistent id by what it stands for."""
        self.push(self._meaning.persistent(self.pop()))

    def extend(self, values: list[Any]) -> None:
        """Add values to the list, set or object on the top."""
        target = self.top()
        items = target.items if isinstance(target, Inert) else target
        if not isinstance(items, list):
            raise CheckpointError("has a damaged pickle: it appends to what is no list")
        items.extend(values)

    def update(self, pairs: list[Any]) -> None:
        """Add alternating keys and values to the map or object on the top."""
        target = self.top()
        if isinstance(target, Inert):
            target.items.extend(pairs)
            return
        if not isinstance(target, dict) or len(pairs) % 2:
            raise CheckpointError("has a damaged pickle: it sets items of what is no map")
        for key, value in zip(pairs[::2], pairs[1::2]):
            target[_key(key)] = value


def _key(value: Any) -> Any:
    """Return a value that is safe to hash: tuples hash by recursion, however deep they are."""
    plain = value is None or isinstance(value, (str, int, float, Global, Inert))
    return value if plain else Inert(Global("builtins", type(value).__name__), (value,))


def _push(value: Any) -> Handler:
    return lambda m: m.push(value)


def _integer(m: PickleMachine) -> None:
    m.push(int.from_bytes(m.take(m.number("<B")), "little", signed=True))


def _pair(m: PickleMachine) -> list[Any]:
    value = m.pop()
    return [m.pop(), value]


def _tuple(count: int) -> Handler:
    return lambda m: m.push(tuple([m.pop() for _ in range(count)][::-1]))


def _global(m: PickleMachine) -> None:
    module = m.line()
    m.name(module, m.line())


def _check_protocol(number: int) -> None:
    if number > 5:
        raise CheckpointError("has a pickle of a protocol above 5: save it again with protocol 4")


_HANDLERS: Mapping[bytes, Handler] = {
    b"\x80": lambda m: _check_protocol(m.number("<B")),
    b"\x95": lambda m: m.take(8),
    b"N": _push(None),
    b"\x88": _push(True),
    b"\x89": _push(False),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"\x8a": _integer,
    b"G": lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    b"X": lambda m: m.push(m.text(m.number("<I"))),
    b"\x8c": lambda m: m.push(m.text(m.number("<B"))),
    b"\x8d": lambda m: m.push(m.text(m.number("<Q"))),
    b"C": lambda m: m.push(m.blob(m.number("<B"))),
    b"B": lambda m: m.push(m.blob(m.number("<I"))),
    b"\x8e": lambda m: m.push(m.blob(m.number("<Q"))),
    b"\x96": lambda m: m.push(m.blob(m.number("<Q"))),
    b")": _push(()),
    b"\x85": _tuple(1),
    b"\x86": _tuple(2),
    b"\x87": _tuple(3),
    b"t": lambda m: m.push(tuple(m.group())),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.group()),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.group()),
    b"}": lambda m: m.push({}),
    b"s": lambda m: m.update(_pair(m)),
    b"u": lambda m: m.update(m.group()),
    b"\x8f": lambda m: m.push([]),
    b"\x90": lambda m: m.extend(m.group()),
    b"\x91": lambda m: m.push(m.group()),
    b"(": lambda m: m.mark(),
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.group(),
    b"2": lambda m: m.push(m.top()),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.memoize(),
    b"h": lambda m: m.recall(m.number("<B")),
    b"j": lambda m: m.recall(m.number("<I")),
    b"c": _global,
    b"\x93": lambda m: m.name(*_pair(m)),
    b"R": lambda m: m.call(),
    b"\x81": lambda m: m.call(),
    b"\x92": lambda m: m.call_with_keywords(),
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.persistent(),
}
