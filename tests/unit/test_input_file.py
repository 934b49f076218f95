import os
import threading
from pathlib import Path

import pytest

from raymu.input_file import read_input, require_file


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_input(tmp_path / "a") == read_input(tmp_path / "a", largest=5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_input(tmp_path / "a", largest=4)


def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="nothing is written to it"):
        read_input(tmp_path / "pipe")


def test_a_pipe_is_read_to_its_end() -> None:
    """As that of `<(command)`, whose writer may be slower than the reader."""
    reading, writing = os.pipe()
    opened = threading.Event()

    def write() -> None:
        opened.wait()
        os.write(writing, b"17\n")
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    threading.Timer(0.05, opened.set).start()
    assert read_input(f"/dev/fd/{reading}") == b"17\n"
    thread.join()
    os.close(reading)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "."])
def test_devices_and_folders_are_no_input(path: str) -> None:
    with pytest.raises(OSError, match=r"device|directory"):
        read_input(path)


def test_a_file_that_will_be_opened_elsewhere_is_no_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="a pipe or a device"):
        require_file(tmp_path / "pipe")
    require_file(tmp_path)
    require_file(tmp_path / "absent")
