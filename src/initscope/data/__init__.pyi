from .dataset import DATASETS, Dataset, load, load_digits, load_mnist, load_wine
from .text import Text, load_text

__all__ = [
    "DATASETS",
    "Dataset",
    "Text",
    "load",
    "load_digits",
    "load_mnist",
    "load_text",
    "load_wine",
]
