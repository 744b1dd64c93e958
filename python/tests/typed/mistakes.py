"""What `mypy --strict` must not accept: each line with a comment has the error that the comment names, and no other has one."""

from allcores import OwnerDiedError, multiprocessing, queue, threading
from allcores.multiprocessing.queues import Queue


def work() -> None:
    pass


threading.Thread(work)  # arg-type
threading.Thread(target=work).result("soon")  # arg-type
threading.Lock().acquire(timeout="soon")  # arg-type
threading.Lock().acquier()  # attr-defined
threading.Semaphore(owned=True)  # call-arg

numbers: queue.Queue[int] = queue.Queue()
numbers.put("one")  # arg-type
words: str = numbers.get()  # assignment

context = multiprocessing.get_context("fork")
squares: Queue[int] = context.Queue()
squares.put("one")  # arg-type
context.Lock().notify()  # attr-defined
context.Barrier()  # call-arg
context.Process(target=1)  # arg-type
context.Process(target=work).exception().args  # union-attr
multiprocessing.set_start_method(3)  # arg-type
multiprocessing.Nothing  # attr-defined
multiprocessing.Value("i", 0).get_lock().release("now")  # call-arg
OwnerDiedError().owner  # attr-defined
