"""What programs do that reach into the interpreter's modules: it works under `python -m allcores` as it does alone."""

import textwrap

import pytest

PROGRAMS = {
    "a pool of threads": """
        import multiprocessing.pool
        from multiprocessing.dummy import Pool, Process

        def double(number):
            return 2 * number

        for make in (multiprocessing.pool.ThreadPool, Pool):
            with make(2) as pool:
                print(pool.map(double, range(5)))
        multiprocessing.pool.ThreadPool().terminate()
        Process(target=print, args=("a dummy",)).start()
        """,
    # As loky does, and so everybody who uses joblib.
    "a context of one's own": """
        import multiprocessing
        from multiprocessing.context import BaseContext
        from multiprocessing.process import BaseProcess

        class MineProcess(BaseProcess):
            _start_method = "mine"

            @staticmethod
            def _Popen(process):
                from multiprocessing.popen_fork import Popen

                return Popen(process)

        class MineContext(BaseContext):
            _name = "mine"
            Process = MineProcess

        def say():
            print(multiprocessing.get_start_method(), flush=True)

        multiprocessing.context._concrete_contexts["mine"] = MineContext()
        context = multiprocessing.get_context("mine")
        process = context.Process(target=say)
        process.start()
        process.join()
        print(process.exitcode, context.get_start_method())
        multiprocessing.set_start_method("mine")
        print(multiprocessing.get_start_method())
        try:
            multiprocessing.get_context("nobody's")
        except ValueError as error:
            print(error)
        """,
    "a queue built on the parts of the interpreter's": """
        import multiprocessing, multiprocessing.queues, threading
        from multiprocessing.context import assert_spawning

        class Queue(multiprocessing.queues.Queue):
            def __init__(self, extra, ctx):
                super().__init__(ctx=ctx)
                self.extra = extra

            def __getstate__(self):
                assert_spawning(self)
                return (self._ignore_epipe, self._maxsize, self._reader, self._writer, self._rlock, self._wlock,
                        self._sem, self._opid, self.extra)

            def __setstate__(self, state):
                *state, self.extra = state
                (self._ignore_epipe, self._maxsize, self._reader, self._writer, self._rlock, self._wlock,
                 self._sem, self._opid) = state
                self._reset()

            def _start_thread(self):
                print("a thread starts", flush=True)
                super()._start_thread()

        def put(queue):
            queue.put((queue.extra, 1))

        if __name__ == "__main__":
            for method in ("fork", "spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                queue = Queue("more", context)
                process = context.Process(target=put, args=(queue,))
                process.start()
                print(queue.get())
                process.join()
                print(process.exitcode)
        """,
    "a queue with an attribute more": """
        import multiprocessing, multiprocessing.queues

        class Queue(multiprocessing.queues.Queue):
            def __init__(self, extra, ctx):
                super().__init__(ctx=ctx)
                self.extra = extra

            def __getstate__(self):
                return super().__getstate__(), self.extra

            def __setstate__(self, state):
                state, self.extra = state
                super().__setstate__(state)

        def put(queue):
            queue.put((queue.extra, 1))

        if __name__ == "__main__":
            print(isinstance(Queue("more", multiprocessing), multiprocessing.queues.Queue))
            for method in ("fork", "spawn", "forkserver"):
                context = multiprocessing.get_context(method)
                queue = Queue("more", context)
                process = context.Process(target=put, args=(queue,))
                process.start()
                print(queue.get())
                process.join()
        """,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_does_what_it_does_alone(name, tmp_path, run_script):
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(PROGRAMS[name]))
    plain = run_script(None, path)
    ours = run_script(None, path, flags=["-m", "allcores"])
    assert plain.stderr == "" and plain.stdout
    assert (ours.code, ours.stdout, ours.stderr) == (plain.code, plain.stdout, plain.stderr)
