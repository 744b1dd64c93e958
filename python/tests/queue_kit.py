"""What the tests of queues between processes need."""

import pytest

from allcores.multiprocessing import get_context

PATIENCE = 100


def start(ctx, target, *args, daemon=True):
    process = ctx.Process(target=target, args=args, daemon=daemon)
    process.start()
    return process


def ended_well(process):
    process.join(PATIENCE)
    assert process.exitcode == 0


@pytest.fixture
def plain():
    """A queue of a context that has no part in the test."""
    return get_context("fork").Queue()
