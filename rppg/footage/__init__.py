"""What a recording's frames show beside the pulse: for how long, and where, there is a face."""
