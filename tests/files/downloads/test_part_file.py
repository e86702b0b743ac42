from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from indigo_async._redaction import SecretText
from indigo_async.errors import DownloadError
from indigo_async.files.downloads.part_file import PartFile

KILLED_EARLY = """
import os, signal, sys
from pathlib import Path
from indigo_async.files.downloads.part_file import PartFile
part = PartFile(Path(sys.argv[1]), "s")
part.open()
part.write([b"rows of a killed run"])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_next_download_reuses_the_part_file_of_a_killed_process(tmp_path: Path):
    target = tmp_path / "export.csv"
    subprocess.run([sys.executable, "-c", KILLED_EARLY, str(target)], check=False)
    (left,) = tmp_path.iterdir()
    left.chmod(0o644)
    part = PartFile(target, "s")
    part.open()
    assert left.stat().st_mode & 0o777 == 0o600
    part.write([b"a,b\n"])
    part.commit()
    part.close()
    assert list(tmp_path.iterdir()) == [target]
    assert target.read_bytes() == b"a,b\n"


def test_two_concurrent_downloads_to_one_destination_are_rejected(tmp_path: Path):
    first, second = PartFile(tmp_path / "export.csv", "s"), PartFile(tmp_path / "export.csv", "s")
    first.open()
    with pytest.raises(DownloadError, match="another download is writing to it"):
        second.open()
    second.close()
    first.write([b"a,b\n"])
    first.commit()
    first.close()
    second.open()
    second.close()
    assert [path.name for path in tmp_path.iterdir()] == ["export.csv"]


def test_a_link_in_place_of_the_part_file_is_not_followed(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / ".export.csv.part").symlink_to(elsewhere)
    with pytest.raises(DownloadError, match=r"\.export\.csv\.part is not a regular file; remove it"):
        PartFile(tmp_path / "export.csv", "s").open()
    assert elsewhere.read_text() == "mine"


KILLED_LATE = """
import os, signal, sys
from pathlib import Path
from indigo_async.files.downloads.part_file import PartFile
from indigo_async._redaction import SecretText
part = PartFile(Path(sys.argv[1]), "s")
part.open()
part.validator = '"one"'
part.write([b"a" * 1024] * 8 * 1024)
part.write([b"b" * 1024])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_saved_bytes_of_a_killed_process_are_resumed(tmp_path: Path):
    target = tmp_path / "export.csv"
    subprocess.run([sys.executable, "-c", KILLED_LATE, str(target)], check=False)
    part = PartFile(target, "s")
    part.open()
    assert (part.size, part.validator) == (8 * 1024 * 1024, '"one"')
    part.write([b"c"])
    done = part.commit()
    part.close()
    assert target.read_bytes() == b"a" * 8 * 1024 * 1024 + b"c"
    assert done.sha256 == hashlib.sha256(target.read_bytes()).hexdigest()
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_in_place_of_the_resume_state_is_not_written_to(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    part = PartFile(tmp_path / "export.csv", "s")
    part.open()
    part.validator = '"one"'
    part.write([b"a,b"])
    (tmp_path / ".export.csv.part.json").symlink_to(elsewhere)
    part.close()
    assert elsewhere.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [elsewhere]


def test_a_download_whose_source_is_a_secret_url_can_be_resumed(tmp_path: Path):
    part = PartFile(tmp_path / "export.csv", SecretText("https://files.example.org/export.csv"))
    part.open()
    part.validator = '"version 1"'
    part.write([b"a,b\n"])
    part.close()
    again = PartFile(tmp_path / "export.csv", "https://files.example.org/export.csv")
    again.open()
    assert again.size == 4
    again.close()


MEBIBYTE = 1024 * 1024


def test_a_full_disk_keeps_the_last_saved_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    part = PartFile(tmp_path / "export.csv", "s")
    part.open()
    part.validator = '"one"'
    part.write([b"a" * MEBIBYTE] * 9)
    part.write([b"b" * MEBIBYTE])
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        """Room for half of the data and no more."""
        monkeypatch.setattr("indigo_async.files.downloads.part_file.os.write", none)
        return real(descriptor, data[: MEBIBYTE // 2])

    def none(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("indigo_async.files.downloads.part_file.os.write", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        part.write([b"c" * MEBIBYTE])
    monkeypatch.undo()
    part.close()
    again = PartFile(tmp_path / "export.csv", "s")
    again.open()
    assert (again.size, again.validator) == (9 * MEBIBYTE, '"one"')
    again.write([b"d"])
    assert again.commit().sha256 == hashlib.sha256(b"a" * 9 * MEBIBYTE + b"d").hexdigest()
    again.close()


def test_a_disk_that_fills_up_before_the_first_saved_state_keeps_the_bytes_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    part = PartFile(tmp_path / "export.csv", "s")
    part.open()
    part.validator = '"one"'
    part.write([b"a,b\n"])
    monkeypatch.setattr("indigo_async.files.downloads.part_file.os.write", full)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        part.write([b"c,d\n"])
    monkeypatch.undo()
    part.close()
    again = PartFile(tmp_path / "export.csv", "s")
    again.open()
    assert again.size == 4
    again.close()


def test_a_resume_state_that_cannot_be_written_does_not_fail_the_download(tmp_path: Path):
    target = tmp_path / "export.csv"
    part = PartFile(target, "s")
    part.open()
    part.validator = '"\udce9"'
    (tmp_path / ".export.csv.part.json").mkdir()
    part.write([b"a" * MEBIBYTE] * 9)
    part.validator = '"one"'
    part.write([b"b"])
    assert part.commit().size_bytes == 9 * MEBIBYTE + 1
    part.close()
    assert target.stat().st_size == 9 * MEBIBYTE + 1


def test_a_resume_state_without_its_part_file_is_removed(tmp_path: Path):
    part = PartFile(tmp_path / "export.csv", "s")
    part.open()
    part.validator = '"one"'
    part.write([b"a,b\n"])
    part.close()
    (tmp_path / ".export.csv.part").unlink()
    part = PartFile(tmp_path / "export.csv", "s")
    part.open()
    assert (part.size, part.validator) == (0, None)
    part.write([b"c,d\n"])
    part.commit()
    assert [path.name for path in tmp_path.iterdir()] == ["export.csv"]
    assert not part.is_open


def test_a_resume_state_replaces_a_longer_one(tmp_path: Path):
    state = tmp_path / ".export.csv.part.json"
    part = PartFile(tmp_path / "export.csv", "s")
    part.open()
    part.validator = '"one"'
    part.write([b"a,b\n"])
    state.write_bytes(b"x" * 10_000)
    part.close()
    again = PartFile(tmp_path / "export.csv", "s")
    again.open()
    assert again.size == 4
    again.close()
