"""Experiments: ``python -m jaxfer.experiments.NAME``."""
