"""Images, text and tables behind one small interface: train, validation and a sealed test set."""

from rlnas.datasets.base import Dataset, Images, Opener, Survey, Table, Test, Text, Train, Validation, join, open_local

DATASETS = {
    "digits": "rlnas.datasets.digits:Digits",
    "cifar10": "rlnas.datasets.cifar10:Cifar10",
    "npz": "rlnas.datasets.npz:Npz",
    "image_folder": "rlnas.datasets.image_folder:ImageFolder",
    "ptb": "rlnas.datasets.text:PennTreebank",
    "text": "rlnas.datasets.text:TextFiles",
    "python_docs": "rlnas.datasets.text:PythonDocs",
    "table": "rlnas.datasets.table:TableFile",
}
"""Dataset kinds; other packages add theirs by the entry-point group `rlnas.datasets`."""

__all__ = [
    "DATASETS",
    "Dataset",
    "Images",
    "Opener",
    "Survey",
    "Table",
    "Test",
    "Text",
    "Train",
    "Validation",
    "join",
    "open_local",
]
