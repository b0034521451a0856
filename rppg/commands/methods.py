"""`rppg methods`."""

from rppg.commands.terminal import print_line


def methods() -> None:
    """List the methods, with their papers."""
    from rppg.methods import METHODS

    print_line(
        "fcus  FCUS-rPPG, arXiv 2606.03050. A network trained without labels: the shipped one, or "
        "that of --checkpoint."
    )
    for method in METHODS.values():
        print_line(f"{method.name}  {method.paper}. {method.description}")
    print_line(
        "NAME+skin  a classical method on the pixels of the face that are skin, such as pos+skin"
    )
