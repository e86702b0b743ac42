"""Names of files made from the names of audiences and customers, which may hold anything."""

from __future__ import annotations

import re

__all__ = ["safe_file_name"]

_UNFIT = re.compile(r'[%/\\:*?"<>|\x00-\x1f\x7f]|^\.')


def safe_file_name(text: str) -> str:
    """A text as a file's name, or as the beginning of one: `Path("exports") / f"{file_name(audience_name)}.csv"`.

    Characters that no file's name should hold are written by their codes, such as `%2F` for a slash. So the file is
    never in another folder and never hidden, and two texts never give the same name.
    """
    return _UNFIT.sub(lambda match: f"%{ord(match[0]):02X}", text)
