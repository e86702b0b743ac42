"""File systems without sync, locks or modes, and folders where other users can write."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from indigo_async._validation import InputCheck
from indigo_async.errors import DownloadError
from indigo_async.files.downloads.filesystem import try_writing
from indigo_async.files.downloads.part_file import PartFile
from indigo_async.workflows.recipes.export_options import check_destination

OTHER_USER = 12_345


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - opens fewer descriptors itself


def write_download(target: Path) -> None:
    part = PartFile(target, "s")
    try:
        part.open()
        part.write([b"a,b\n"])
        part.commit()
    finally:
        part.close()


def problems(destination: Path | str) -> list[str]:
    check = InputCheck()
    check_destination(check, "destination", destination)
    return [problem.message for problem in check.problems]


TOLERATED = [
    ("os.fsync", errno.EINVAL),
    ("os.fsync", errno.ENOTSUP),
    ("os.fsync", errno.ENOSYS),
    ("os.fsync", errno.EROFS),
    ("fcntl.flock", errno.ENOLCK),
    ("fcntl.flock", errno.ENOTSUP),
    ("fcntl.flock", errno.EINVAL),
    ("os.fchmod", errno.EPERM),
    ("os.fchmod", errno.ENOTSUP),
]


@pytest.mark.parametrize(("function", "code"), TOLERATED)
def test_a_missing_file_system_feature_does_not_stop_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
):
    monkeypatch.setattr(function, failing(code))
    before = descriptors()
    assert problems(tmp_path / "x.csv") == []
    write_download(tmp_path / "x.csv")
    assert descriptors() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("function", ["os.fsync", "fcntl.flock", "os.fchmod"])
def test_a_real_error_fails_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
):
    monkeypatch.setattr(function, failing(code))
    before = descriptors()
    with pytest.raises(OSError, match=os.strerror(code)):
        write_download(tmp_path / "x.csv")
    assert descriptors() == before
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_read_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.open

    def guarded(path: str | Path, flags: int, *rest: int) -> int:
        if Path(path) == tmp_path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *rest)

    monkeypatch.setattr("os.open", guarded)
    write_download(tmp_path / "x.csv")
    assert (tmp_path / "x.csv").read_bytes() == b"a,b\n"


def test_without_locks_two_downloads_in_one_process_still_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK))
    first, second = PartFile(tmp_path / "x.csv", "s"), PartFile(tmp_path / "x.csv", "s")
    first.open()
    before = descriptors()
    for _ in range(3):
        with pytest.raises(DownloadError, match="another download is writing to it"):
            second.open()
    assert descriptors() == before
    first.write([b"a,b\n"])
    first.commit()
    first.close()
    write_download(tmp_path / "x.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


WITHOUT_UNIX = """
import os, sys
from pathlib import Path
sys.modules["fcntl"] = None
import indigo_async
from indigo_async import files
for name in ("O_NOFOLLOW", "O_NONBLOCK", "fchmod", "geteuid", "pathconf", "statvfs"):
    delattr(os, name)
from indigo_async.files.downloads.destination import find_destination_problem
from indigo_async.files.downloads.part_file import PartFile
from indigo_async.errors import DownloadError
destination = Path(sys.argv[1])
assert find_destination_problem(destination) is None
part, second = PartFile(destination, "s"), PartFile(destination, "s")
part.open()
try:
    second.open()
except DownloadError as error:
    assert "another download is writing to it" in str(error)
else:
    raise AssertionError
part.write([b"a,b\\n"])
part.commit()
part.close()
"""


def test_downloads_work_without_fcntl_and_other_unix_functions(tmp_path: Path):
    subprocess.run([sys.executable, "-c", WITHOUT_UNIX, str(tmp_path / "x.csv")], check=True)
    assert (tmp_path / "x.csv").read_bytes() == b"a,b\n"
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


def test_files_that_others_can_read_cause_one_warning_per_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    real = os.open
    monkeypatch.setattr("os.fchmod", failing(errno.EPERM))
    monkeypatch.setattr("os.open", lambda path, flags, mode=0o777: real(path, flags, mode | 0o644))
    write_download(tmp_path / "x.csv")
    write_download(tmp_path / "y.csv")
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{tmp_path} cannot hold private files; other users may be able to read the exports in it"
    )


def test_a_private_file_causes_no_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("os.fchmod", failing(errno.EPERM))
    write_download(tmp_path / "x.csv")
    assert caplog.records == []


def _of_another_user(part: Path) -> None:
    part.write_bytes(b"planted")
    os.chown(part, OTHER_USER, OTHER_USER)


def _with_a_hard_link(part: Path) -> None:
    part.write_bytes(b"planted")
    part.with_name("second").hardlink_to(part)


def _link(part: Path) -> None:
    part.symlink_to(part.with_name("elsewhere"))


def _fifo(part: Path) -> None:
    os.mkfifo(part)


PLANTED = [
    (_of_another_user, "belongs to another user"),
    (_with_a_hard_link, r"has a second name \(a hard link\)"),
    (_link, "is not a regular file"),
    (_fifo, "is not a regular file"),
]


@pytest.mark.parametrize(("plant", "reason"), PLANTED)
def test_a_planted_part_file_is_rejected_before_paying_and_never_used(
    tmp_path: Path, plant: Callable[[Path], None], reason: str
):
    plant(tmp_path / ".x.csv.part")
    before = {path.name: path.lstat().st_ino for path in tmp_path.iterdir()}
    open_before = descriptors()
    with pytest.raises(DownloadError, match=rf"\.x\.csv\.part {reason}; remove it or name another destination"):
        write_download(tmp_path / "x.csv")
    (problem,) = problems(tmp_path / "x.csv")
    assert "cannot be written" in problem
    assert re.search(reason, problem)
    assert {path.name: path.lstat().st_ino for path in tmp_path.iterdir()} == before
    assert descriptors() == open_before


def test_if_all_files_belong_to_one_user_a_part_file_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A network file system may map all users to one."""
    monkeypatch.setattr("os.geteuid", lambda: OTHER_USER)
    part = PartFile(tmp_path / "x.csv", "s")
    part.open()
    part.validator = '"one"'
    part.write([b"a,b\n"])
    part.close()
    assert problems(tmp_path / "x.csv") == []
    part = PartFile(tmp_path / "x.csv", "s")
    part.open()
    assert part.size == 4
    part.close()


