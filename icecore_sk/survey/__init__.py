"""The work from images to a result: the demonstration and the command line."""

from icecore_sk.survey._results import Survey
from icecore_sk.survey._score_particles import score_particles
from icecore_sk.survey._workflow import survey
from icecore_sk.survey.demo import run_demo

__all__ = ["Survey", "run_demo", "score_particles", "survey"]
