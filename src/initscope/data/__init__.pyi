from .bigrams import bigram_loss
from .dataset import DATASETS, Dataset, load
from .mnist import load_mnist
from .passages import Passages, ShuffledPassages
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
    "load_digits",
    "load_mnist",
    "load_text",
    "load_wine",
]
