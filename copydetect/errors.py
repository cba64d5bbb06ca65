"""The errors that a caller may want to tell apart.

CopydetectError
├── InputError      what the user pointed at: missing, empty, unreadable, not what it claims to be
├── OptionError     a setting out of range, or settings that contradict each other
├── ModelError      a model file that is none, or one that does not fit the data it is used with
├── ImageError      one image that cannot be used; becomes a row of the failures table
└── IndexFileError  a shard or partition file: missing, truncated, foreign, of other settings
"""


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
