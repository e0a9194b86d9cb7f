"""Measure a finished run from its own saved config: `python evaluate.py run=<folder>`; the same as `pwfn evaluate`."""

from pwfn.cli.evaluate import main

if __name__ == "__main__":
    main()
