"""The work from images to a result: the demonstration and the command line."""

from icecore_sk.survey.demo import run_demo

__all__ = ["run_demo"]
