"""Build the Lightning Trainer of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from pwfn.errors import require

if TYPE_CHECKING:
    from pytorch_lightning import Callback, Trainer
    from pytorch_lightning.loggers import Logger


@dataclass(frozen=True)
class TrainerSpec:
    """Choose the devices, the ranks and the precision that Lightning trains with.

    Args:
        accelerator: `auto` takes a GPU where there is one.
        devices: processes on each machine; on GPUs at most as many as there are.
        num_nodes: machines.
        strategy: `ddp` where there is more than one process.
        precision: of the forward pass; weights and optimizer stay in float32.
        accumulate_grad_batches: batches whose gradients make one optimizer step.
        deterministic: whether torch may use deterministic algorithms only.
        log_every_n_steps: optimizer steps from one logged row to the next.
        channels_last: whether network and images are in torch.channels_last, for the module to heed.
    """

    accelerator: Literal["cpu", "gpu", "auto"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    strategy: Literal["auto", "ddp"] = "auto"
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] = "32-true"
    accumulate_grad_batches: int = 1
    deterministic: bool = False
    log_every_n_steps: int = 20
    channels_last: bool = False

    def __post_init__(self) -> None:
        cuda = torch.cuda.is_available()
        on_gpu = self.accelerator == "gpu" or (self.accelerator == "auto" and cuda)
        gpus = torch.cuda.device_count() if on_gpu else self.devices
        several = self.devices * self.num_nodes > 1
        require(
            self,
            accelerator=(self.accelerator != "gpu" or cuda, "cpu or auto: this machine has no CUDA device"),
            devices=(
                1 <= self.devices <= max(1, gpus),
                f"from 1 to {gpus}, the GPUs here" if on_gpu else "an integer from 1",
            ),
            num_nodes=(self.num_nodes >= 1, "an integer from 1"),
            strategy=(self.strategy == "ddp" or not several, "ddp when there is more than one process"),
            precision=(
                self.precision != "16-mixed" or on_gpu,
                "32-true or bf16-mixed on the CPU",
            ),
            accumulate_grad_batches=(self.accumulate_grad_batches >= 1, "an integer from 1"),
            log_every_n_steps=(self.log_every_n_steps >= 1, "an integer from 1"),
        )

    def build(self, *, folder: str, callbacks: list[Callback], logger: Logger | None) -> Trainer:
        """Build the one trainer of a run.

        It shows and saves nothing itself: `pwfn.monitoring.progress` and `pwfn.checkpoint.callback` do.

        Args:
            folder: of the run.
            callbacks: of the whole run.
            logger: None for none.

        Returns:
            A Trainer that has trained nothing yet.
        """
        from pytorch_lightning import Trainer
        from pytorch_lightning.plugins.environments import LightningEnvironment

        alone = self.devices * self.num_nodes == 1  # whatever the variables of an allocation say
        return Trainer(
            accelerator=self.accelerator,
            devices=self.devices,
            num_nodes=self.num_nodes,
            strategy=self.strategy,
            precision=self.precision,
            accumulate_grad_batches=self.accumulate_grad_batches,
            deterministic=self.deterministic,
            log_every_n_steps=self.log_every_n_steps,
            default_root_dir=folder,
            callbacks=callbacks,
            logger=logger or False,
            plugins=[LightningEnvironment()] if alone else None,
            max_epochs=0,
            use_distributed_sampler=False,  # the loaders know their rank themselves
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
