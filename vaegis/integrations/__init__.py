"""Score on engines that spread the work over processes and machines: Spark and Ray."""

from vaegis.integrations.model_file import ModelFile

__all__ = ["ModelFile"]
