"""`python -m raymu.cli` is what `raymu` is."""

from raymu.cli import main

if __name__ == "__main__":
    main()
