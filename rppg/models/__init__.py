"""The network: from crops to a pulse."""
