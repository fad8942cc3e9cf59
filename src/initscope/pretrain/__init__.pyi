from .growth import split_growth
from .plan import plan_training
from .records import PretrainRecord, describe_outcome, read_record
from .run import PretrainInterrupted, load_spec_text, pretrain
from .spec import PretrainSpec

__all__ = [
    "PretrainInterrupted",
    "PretrainRecord",
    "PretrainSpec",
    "describe_outcome",
    "load_spec_text",
    "plan_training",
    "pretrain",
    "read_record",
    "split_growth",
]
