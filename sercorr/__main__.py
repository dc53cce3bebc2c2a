"""``python -m sercorr`` is the command ``sercorr``."""

from sercorr.cli import main

if __name__ == "__main__":
    main()
