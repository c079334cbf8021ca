"""``lockstep recipes``: the recipes there are."""

from lockstep.cli.text import table


def recipes() -> None:
    """List the recipes for --recipe."""
    from lockstep.spec.recipes import RECIPES

    print("\n".join(table([[recipe.name, recipe.summary] for recipe in RECIPES.values()])))
