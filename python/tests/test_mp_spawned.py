"""What a spawned child has not imported, and that nobody in it can tell."""

import sys
import threading

from allcores import _child


def test_what_most_children_never_use_is_not_loaded(run_script):
    ended = run_script(
        """
        from allcores import multiprocessing as mp
        def loaded():
            import sys
            return sorted({"collections", "enum", "pickle", "re", "socket", "tempfile"} & set(sys.modules))
        if __name__ == "__main__":
            process = mp.get_context("spawn").Process(target=loaded)
            process.start()
            print(process.result())
        """
    )
    assert ended.ok() == "[]\n"


def test_it_is_there_whole_as_soon_as_somebody_looks(run_script):
    ended = run_script(
        """
        from allcores import multiprocessing as mp
        def looks():
            import _signal, functools, signal, subprocess
            from functools import partial, lru_cache
            # First of all in this, which `multiprocessing` gets something else for.
            names = vars(signal)
            assert subprocess.Popen
            return (
                "Signals" in names and isinstance(signal.SIGTERM, signal.Signals),
                set(dir(_signal)) - set(names) == set(),
                functools.partial is partial and functools.lru_cache is lru_cache,
                {type(module).__name__ for module in (functools, signal, subprocess)},
            )
        if __name__ == "__main__":
            process = mp.get_context("spawn").Process(target=looks)
            process.start()
            print(process.result())
        """
    )
    assert ended.ok() == "(True, True, True, {'module'})\n"


def test_two_threads_that_look_at_once_both_find_it_whole(tmp_path, monkeypatch):
    name = "allcores_test_later"
    (tmp_path / f"{name}.py").write_text("import sys\nsys.meet()\nvalue = 1\n")
    loading, second_done, values = threading.Event(), threading.Event(), []

    def meet():
        loading.set()
        # What the second sees too early it sees now; if it waits, as it should, this waits in vain.
        second_done.wait(0.2)

    def second():
        assert loading.wait(100)
        try:
            values.append(module.value)
        except AttributeError as error:
            values.append(error)
        second_done.set()

    monkeypatch.setattr(sys, "meet", meet, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_child, "_later", [])
    monkeypatch.delitem(sys.modules, name, raising=False)
    _child._prepare(name)
    module = sys.modules.pop(name)
    monkeypatch.setitem(sys.modules, name, module)
    thread = threading.Thread(target=second)
    thread.start()
    assert module.value == 1
    thread.join()
    assert values == [1]


def test_a_module_that_cannot_be_loaded_says_so_each_time(tmp_path, monkeypatch):
    name = "allcores_test_later_broken"
    (tmp_path / f"{name}.py").write_text("value = 1\nraise OSError('not today')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(_child, "_later", [])
    _child._prepare(name)
    module = sys.modules.pop(name)
    monkeypatch.setitem(sys.modules, name, module)
    for _ in range(2):
        try:
            module.value
        except OSError as error:
            assert str(error) == "not today"
        else:
            raise AssertionError("what was left of it was taken for the module")
