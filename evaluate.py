"""Measure a finished run again, from its own saved config: `python evaluate.py run=outputs/<date>/<time>`."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from pwfn.config import preflight, resolvers

CONF = Path(__file__).parent / "conf"


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(cfg: DictConfig) -> None:
    from pwfn.cli.evaluate import evaluate

    evaluate(cfg)


if __name__ == "__main__":
    resolvers.register()
    from pwfn.evaluation.settings import EvaluateSettings

    preflight.preflight(EvaluateSettings, CONF, "evaluate", sys.argv[1:])
    main()
