"""Training: devices, state, checkpoints, metrics and the one loop that all experiments share."""
