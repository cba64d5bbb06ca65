"""Clean ends of the process: by signals, and when nobody reads its output any more."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from typing import Any, TextIO

_ASKED_TO_END = ("SIGTERM", "SIGHUP")
_ASKED: list[int] = []
"""The signals that have come."""


class Ended(KeyboardInterrupt):
    """The process was asked to end, by a scheduler or a terminal that was closed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __str__(self) -> str:
        return f"ended by {signal.Signals(self.number).name}"

    @property
    def exit_code(self) -> int:
        """What a shell gives for a process that such a signal has ended: 143 or 129."""
        return 128 + self.number


def end_cleanly_when_asked() -> None:
    """Have SIGTERM and SIGHUP raise `Ended` in the main thread, as Ctrl-C raises its own.

    A signal that the process was told to ignore, as by `nohup`, stays ignored.
    """

    def end(number: int, _: Any) -> None:
        _ASKED.append(number)
        raise Ended(number)

    for name in _ASKED_TO_END:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, end)


def end_if_asked() -> None:
    """Raise `Ended` again where it was raised in a callback of a library, which has dropped it."""
    if _ASKED:
        raise Ended(_ASKED[0])


def forgive_closed_streams() -> None:
    """Have standard output and error swallow what nobody reads any more, or what is closed.

    A descriptor that is closed would be given to the next file that is opened, which then gets what
    is printed. So it is opened on nothing.
    """
    for number in range(3):
        if not _is_open(number):
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
        setattr(sys, name, forgiving(number, getattr(stream, "encoding", None) or "utf-8"))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def forgiving(descriptor: int, encoding: str = "utf-8", close: bool = False) -> TextIO:
    """A text stream on a descriptor, on which a reader that has gone is no error.

    close: whether the descriptor is closed with it.
    """
    raw = io.BufferedWriter(_Forgiving(descriptor, close))
    return io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=True)


class _Forgiving(io.RawIOBase):
    def __init__(self, descriptor: int, close: bool) -> None:
        self._descriptor = descriptor
        self._close = close

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        try:
            return os.write(self._descriptor, data)
        except BrokenPipeError:
            return len(data)

    def close(self) -> None:
        if self._close and not self.closed:
            os.close(self._descriptor)
        super().close()
