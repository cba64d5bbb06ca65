"""Find edited copies of images: describe, index, search, verify, group and report.

    import copydetect
    result = copydetect.dedup("photos", "out")
    print(result.summary)

What is exported here is loaded when it is first used, so that importing the package is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from copydetect import errors, transforms
    from copydetect.api import (
        ask,
        compare,
        dedup,
        describe,
        export,
        match,
        nightly,
        open_catalog,
    )
    from copydetect.api import open_run as open
    from copydetect.catalog.catalog import Catalog
    from copydetect.catalog.nights import NightSummary
    from copydetect.comparing import Comparison
    from copydetect.options import EngineOptions, RunOptions
    from copydetect.results import Result
    from copydetect.summary import Summary

__version__ = "0.1.0"

__all__ = [
    "Catalog",
    "Comparison",
    "EngineOptions",
    "NightSummary",
    "Result",
    "RunOptions",
    "Summary",
    "ask",
    "compare",
    "dedup",
    "describe",
    "errors",
    "export",
    "match",
    "nightly",
    "open",
    "open_catalog",
    "transforms",
]

_PLACES = {
    "Catalog": "catalog.catalog",
    "Comparison": "comparing",
    "EngineOptions": "options",
    "NightSummary": "catalog.nights",
    "Result": "results",
    "RunOptions": "options",
    "Summary": "summary",
}
"""Of names; those that are not there are functions of `api`."""
_MODULES = ("errors", "transforms")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"copydetect.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'copydetect' has no attribute {name!r}")
    module = importlib.import_module(f"copydetect.{_PLACES.get(name, 'api')}")
    return getattr(module, "open_run" if name == "open" else name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
