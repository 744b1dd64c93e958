"""The Python half of 10_rust_and_python.rs: with "count" it was started by Rust; otherwise it starts the program it is given."""

import os
import subprocess
import sys

from allcores import multiprocessing as mp
from allcores.multiprocessing.ticket import Array, BytesQueue, Ticket, received

ROUNDS = 1000


def count_words(lock, words, counts):
    while word := words.get_bytes():
        with lock:
            for byte in word:
                counts[byte] += 1


def main(other):
    if other == "count":
        ticket = received()
        count_words(ticket.lock("lock"), ticket.bytes_queue("words"), ticket.array("counts"))
        return
    lock, words, counts = mp.Lock(), BytesQueue(), Array("Q", 256)
    ticket = Ticket(lock=lock, words=words, counts=counts)
    child = subprocess.Popen([other, "count"], env={**os.environ, **ticket.env}, pass_fds=ticket.pass_fds)
    for _ in range(ROUNDS):
        words.put_bytes(b"abba")
    for _ in range(2):
        words.put_bytes(b"")
    count_words(lock, words, counts)
    assert child.wait() == 0
    counted = counts[ord("a")], counts[ord("b")]
    assert counted == (2 * ROUNDS, 2 * ROUNDS)
    print(f"Python started Rust, and both counted: {counted}")


if __name__ == "__main__":
    main(sys.argv[1])
