"""What is printed on standard error: lines for people, or one JSON object per line for programs."""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any

from copydetect.options import LogFormat


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
