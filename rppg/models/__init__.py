"""Networks, from crops to a pulse, and their checkpoints."""
