"""Runs every experiment, one after the other, and writes the READMEs' tables anew: the whole evidence with one command.

With --smoke in minutes, into build/smoke, and no README changes; in full in about an hour and a half on two cores, which
should have nothing else to do. The options are those of the experiments.
"""

import subprocess
import sys
import time
from pathlib import Path

from findings import FINDINGS

TABLES = Path(__file__).parent / "tables.py"


def main() -> None:
    options = sys.argv[1:]
    if {"-h", "--help"} & set(options):
        print(__doc__)
        options = ["--help"]
    together = [one for one in FINDINGS if not one.documents]
    for finding in together[: 1 if "--help" in options else None]:
        started = time.perf_counter()
        done = subprocess.run([sys.executable, finding.path, *options], check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        print(f"{finding.script}: {(time.perf_counter() - started) / 60:.1f} minutes", file=sys.stderr)
    if not {"--smoke", "--out", "--help"} & set(options):
        subprocess.run([sys.executable, TABLES], check=True)


if __name__ == "__main__":
    main()
