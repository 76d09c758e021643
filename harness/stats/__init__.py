"""Intervals, tests and sizes for verdicts that can be believed. Pure; scipy loads when something is asked.

- intervals  paired differences and means: CR2 with Satterthwaite's degrees of freedom, Tango, Wilson
- corpus     BLEU, TER, chrF, macro-F1 from sufficient statistics, with a paired cluster bootstrap
- flips      the sign-flip test where clusters are few
- skew       a check for clusters with a long tail on the losing side
- looks      what a further look at a release split costs
- seeds      a recipe's difference, with items' and seeds' errors
- power      what a gate can see before it is run
- agreement  Cohen's kappa, Bradley-Terry
- numbers    quantiles, checks, figures for people
"""

from harness.stats.corpus import corpus_difference, corpus_influence, corpus_interval, corpus_value
from harness.stats.flips import sign_flip
from harness.stats.intervals import Interval, mean_interval, paired_difference, tango, wilson
from harness.stats.looks import alpha_at
from harness.stats.numbers import ALPHA, CONFIDENCE, UNIT_RANGE, cluster_index, figures
from harness.stats.power import (
    Sample,
    chance_to_clear,
    design_effect,
    flip_spread,
    items_needed,
    items_to_settle,
    joint_power,
    power_at,
    sample_like,
    smallest_visible,
    votes_needed,
)
from harness.stats.seeds import pooled_variance, recipe_difference
from harness.stats.skew import skewness_p

__all__ = [
    "ALPHA",
    "CONFIDENCE",
    "UNIT_RANGE",
    "Interval",
    "Sample",
    "alpha_at",
    "chance_to_clear",
    "cluster_index",
    "corpus_difference",
    "corpus_influence",
    "corpus_interval",
    "corpus_value",
    "design_effect",
    "figures",
    "flip_spread",
    "items_needed",
    "items_to_settle",
    "joint_power",
    "mean_interval",
    "paired_difference",
    "pooled_variance",
    "power_at",
    "recipe_difference",
    "sample_like",
    "sign_flip",
    "skewness_p",
    "smallest_visible",
    "tango",
    "votes_needed",
    "wilson",
]
