"""`python -m copydetect` is the command `copydetect`."""

from copydetect.pipelines.cli import main

if __name__ == "__main__":
    main()
