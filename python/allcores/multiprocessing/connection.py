"""Replaced piece by piece."""

from multiprocessing.connection import *  # noqa: F403