@pytest.mark.parametrize("plant", [plant for plant, _ in PLANTED])
def test_a_planted_resume_state_is_ignored(tmp_path: Path, plant: Callable[[Path], None]):
    part = PartFile(tmp_path / "x.csv", "s")
    part.open()
    plant(tmp_path / ".x.csv.part.json")
    part.validator = '"one"'
    part.write([b"a,b\n"])
    assert part.commit().size_bytes == 4
    part.close()


def test_a_folder_as_destination_is_rejected(tmp_path: Path):
    assert problems(tmp_path) == [f"{str(tmp_path)!r} is a folder; name a file"]
    for text in (f"{tmp_path}/new/", f"{tmp_path}/new/.", "", ".", ".."):
        assert problems(text) == [f"{text!r} is a folder; name a file"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "is not a regular file; name another"),
        (lambda path: os.mknod(path, stat.S_IFSOCK | 0o600), "is not a regular file; name another"),
        (lambda path: path.symlink_to("target.csv"), "is a link to 'target.csv'; name the file itself"),
    ],
    ids=["FIFO", "socket", "link"],
)
def test_only_a_regular_file_is_replaced(tmp_path: Path, make: Callable[[Path], None], reason: str):
    target = tmp_path / "x.csv"
    make(target)
    assert problems(target) == [f"{str(target)!r} {reason}"]
    with pytest.raises(DownloadError, match=reason):
        write_download(target)
    assert not target.is_file()
    assert list(tmp_path.iterdir()) == [target]


def test_a_device_is_not_replaced():
    assert problems("/dev/null") == ["'/dev/null' is not a regular file; name another"]


def test_a_home_folder_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    check = InputCheck()
    assert check_destination(check, "destination", "~/x.csv") == tmp_path / "x.csv"
    assert check_destination(check, "destination", Path("~/x.csv")) == tmp_path / "x.csv"
    assert check.problems == []
    assert problems("~nobody-of-this-name/x.csv") == [
        "'~nobody-of-this-name/x.csv' starts with a home folder that does not exist"
    ]


def test_a_file_that_only_its_owner_may_replace_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tmp_path.chmod(0o1777)
    target = tmp_path / "x.csv"
    target.write_bytes(b"")
    monkeypatch.setattr("os.geteuid", lambda: OTHER_USER)
    (problem,) = problems(target)
    assert "belongs to another user, and its folder lets only owners replace their files" in problem


@pytest.mark.parametrize("function", ["os.write", "os.rename", "fcntl.flock"])
def test_the_steps_of_a_download_are_tried_before_paying(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
):
    before = descriptors()
    monkeypatch.setattr(function, failing(errno.EDQUOT))
    (problem,) = problems(tmp_path / "x.csv")
    assert os.strerror(errno.EDQUOT) in problem
    assert list(tmp_path.iterdir()) == []
    assert descriptors() == before


def test_a_folder_that_many_jobs_share_is_tried_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    now, trials = 1_000.0, 0

    def counted(folder: Path) -> None:
        nonlocal trials
        trials += 1
        try_writing(folder)

    monkeypatch.setattr("indigo_async.files.downloads.destination.try_writing", counted)
    monkeypatch.setattr("time.monotonic", lambda: now)
    for number in range(10):
        assert problems(tmp_path / f"{number}.csv") == []
    assert trials == 1
    now += 1
    monkeypatch.setattr("os.write", failing(errno.EDQUOT))
    (problem,) = problems(tmp_path / "x.csv")
    assert os.strerror(errno.EDQUOT) in problem


def test_a_full_disk_is_detected_before_paying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = os.statvfs

    def full(path: Path) -> os.statvfs_result:
        state = list(real(path))
        state[3] = state[4] = 0
        return os.statvfs_result(state)

    monkeypatch.setattr("os.statvfs", full)
    (problem,) = problems(tmp_path / "new" / "x.csv")
    assert os.strerror(errno.ENOSPC) in problem


def test_names_that_are_too_long_are_detected_before_paying(tmp_path: Path):
    for name in ("x" * 250, f"{'x' * 256}/x.csv", "/".join(["x" * 200] * 30)):
        (problem,) = problems(tmp_path / "new" / name)
        assert "cannot be written" in problem
    assert list(tmp_path.iterdir()) == []


def test_a_check_leaves_no_trace(tmp_path: Path):
    assert problems(tmp_path / "x.csv") == []
    assert problems(tmp_path / "new" / "folder" / "x.csv") == []
    assert list(tmp_path.iterdir()) == []
