"""The errors that a caller may want to tell apart.

CopydetectError
├── InputError            what the user pointed at: missing, empty, not what it claims to be
├── OptionError           a setting out of range, or settings that contradict each other
├── ModelError            a model file that is none, or that does not fit the data it is used with
├── ImageError            one image that cannot be used; in a run it becomes a row of `failures`
├── IndexFileError        a shard or partition file: missing, truncated, foreign, of other settings
├── RunError              a finished run whose files are missing or damaged
├── TransientError        trouble that another try may mend: a lock is held, storage is busy
│   └── CatalogBusyError  another process is at work on the catalogue
├── DryRun                an engine that was only to translate a job has done so
└── TooManyFailuresError  a run that ended, but could not read more of its input than is allowed
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from copydetect.results import Result

_LASTING = frozenset(
    (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL)
)


class CopydetectError(Exception):
    """Base of every expected error. The message names the value and what would have been right."""


class InputError(CopydetectError):
    """The input is missing, empty, unreadable or not what it claims to be."""


class OptionError(CopydetectError):
    """A setting is out of range, or settings contradict each other."""


class ModelError(CopydetectError):
    """A model file is none, or does not fit the data that it is used with."""


class ImageError(CopydetectError):
    """One image cannot be used; a run goes on, and the image becomes a row of `failures`."""


class IndexFileError(CopydetectError):
    """A shard or partition file is missing, truncated, foreign or was made with other settings."""


class RunError(CopydetectError):
    """A finished run cannot be read: some of its files are missing or damaged."""


class TransientError(CopydetectError):
    """Another try may succeed: a lock is held by another run, or storage does not answer."""


class CatalogBusyError(TransientError):
    """Another process is at work on the catalogue, or has changed it meanwhile."""


class DryRun(CopydetectError):
    """An engine was told to translate jobs and not to run them: nothing more can be done."""


class TooManyFailuresError(CopydetectError):
    """A run could not read more of its input than `max_failed_fraction` allows.

    result: what `dedup` or `match` found all the same, else None. It replaces no earlier result
    that was within the limit.
    """

    def __init__(self, message: str, result: Result | None = None) -> None:
        super().__init__(message)
        self.result = result


def first_line(error: BaseException) -> str:
    """The first line of a library's message, without the pages that follow it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed another time, with nothing done about the input.

    True where memory ran out, and where a file exists and could not be read. The first such cause
    in the chain of `error` decides.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return True
        if isinstance(cause, OSError):
            return cause.errno not in _LASTING and not isinstance(error, ImageError)
        cause = cause.__cause__
    return False
