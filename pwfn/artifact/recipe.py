"""Build an artifact's model by timm: a name of its registry and arguments from a closed list."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pwfn.artifact.container import ArtifactError
from pwfn.artifact.header import Recipe
from pwfn.errors import one_line

Rule = Callable[[Any], bool]


def _int(least: int, most: int) -> Rule:
    return lambda value: type(value) is int and least <= value <= most


def _number(least: float, most: float) -> Rule:
    return lambda value: type(value) in (int, float) and least <= value <= most


def _flag(value: Any) -> bool:
    return type(value) is bool


def _word(value: Any) -> bool:
    return type(value) is str and re.fullmatch(r"[A-Za-z0-9_]{0,40}", value) is not None


def _each(rule: Rule, depth: int = 2) -> Rule:
    """Allow what `rule` allows, or a short list of such values (or of lists, as CrossViT's depths)."""

    def check(value: Any, depth: int = depth) -> bool:
        if type(value) in (list, tuple):
            return depth > 0 and 1 <= len(value) <= 16 and all(check(one, depth - 1) for one in value)
        return rule(value)

    return check


_RATE, _SIZE, _WIDTH, _DEPTH = _number(0, 1), _each(_int(1, 2048), 1), _each(_int(1, 16384)), _each(_int(0, 64))

# Arguments of timm's models that say what is computed with; none names a file, an address or an object.
ARGUMENTS: dict[str, Rule] = {
    name: rule
    for names, rule in {
        "img_size patch_size window_size kernel_size": _SIZE,
        "drop_rate drop_path_rate attn_drop_rate proj_drop_rate pos_drop_rate patch_drop_rate drop_block_rate": _RATE,
        "embed_dim embed_dims dims widths channels stem_width base_width num_heads head_dim cardinality": _WIDTH,
        "num_features head_hidden_size stem_size stem_chs": _WIDTH,
        "depth depths layers reg_tokens groups": _DEPTH,
        "mlp_ratio mlp_ratios init_values ls_init_value layer_scale_init_value head_init_scale": _each(_number(0, 100)),
        "width_factor channel_multiplier depth_multiplier expand_ratio norm_eps bn_eps bn_momentum": _number(0, 100),
        "global_pool pool_type act_layer norm_layer aa_layer stem_type pad_type pos_embed weight_init": _word,
        "class_token qkv_bias pre_norm no_embed_class dynamic_img_size dynamic_img_pad strict_img_size fc_norm": _flag,
        "final_norm head_norm_first head_bias conv_bias conv_mlp use_grn qk_norm use_abs_pos_emb": _flag,
        "use_rel_pos_bias use_pos_embed avg_down replace_stem_pool zero_init_last": _flag,
        "output_stride": lambda value: type(value) is int and value in (8, 16, 32),
    }.items()
    for name in names.split()
}


def recipe_of(name: str, num_classes: int, in_chans: int, args: dict[str, Any], state: dict[str, Tensor]) -> Recipe:
    """Make the recipe of a network, and prove it by building a model of the same state dict.

    Args:
        name: of a timm model, with or without its tag.
        num_classes: of its classifier; 0 for none.
        in_chans: color channels of its input.
        args: further arguments of `timm.create_model`; those that are None are left out, as timm does.
        state: the state dict whose names, shapes and dtypes the built model must have.

    Returns:
        The recipe, with the memory that the model takes.

    Raises:
        ArtifactError: timm does not know the name, an argument is not one of `ARGUMENTS`, or another model comes out.
    """
    args = {key: value for key, value in args.items() if value is not None}
    draft = _checked(Recipe.model_construct(name=name, num_classes=num_classes, in_chans=in_chans, args=args, bytes=0))
    model = build(draft, "meta")
    found = {key: (tuple(value.shape), value.dtype) for key, value in model.state_dict().items()}
    wanted = {key: (tuple(value.shape), value.dtype) for key, value in state.items()}
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key):
            raise ArtifactError(f"timm builds {name} with another {key}: {found.get(key)} instead of {wanted.get(key)}")
    return draft.model_copy(update={"bytes": model_bytes(model)})


def _checked(recipe: Recipe) -> Recipe:
    """Return the recipe if timm knows the model and all arguments are in `ARGUMENTS`, else refuse it."""
    import timm

    name = str(recipe.name)
    architecture, _, tag = name.partition(".")
    if re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)?", name) is None or not timm.is_model(architecture):
        raise ArtifactError(f"the model {one_line(name)!r} is not the name of a timm model")
    if tag and name not in timm.list_pretrained(architecture):
        raise ArtifactError(f"{architecture} has no tag {tag!r} in this version of timm, {timm.__version__}")
    for key, value in recipe.args.items():
        if key not in ARGUMENTS:
            raise ArtifactError(f"model argument {one_line(key)!r} is not one that an artifact may have")
        if not ARGUMENTS[key](value):
            raise ArtifactError(f"model argument {key} = {one_line(repr(value))}: not a value it may have")
    return recipe


def build(recipe: Recipe, device: str) -> nn.Module:
    """Build the model with random weights, without memory on the device `meta`; the random state stays.

    Raises:
        ArtifactError: timm does not know the model, an argument is not allowed, or timm cannot build it.
    """
    import timm

    _checked(recipe)
    args: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in recipe.args.items()}
    try:
        with torch.random.fork_rng(devices=[]), torch.device(device):
            model: nn.Module = timm.create_model(
                recipe.name, num_classes=recipe.num_classes, in_chans=recipe.in_chans, **args
            )
            return model
    except Exception as error:  # a constructor of timm's may raise anything for arguments that contradict each other
        reason = one_line(f"{type(error).__name__}: {error}")
        raise ArtifactError(f"timm cannot build {recipe.name} with {one_line(recipe.args)}: {reason}") from error


def model_bytes(model: nn.Module) -> int:
    """Count the bytes that parameters and buffers take in memory, also those that are in no state dict."""
    tensors = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(math.prod(t.shape) * t.element_size() for t in tensors.values())
