"""Compress a model: `python train.py experiment=smoke`, `... -m seed=0,1`, `... resume=<folder>`; same as `pwfn train`."""

from pwfn.cli.train import main

if __name__ == "__main__":
    main()
