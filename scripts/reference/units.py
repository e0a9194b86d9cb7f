"""Name the unit of every key that is a number; seeds and factors have an empty one."""

from __future__ import annotations

_KEYS = {  # unit: keys
    "epochs": "pretrain.epochs pretrain.head_epochs schedule.first_epochs schedule.rest_epochs finish.epochs",
    "images": (
        "data.batch_size data.eval_batch_size data.train_images data.test_images data.train_length data.train_size "
        "data.test_size data.shuffle_buffer clustering.images clustering.shrink tolerance.images "
        "sigma.images sigma.count finish.batchnorm_images batchnorm_images"
    ),
    "batches": "data.prefetch_factor tolerance.batches trainer.accumulate_grad_batches",
    "optimizer steps": "checkpoint.every_steps trainer.log_every_n_steps",
    "minutes": "checkpoint.every_minutes",
    "checkpoints": "checkpoint.keep",
    "10^6 bytes": "budget.megabytes",
    "bits per weight": "budget.bits clustering.least",
    "bits": "codebook.bits",
    "percentage points": "budget.drop costly_round.points",
    "nats per bit": "clustering.rate",
    "processes": "data.num_workers",
    "processes per machine": "trainer.devices",
    "machines": "trainer.num_nodes",
    "pixels": "data.image_size data.pixels",
    "color channels": "data.channels",
    "classes": "data.num_classes",
    "level from 0 to 1": "data.mean data.std corruptions.noise",
    "share, 0 to 1": (
        "label_smoothing data.crop_pct data.val_fraction data.split data.noise pretrain.optimizer.warmup "
        "prior.quantile codebook.within schedule.fractions schedule.first_share optimizer.warmup "
        "finish.optimizer.warmup distillation.weight data.augment.scale data.mix.prob data.mix.switch_prob "
        "clustering.damping clustering.compensation tolerance.floor corruptions.blur corruptions.contrast"
    ),
    "share of each weight's size": "tolerance.share noise.relative",
    "probability": "data.augment.hflip data.augment.vflip data.augment.re_prob",
    "rectangles": "data.augment.re_count",
    "width over height": "data.augment.ratio",
    "units of the weights": "prior.sigma prior.scale prior.ceiling regularizer.ceiling tolerance.value noise.absolute",
    "sigmas": "noise.sigma",
    "tolerances": "clustering.start clustering.end",
    "values": "codebook.per_tensor_max codebook.values prune_codebook.max_size",
    "powers of two": "codebook.max_order",
    "weights": "codebook.rare",
    "networks": "samples noise.draws",
    "groups": "bins",
    "test splits": "resamples",
    "degrees": "corruptions.rotation",
    "": (
        "seed data.split_seed codebook.b clustering.inc clustering.passes regularizer.strength "
        "regularizer.temperature distillation.temperature optimizer.lr optimizer.betas optimizer.momentum "
        "optimizer.weight_decay optimizer.clip_norm pretrain.optimizer.lr pretrain.optimizer.weight_decay "
        "pretrain.optimizer.clip_norm finish.optimizer.lr finish.optimizer.weight_decay finish.optimizer.clip_norm "
        "pretrain.optimizer.momentum finish.optimizer.momentum data.augment.color_jitter data.mix.mixup data.mix.cutmix"
    ),
}
UNITS = {key: unit for unit, keys in _KEYS.items() for key in keys.split()}


def unit_of(key: str) -> str:
    """Return the unit of a dotted key; empty for what is no number and for numbers without one."""
    return UNITS.get(key, "")
