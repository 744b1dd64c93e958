"""Replaced piece by piece."""

from multiprocessing.queues import *  # noqa: F403
