"""The errors that a caller may want to tell apart.

CopydetectError
├── InputError      what the user pointed at: missing, empty, unreadable, not what it claims to be
├── OptionError     a setting out of range, or settings that contradict each other
├── ModelError      a model file that is none, or one that does not fit the data it is used with
├── ImageError      one image that cannot be used; becomes a row of the failures table
└── IndexFileError  a shard or partition file: missing, truncated, foreign, of other settings
"""

from __future__ import annotations

import errno

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
    """One image cannot be used; the run goes on and the image becomes a row of `failures`."""


class IndexFileError(CopydetectError):
    """A shard or partition file is missing, truncated, foreign or was made with other settings."""


def is_transient(error: BaseException) -> bool:
    """Whether the same may succeed another time, with nothing done about the input.

    So it is after want of memory, and where a file could not be read for another reason than that
    it is not there or no file. The first such cause of `error` decides.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError):
            return True
        if isinstance(cause, OSError):
            return cause.errno not in _LASTING and not isinstance(error, ImageError)
        cause = cause.__cause__
    return False
