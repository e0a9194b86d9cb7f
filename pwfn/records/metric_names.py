"""Name every metric that a logger is sent; docs/wandb.md has the same tables, held by tests.

Those of a round are `COLUMNS` in pwfn/records/rounds.py: a row goes to files, logger and console unchanged.
"""

from __future__ import annotations

from pwfn.records.columns import Column, by_key
from pwfn.records.rounds import COLUMNS

STEP = by_key(
    Column("train/cross_entropy", "the data's part of the loss, of one batch", "nats"),
    Column("train/regularizer", "what the regularizer adds to the loss", "nats"),
    Column(
        "train/distillation", "how far the answers are from the teacher's; where distillation.weight is above 0", "nats"
    ),
    Column("train/lr", "learning rate of the step", "1"),
    Column("train/grad_norm", "norm of all gradients before clipping; where optimizer.clip_norm is set", "1"),
    Column("train/sigma_mean", "mean of the sigmas that are being trained", "weight units"),
    Column("train/sigma_min", "smallest of them", "weight units"),
    Column("train/sigma_max", "largest of them", "weight units"),
    Column("train/images_per_second", "training images since the last row, by all processes", "images/s"),
    Column("train/memory_gb", "most memory that the process of rank 0 has held so far", "GB"),
    Column("train/gpu_memory_gb", "most memory its tensors have taken on its GPU so far", "GB"),
)

VALIDATION = by_key(
    Column("val/top1", "right at the first guess on the validation split", "percent"),
    Column("val/top5", "right within the first five guesses on the validation split", "percent"),
    Column("val/loss", "mean cross entropy on the validation split", "nats"),
)

ROUND_VIEW = by_key(
    Column("codebook", "the shared values of the round: how many weights each has, colored by order", "picture"),
    Column("clusters", "the rows of clusters.csv of the round", "table"),
    Column("histogram/mu", "means of the quantized weights after the clustering", "weight units"),
    Column("histogram/sigma", "their sigmas, as powers of two: -10 stands for 2^-10", "log2 of weight units"),
    Column("histogram/displacement", "how far each weight is from where it was before the first round", "weight units"),
)

SUMMARY = by_key(
    *(
        Column(f"pretrained/{key}", f"{meaning}, before any round", unit)
        for key, meaning, unit in (
            ("top1", "right at the first guess on the test split", "percent"),
            ("top5", "right within the first five guesses on the test split", "percent"),
            ("loss", "mean cross entropy on the test split", "nats"),
        )
    ),
    Column("top1_drop", "pretrained/top1 - clustered/top1 of the last round; below 0 is a gain", "points"),
    Column("artifact_mb", "size of model.pwfn", "MB"),
)

X_AXES = by_key(
    Column(
        "trainer/global_step", "optimizer step, from 0 on, pretraining included; x-axis of everything in training", "1"
    ),
    Column("epoch", "Lightning's epoch, which counts through all rounds", "1"),
    COLUMNS["round"],
)
