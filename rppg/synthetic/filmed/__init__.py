"""Domains whose whole frames are filmed by a drawn camera: video calls, dim light, phones."""
