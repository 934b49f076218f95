"""Run `raymu` as `python -m raymu.cli`."""

from raymu.cli import main

if __name__ == "__main__":
    main()
