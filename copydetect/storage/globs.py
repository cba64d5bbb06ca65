"""Globs as regular expressions, with the same meaning on disks and in buckets.

Beam's own globs differ from what users know: there `a/**/b` does not match `a/b`, and `?` matches a
slash.
"""

from __future__ import annotations

import re

_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_PARTS = re.compile(r"(\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\])")


def glob_expression(pattern: str) -> str:
    """A glob as a regular expression over whole names, `**/` standing for any folders or none."""
    return "".join(
        _WILD.get(part) or (_set(part) if part[:1] == "[" and len(part) > 1 else re.escape(part))
        for part in _PARTS.split(pattern)
    )


def folder_before_wildcard(pattern: str) -> str:
    """The folder that all names are in that a glob matches; "" where that is the current one."""
    return re.split(r"[*?[]", pattern, maxsplit=1)[0].rpartition("/")[0]


def _set(part: str) -> str:
    """`[abc]` or `[!abc]` of a glob as a set of a regular expression."""
    negated = part[1] == "!"
    letters = re.sub(r"([\\\[\]^])", r"\\\1", part[1 + negated : -1])
    return f"[{'^' if negated else ''}{letters}]"
