"""`rppg methods`."""

from rppg.commands.terminal import say


def methods() -> None:
    """The methods that can be named, with their papers."""
    from rppg.methods import METHODS

    say("fcus  FCUS-rPPG, arXiv 2606.03050: the shipped network, or --checkpoint")
    for method in METHODS.values():
        say(f"{method.name}  {method.paper}. {method.description}")
