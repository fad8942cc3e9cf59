from .plan import plan_training
from .records import PretrainRecord, read_record
from .run import PretrainInterrupted, load_spec_text, outcome_in_words, pretrain
from .spec import PretrainSpec

__all__ = [
    "PretrainInterrupted",
    "PretrainRecord",
    "PretrainSpec",
    "load_spec_text",
    "outcome_in_words",
    "plan_training",
    "pretrain",
    "read_record",
]
