"""Modules that a spawned child loads late, and that nobody in it can tell."""

import importlib
import sys
import threading

import pytest

from allcores import _child


@pytest.fixture
def late(tmp_path, monkeypatch):
    """A function that has a module of this text stand ready."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_child, "_later", [])
    name = "allcores_test_late"

    def prepare(text):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        _child._prepare(name)
        return sys.modules[name]

    yield prepare
    sys.modules.pop(name, None)


def get(module):
    return module.value


def put(module):
    module.value = 2
    return module.value


@pytest.mark.parametrize("look, found", [(get, 1), (put, 2)])
@pytest.mark.parametrize("when", ["it is executed", "it is told that it is loaded"])
def test_who_looks_into_it_while_another_thread_loads_it_finds_it_whole(look, found, when, late, monkeypatch):
    module = late("import sys\nsys.allcores_test_met()\nvalue = 1\n")
    name = module.__name__
    loading, looked, values = threading.Event(), threading.Event(), []

    def met():
        # Not before the second looks for it: it waits by now, or else it has what it should not have found.
        loading.set()
        assert looked.wait(100)

    def told(module):
        del module.value
        met()
        module.value = 1

    def second():
        assert loading.wait(100)
        try:
            values.append(look(module))
        except AttributeError as error:
            values.append(error)
        finally:
            looked.set()

    thread = threading.Thread(target=second)
    lock_of = _child._get_module_lock

    def asked(name):
        lock = lock_of(name)
        if threading.current_thread() is thread:
            looked.set()
        return lock

    monkeypatch.setattr(_child, "_get_module_lock", asked)
    told_of = when != "it is executed"
    monkeypatch.setattr(sys, "allcores_test_met", (lambda: None) if told_of else met, raising=False)
    if told_of:
        _child.when_loaded(name, told)
    thread.start()
    assert hasattr(module, "value")
    thread.join()
    assert values == [found]
    assert module.value == found
    assert type(module) is type(sys)


def test_two_threads_that_load_in_a_circle_do_not_wait_for_each_other(tmp_path, run_script):
    for name, other in ("one", "other"), ("other", "one"):
        (tmp_path / f"{name}.py").write_text(f"import sys\nsys.both.wait()\nimport {other}\nsaw = hasattr({other}, 'value')\nvalue = 1\n")
    ended = run_script(
        """
        import sys, threading
        from allcores import _child
        sys.both = threading.Barrier(2)
        _child._prepare("one")
        _child._prepare("other")
        import one, other
        values = []
        threads = [threading.Thread(target=lambda module=module: values.append(module.value)) for module in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # At most one of them found the other whole.
        print(values, one.saw and other.saw, one.value, other.value, type(one) is type(other) is type(sys))
        """
    )
    assert ended.ok() == "[1, 1] False 1 1 True\n"


def test_one_that_cannot_be_loaded_says_so_each_time(late):
    module = late("value = 1\nraise OSError('not today')\n")
    for _ in range(2):
        with pytest.raises(OSError, match="not today"):
            module.value
