"""The authors' theta as a rule of your own: read their TensorFlow checkpoint, check it, store it under a name.

python -m metarules.pretrained.import_tf 200_tf_graph.zip --name metz2018
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from metarules._files import naming
from metarules._words import Parser
from metarules.pretrained.finding import SUFFIX, package_rules
from metarules.pretrained.folder import VARIABLE, own_rules, rules_folder
from metarules.pretrained.storage import load_rule, save_rule
from metarules.pretrained.tf_checkpoint import TFCheckpoint
from metarules.update_rule import InnerSettings, PaperRule
from metarules.update_rule.paper.tensorflow import ROOT, UNUSED, match, unread_shapes

NAME = "metz2018"
# Authors' code: 3,000 steps (run_eval.py) of 128 examples; initial W and V of spread 0.01, b of 0.1
RECOMMENDED = InnerSettings(steps=3000, batch_size=128, weight_std=0.01, bias_std=0.1)
WHAT = "theta of Metz et al. (ICLR 2019), read from a TensorFlow checkpoint of the authors' graph"
STEP = UNUSED[2]


def released_shapes() -> dict[str, tuple[int, ...]]:
    """TensorFlow name -> shape of the 97 variables in the released checkpoint."""
    theta = {name: tuple(value.shape) for name, value in PaperRule().to_tf_variables().items()}
    return {**theta, **unread_shapes(theta)}


def rule_of_checkpoint(path: str | os.PathLike[str]) -> PaperRule:
    """The rule that the authors released, out of its TensorFlow checkpoint. Nothing is written.

    Args:
        path: as for `read_tf_checkpoint`. Variables of other parts of a graph are passed over, as the authors' loader
            does.

    Returns:
        The rule in float32, with a card that says where it comes from, run best as the authors ran it. Checkpoints of
        other sizes are read by `PaperRule.from_tf_variables(read_tf_checkpoint(path))`.

    Raises:
        ValueError: truncated, changed, no checkpoint or one of something else; variables missing, unexpected, misshapen
            or of another dtype (all listed); theta that is not finite.
        OSError: a path that leads nowhere or to what cannot be read, or a missing data file.
    """
    with naming("path", path):
        checkpoint, wanted = TFCheckpoint(path), released_shapes()
    found = {name: v for name, v in checkpoint.variables.items() if name.startswith(f"{ROOT}/") or name == STEP}
    if set(found) <= {STEP}:
        some = ", ".join(list(checkpoint.variables)[:3])
        raise ValueError(
            f"{checkpoint.name} has {len(checkpoint.variables)} variables ({some} ..), none of them in {ROOT}; "
            "allowed: the checkpoint of the authors' released rule"
        )
    match({name: v.shape for name, v in found.items()}, wanted, checkpoint.name)
    for name, v in found.items():
        dtype = "int64" if name == STEP else "float32"
        if v.dtype != dtype:
            raise ValueError(f"{checkpoint.name}: {name} has dtype {v.dtype}; allowed: {dtype}")
    arrays = checkpoint.read(found)
    try:
        rule = PaperRule.from_tf_variables(arrays)
    except ValueError as error:
        raise ValueError(f"{checkpoint.name}: {error}") from error
    rule.recommended = RECOMMENDED
    rule.card = {
        "what": WHAT,
        "checkpoint": checkpoint.name,
        "tf_variables": len(found),
        "meta_steps": int(arrays[STEP]),
        "seed": None,  # their start is not known
    }
    return rule


def import_rule(path: str | os.PathLike[str], name: str = NAME, *, replace: bool = False) -> Path:
    """Store the authors' rule among your own, so that `load_rule(name)` finds it.

    Args:
        path: as for `rule_of_checkpoint`.
        name: letters, digits, points, dashes and underscores; none that a rule of the package has.
        replace: write over a rule of your own of this name.

    Returns:
        The file written, in `rules_folder()`.

    Raises:
        ValueError: a name that is taken or no name; as `rule_of_checkpoint`.
        OSError: as `rule_of_checkpoint`; the folder cannot be written.

    Example:
        import_rule("200_tf_graph.zip", "metz2018")
    """
    check_own_name(name, replace=replace)
    rule, target = rule_of_checkpoint(path), rules_folder() / f"{name}{SUFFIX}"
    try:
        return save_rule(rule, target)
    except OSError as error:
        raise OSError(f"{error}, or another folder, named by {VARIABLE}") from error


def check_own_name(name: str, *, replace: bool = False) -> str:
    """Return `name` if a rule of your own may have it.

    Raises:
        ValueError: no name, or one that is taken.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name) or name.endswith(SUFFIX):
        raise ValueError(f"name is {name!r}; allowed: letters, digits, points, dashes and underscores, such as {NAME}")
    if name in package_rules():
        raise ValueError(f"name is {name!r}, a rule of the package; allowed: another name, such as {NAME}")
    if name in own_rules() and not replace:
        raise ValueError(f"name is {name!r}, a rule of your own already; allowed: another name, or replace (--replace)")
    return name


def main(argv: Sequence[str] | None = None, prog: str = "python -m metarules.pretrained.import_tf") -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of this process.
        prog: what the program is called in its messages.

    Returns:
        Exit status: 0; 1 for a checkpoint that is not the authors' or a folder that cannot be written; 2 for bad
        arguments.
    """
    parser = Parser(
        prog=prog,
        description="Store the authors' released rule, a TensorFlow checkpoint, under a name for load_rule.",
        epilog=f"It goes to {rules_folder()}; {VARIABLE} names another folder.",
    )
    path_help = "the zip archive, the folder it unpacks to, or the prefix of the .index and .data files"
    parser.add_argument("path", metavar="PATH", help=path_help)
    parser.add_argument("--name", default=NAME, help="what load_rule shall call it (default: %(default)s)")
    parser.add_argument("--replace", action="store_true", help="write over a rule of your own of that name")
    options = parser.parse_args(argv)
    try:
        check_own_name(options.name, replace=options.replace)
    except ValueError as error:
        parser.error(str(error))
    try:
        target = import_rule(options.path, options.name, replace=options.replace)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rule = load_rule(target)
    n, best = sum(p.numel() for p in rule.parameters()), rule.recommended
    print(f"read {rule.card['tf_variables']} variables; theta has {n:,} numbers, meta-step {rule.card['meta_steps']:,}")
    print(f"wrote {target}")
    print(f'load_rule("{options.name}") loads it. Its authors ran {best.steps:,} steps of {best.batch_size} examples;')
    print("the top layer of the base model has to have 32 units.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
