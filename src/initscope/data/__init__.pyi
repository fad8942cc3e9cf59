from .arrays import load_arrays, load_columns
from .bigrams import bigram_loss
from .dataset import DATASETS, Dataset, load
from .mnist import load_mnist
from .passages import Passages, ShuffledPassages
from .published_weights import (
    load_checkpoint_stds,
    load_training_logs,
    load_weibull_scales,
)
from .tabular import load_digits, load_wine
from .text import Text, load_text

__all__ = [
    "DATASETS",
    "Dataset",
    "Passages",
    "ShuffledPassages",
    "Text",
    "bigram_loss",
    "load",
    "load_arrays",
    "load_checkpoint_stds",
    "load_columns",
    "load_digits",
    "load_mnist",
    "load_text",
    "load_training_logs",
    "load_weibull_scales",
    "load_wine",
]
