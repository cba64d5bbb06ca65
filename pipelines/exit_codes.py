"""Exit codes of the commands, and the one line on standard error that explains a failure."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

from copydetect.errors import (
    CatalogBusyError,
    CopydetectError,
    DryRun,
    InputError,
    ModelError,
    OptionError,
    TooManyFailuresError,
    TransientError,
)
from copydetect.options import LogFormat

from .logs import line_of
from .shutdown import Ended

DONE, FAILED, BAD_ARGUMENTS, TOO_MANY_FAILURES = 0, 1, 2, 3
CATALOG_BUSY = 4
"""Another process is at work on the catalogue."""
TRY_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h: a scheduler may run the same command again."""


def exit_code_of(
    job: Callable[[], object], verbose: bool = False, log_format: LogFormat = "text"
) -> int:
    """Run a job; an expected error becomes one message on standard error and an exit code."""
    try:
        job()
        return DONE
    except (CopydetectError, OSError, KeyboardInterrupt) as error:
        if verbose:
            traceback.print_exc()
        code = code_of(error)
        said = line_of(f"copydetect: {message_of(error)}", log_format, "error", exit_code=code)
        print(said, file=sys.stderr)
        return code


def message_of(error: BaseException) -> str:
    """The one line that is said of an expected error."""
    if isinstance(error, KeyboardInterrupt):
        what = str(error) if isinstance(error, Ended) else "interrupted"
        return f"{what}; the same command continues where it stopped"
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
    return str(error)


def code_of(error: BaseException) -> int:
    """The exit code that an expected error gives."""
    if isinstance(error, Ended):
        return error.exit_code
    if isinstance(error, DryRun):
        return DONE
    if isinstance(error, (InputError, OptionError, ModelError)):
        return BAD_ARGUMENTS
    if isinstance(error, TooManyFailuresError):
        return TOO_MANY_FAILURES
    if isinstance(error, CatalogBusyError):
        return CATALOG_BUSY
    return TRY_AGAIN if isinstance(error, TransientError) else FAILED
