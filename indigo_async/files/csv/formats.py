"""Recognize files that are not CSVs, whatever their names, and say what to do with them."""

from __future__ import annotations

import re

__all__ = [
    "CTRL_Z",
    "ENDS_WITH_CTRL_Z",
    "KINDS_BY_SUFFIX",
    "explain_binary",
    "explain_bytes",
    "explain_text",
    "not_csv",
]

_SAVE_AS_CSV = "save it as CSV (UTF-8) first"
_EXPORT_AS_CSV = "export the list as CSV instead"
_UNPACK = "unpack it first"
_DOWNLOAD = "download the list itself"

_EXCEL = ("an Excel workbook", _SAVE_AS_CSV)
_OLD_EXCEL = ("an old Excel workbook", _SAVE_AS_CSV)
_OPEN_DOCUMENT = ("an OpenDocument spreadsheet", _SAVE_AS_CSV)
_NUMBERS = ("a Numbers document", "export it as CSV first")
_PDF = ("a PDF document", _EXPORT_AS_CSV)
_PICTURE = ("a picture", _EXPORT_AS_CSV)
_JSON = ("JSON", _EXPORT_AS_CSV)
_WEB_PAGE = ("a web page (HTML)", "it may be a login page instead of the list; download the list itself as CSV")
_RICH_TEXT = ("a rich text document (RTF)", "save it as plain text (UTF-8) first")
_PARQUET = ("a Parquet file", _SAVE_AS_CSV)
_DATABASE = ("a database", "export the table as CSV")
_ZIP, _GZIP, _SEVEN_ZIP, _RAR, _BZIP2, _XZ, _ZSTANDARD = (
    (f"a {name} archive", _UNPACK) for name in ("ZIP", "gzip", "7-Zip", "RAR", "bzip2", "xz", "Zstandard")
)
_UTF_32 = ("UTF-32 text", "save it as UTF-8")

KINDS_BY_SUFFIX: dict[str, tuple[str, str]] = {
    **dict.fromkeys([".xlsx", ".xlsm", ".xlsb"], _EXCEL),
    ".xls": _OLD_EXCEL,
    ".ods": _OPEN_DOCUMENT,
    ".numbers": _NUMBERS,
    ".pdf": _PDF,
    ".rtf": _RICH_TEXT,
    ".json": _JSON,
    **dict.fromkeys([".html", ".htm"], _WEB_PAGE),
    ".parquet": _PARQUET,
    **dict.fromkeys([".sqlite", ".db", ".mdb", ".accdb"], _DATABASE),
    ".zip": _ZIP,
    **dict.fromkeys([".gz", ".tgz"], _GZIP),
    ".7z": _SEVEN_ZIP,
    ".rar": _RAR,
    ".bz2": _BZIP2,
    ".xz": _XZ,
    ".zst": _ZSTANDARD,
}
"""What a file is and what to do with it, by its suffix."""

