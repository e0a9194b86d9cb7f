"""Measure a finished run from its own saved config, the same as `pwfn evaluate`.

`python evaluate.py run=outputs/<date>/<time>`
"""

from pwfn.cli.evaluate import main

if __name__ == "__main__":
    main()
