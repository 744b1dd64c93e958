"""Replaced piece by piece."""

import sys

import multiprocessing.reduction

sys.modules[__name__] = multiprocessing.reduction
