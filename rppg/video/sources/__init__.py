"""Sources of frames: a video file, an image sequence, an array file, memory."""