_MAGIC_BYTES = {
    b"\xd0\xcf\x11\xe0": _OLD_EXCEL,
    b"%PDF": _PDF,
    b"\x1f\x8b": _GZIP,
    b"7z\xbc\xaf\x27\x1c": _SEVEN_ZIP,
    b"Rar!\x1a\x07": _RAR,
    b"BZh": _BZIP2,
    b"\xfd7zXZ\x00": _XZ,
    b"\x28\xb5\x2f\xfd": _ZSTANDARD,
    b"PAR1": _PARQUET,
    b"SQLite format 3\x00": _DATABASE,
    b"\x00\x01\x00\x00Standard": _DATABASE,
    b"bplist00": ("a macOS shortcut or settings file", _DOWNLOAD),
    b"\x00\x05\x16\x07": ("a macOS metadata file", "use the file with the same name, but without '._' at its start"),
    b"L\x00\x00\x00\x01\x14\x02\x00": ("a Windows shortcut", "use the file that it points to"),
    b"\x89PNG": _PICTURE,
    b"\xff\xd8\xff": _PICTURE,
    b"\xff\xfe\x00\x00": _UTF_32,
    b"\x00\x00\xfe\xff": _UTF_32,
}
_ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_ZIP_CONTENTS = {
    b"xl/": _EXCEL,
    b"opendocument": _OPEN_DOCUMENT,
    b".iwa": _NUMBERS,
    b"[Content_Types].xml": ("an Excel workbook or another Office document", _SAVE_AS_CSV),
}
_TEXT_FORMATS = {
    re.compile(r"\{\\rtf"): _RICH_TEXT,
    re.compile(r"\[InternetShortcut\]|<\?xml[^>]{0,200}>\s*<!DOCTYPE plist", re.IGNORECASE): (
        "a shortcut to a web page",
        _DOWNLOAD,
    ),
    re.compile(r'\{[^{}]{0,500}"(?:doc_id|url)": *"[^{}]{0,500}\}\s*\Z'): (
        "a shortcut to an online document",
        _DOWNLOAD,
    ),
    re.compile(r"<\?xml.{0,500}?<(?:ss:)?Workbook", re.DOTALL): ("an Excel workbook in XML", _SAVE_AS_CSV),
    re.compile(r"<(?:!doctype html|html|head|body|table)\b", re.IGNORECASE): _WEB_PAGE,
    re.compile("<"): ("HTML or XML", _EXPORT_AS_CSV),
    re.compile(r'\{\s*["}]|\[\s*(?:["\d-]|\{\s*["}]|\[\s*["\d\[-]|\]\s*\Z)'): _JSON,
    re.compile("version https://git-lfs"): ("a Git LFS pointer", "fetch the list with `git lfs pull`"),
    re.compile("-----BEGIN PGP"): ("a file encrypted with PGP", "decrypt it first"),
    re.compile("BEGIN:VCARD", re.IGNORECASE): ("a file with contact cards (vCard)", "export the contacts as CSV"),
    re.compile("MIME-Version:", re.IGNORECASE): ("a saved web page (MHTML)", _DOWNLOAD),
}
_SEPARATOR_LINE = re.compile(r"sep=[^\r\n]?[\r\n]", re.IGNORECASE)
CTRL_Z = "\x1a"
ENDS_WITH_CTRL_Z = "ends with Ctrl-Z (the byte 0x1a), which old programs write: remove it, or save the file again"


def explain_bytes(data: bytes) -> str | None:
    """Explain why a file that starts with these bytes is not text; None if it may be."""
    if data.startswith(_ZIP_MAGIC):
        kinds = (kind for content, kind in _ZIP_CONTENTS.items() if content in data)
        return not_csv(*next(kinds, _ZIP))
    if data and not data.strip(b"\0"):
        return (
            "contains only zero bytes: it is damaged, or a cloud drive has not downloaded it yet. Open it once, or "
            "download it again"
        )
    return next((not_csv(*kind) for magic, kind in _MAGIC_BYTES.items() if data.startswith(magic)), None)


def explain_text(text: str) -> str | None:
    """Explain why text is not a CSV; None if it may be."""
    start = text.lstrip("\ufeff \t\r\n")
    if _SEPARATOR_LINE.match(start):
        line = start.splitlines()[0]
        return f"begins with the line {line!r}, which only Excel understands: delete that line"
    return next((not_csv(*kind) for pattern, kind in _TEXT_FORMATS.items() if pattern.match(start)), None)


def explain_binary(data: bytes, text: str, control: re.Match[str]) -> str:
    """Explain the first control character in a text."""
    if text[control.start() :].strip(f"{CTRL_Z}\0 \r\n") == "" and control[0] == CTRL_Z:
        return ENDS_WITH_CTRL_Z
    if data.count(0) * 3 > len(data):
        return "seems to be UTF-16 or UTF-32 without a byte order mark: save it as UTF-8"
    line = text.count("\n", 0, control.start()) + 1
    return f"contains the byte 0x{ord(control[0]):02x} in line {line}: it is binary or damaged, not CSV"


def not_csv(kind: str, advice: str) -> str:
    """Say what a file is instead of a CSV, and what to do."""
    return f"is {kind}, not CSV: {advice}"
