"""Sources of frames, one a module. Each implements `rppg.types.Video`."""
