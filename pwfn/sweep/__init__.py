"""Many runs as one: their plan, their command lines, their table, going on with them, and what a search may choose.

Hydra's plugins in hydra_plugins/ use it. They are modules that Hydra loads by itself and more than once, so what others
import, and catch, lives here.
"""
