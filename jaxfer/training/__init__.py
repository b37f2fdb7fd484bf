"""Training: devices, state, checkpoints, metrics and the one loop that all experiments share."""

from jaxfer.training.devices import (
    compile_evaluation,
    compile_step,
    configure_devices,
    first,
    replicate,
)
from jaxfer.training.loop import Fitted, Schedule, Stopped, fit
from jaxfer.training.memory import PeakMemory, peak_memory
from jaxfer.training.rate_finder import RateSearch, find_rate
from jaxfer.training.run_folder import (
    RunFolder,
    hardware,
    open_run_folder,
    versions,
    write_summary,
)
from jaxfer.training.state import Best, TrainState, init_train_state, remember_best

__all__ = [
    "Best",
    "Fitted",
    "PeakMemory",
    "RateSearch",
    "RunFolder",
    "Schedule",
    "Stopped",
    "TrainState",
    "compile_evaluation",
    "compile_step",
    "configure_devices",
    "find_rate",
    "first",
    "fit",
    "hardware",
    "init_train_state",
    "open_run_folder",
    "peak_memory",
    "remember_best",
    "replicate",
    "versions",
    "write_summary",
]
