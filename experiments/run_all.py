"""Runs every experiment, one after the other, and writes the numbers into the documents.

With --smoke it takes minutes, writes to build/smoke and changes no document. In full it takes about an hour and a half on
two cores, which should be otherwise idle. The options are those of each experiment.
"""

import subprocess
import sys
import time

from experiments import summarize
from experiments.harness import ROOT


def main() -> None:
    options = sys.argv[1:]
    if {"-h", "--help"} & set(options):
        print(__doc__)
        options = ["--help"]
    for name in summarize.TOGETHER[: 1 if "--help" in options else None]:
        started = time.perf_counter()
        process = subprocess.run([sys.executable, "-m", f"experiments.{name}", *options], check=False, cwd=ROOT)
        if process.returncode:
            raise SystemExit(process.returncode)
        print(f"{name}: {(time.perf_counter() - started) / 60:.1f} minutes", file=sys.stderr)
    if not {"--smoke", "--out", "--help"} & set(options):
        summarize.main()


if __name__ == "__main__":
    main()
