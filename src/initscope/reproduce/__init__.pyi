from .run import ChapterError, Outcome, describe_parameters, reproduce

__all__ = ["ChapterError", "Outcome", "describe_parameters", "reproduce"]
