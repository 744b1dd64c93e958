"""Replaced piece by piece."""

from multiprocessing.sharedctypes import *  # noqa: F403
