"""Run many runs as one: plan, command lines, table, resuming, search space.

Hydra's plugins in hydra_plugins/ use it. They are modules that Hydra loads by itself and more than once, so what others
import, and catch, lives here.
"""
