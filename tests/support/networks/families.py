"""One small model of each family that timm has."""

from __future__ import annotations

import timm

# One small model of each module of timm.models, by what small models are called.
SMALL_NAMES = ("test_", "atto", "femto", "pico", "nano", "xxs", "xx_small", "xxt", "tiny", "_ti", "_t", "_xs", "small")
SMALLISH = ("_s", "_b0", "050", "_18", "18", "26", "base")


def small_model(module: str) -> str | None:
    names = timm.list_models(module=module)
    ranks = {part: i for i, part in enumerate(SMALL_NAMES + SMALLISH)}
    return min(names, key=lambda n: (min((i for p, i in ranks.items() if p in n), default=99), len(n), n), default=None)


FAMILIES = {module: name for module in timm.list_modules() if (name := small_model(module))}
