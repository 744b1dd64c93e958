"""Replaced piece by piece."""

from multiprocessing.synchronize import *  # noqa: F403
