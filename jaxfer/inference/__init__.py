"""A fine-tuned model from its folder, and what it says of new examples."""

from jaxfer.inference.saved import Predictions, SavedModel, load_model, predict, save_model

__all__ = ["Predictions", "SavedModel", "load_model", "predict", "save_model"]
