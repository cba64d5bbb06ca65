"""What is printed on standard error: lines for people, or one JSON object per line for programs."""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from copydetect.options import LogFormat

from .shutdown import forgiving


def line_of(text: str, log_format: LogFormat, /, level: str = "info", **values: Any) -> str:
    """One line; values: what a program may want to know, which the text says as well."""
    if log_format == "text":
        return text
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "level": level, "message": text, **values})


class JsonFormatter(logging.Formatter):
    """Records of `logging` as such lines."""

    def format(self, record: logging.LogRecord) -> str:
        values = {"logger": record.name}
        if record.exc_info:
            values["traceback"] = self.formatException(record.exc_info)
        return line_of(record.getMessage(), "json", record.levelname.lower(), **values)


def set_up_logging(verbose: bool, log_format: LogFormat) -> None:
    """Log errors alone, or everything, in the form that was asked for."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    if log_format == "json":
        for handler in logging.getLogger().handlers:
            handler.setFormatter(JsonFormatter())
    logging.getLogger().setLevel(logging.INFO if verbose else logging.ERROR)
    # A failed stage raises; Beam's own report of it is a page of frames.
    logging.getLogger("apache_beam").setLevel(logging.INFO if verbose else logging.CRITICAL)


@contextlib.contextmanager
def muted(verbose: bool) -> Iterator[TextIO]:
    """Keep what Beam's workers and decoders print off standard error; gives a way to write there.

    Beam prints tracebacks whatever the logging level, and libraries in C warn of damaged images.
    """
    if verbose:
        yield sys.stderr
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with forgiving(kept, close=True) as terminal, open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            with contextlib.redirect_stderr(nowhere):
                yield terminal
        finally:
            os.dup2(kept, 2)
