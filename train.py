"""Compress a model, the same as `pwfn train`.

`python train.py experiment=smoke`, `... -m seed=0,1`, `... resume=<folder of a run>`, `... -m resume_sweep=<folder>`
"""

from pwfn.cli.train import main

if __name__ == "__main__":
    main()
