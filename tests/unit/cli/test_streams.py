import subprocess
import sys

import pytest

from raymu.errors import UNFINISHED_EXIT_CODE

PROGRAM = """
import os, sys, click
import raymu.cli
from raymu.cli.options import printing_after_commit

def print_much(words, **settings):
    with printing_after_commit("`raymu status`"):
        for number in range(20000):
            click.echo(f"{number} " + "x" * 80, err="stderr" in sys.argv)
            if number == 0:
                sys.stdout.flush()
    sys.exit(3)

raymu.cli.cli = print_much
raymu.cli.main()
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_exit_code_is_that_of_the_command_although_its_reader_has_gone(stream: str) -> None:
    command = [sys.executable, "-c", PROGRAM, stream]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        reader, other = (process.stdout, process.stderr) if stream == "stdout" else (process.stderr, process.stdout)
        assert reader.readline().startswith("0 x")
        reader.close()
        assert other.read() == ""
        assert process.wait(timeout=60) == 3


def test_a_full_disk_is_still_a_failure() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, "stdout"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == UNFINISHED_EXIT_CODE
    assert done.stderr.count("\n") == 1
