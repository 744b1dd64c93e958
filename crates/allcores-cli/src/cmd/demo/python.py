"""The word count in Python. Reads the job as JSON from stdin, writes the result as JSON to stdout.

The same code for all four ways: only where the queues and the workers come from differs.
"""

import collections
import json
import os
import re
import sys
import time


def count(pieces, files, letters, lower):
    """Counts the words of some pieces of files: words, bytes, files, and how often each word is there."""
    counts, words, size, begun = collections.Counter(), 0, 0, 0
    for number, offset, length in pieces:
        with open(files[number], "rb") as file:
            file.seek(offset)
            text = file.read(length).decode()
        found = letters.findall(text)
        words += len(found)
        size += length
        begun += offset == 0
        counts.update(word.translate(lower) for word in found)
    return counts, words, size, begun


def worker(tasks, results, *corpus):
    counts, words, size, begun = collections.Counter(), 0, 0, 0
    while (pieces := tasks.get()) is not None:
        found = count(pieces, *corpus)
        counts.update(found[0])
        words, size, begun = words + found[1], size + found[2], begun + found[3]
    results.put((dict(counts), words, size, begun))


def main():
    job = json.load(sys.stdin)
    library, kind = job["library"], job["kind"]
    if library == "allcores":
        from allcores import multiprocessing, queue, threading
    else:
        import multiprocessing
        import queue
        import threading
    if kind == "threads":
        make_queue, make_worker = queue.Queue, threading.Thread
    else:
        # This program has no file that another start method could import.
        context = multiprocessing.get_context("fork")
        make_queue, make_worker = context.Queue, context.Process
    files = [bytes.fromhex(name) for name in job["files"]]
    letters = re.compile(f"[{''.join(f'{a}-{b}' for a, b in job['letters'])}]+")
    lower = {ord(upper): folded for upper, folded in job["lower"]}

    began, before = time.perf_counter(), os.times()
    tasks, results = make_queue(), make_queue()
    workers = [make_worker(target=worker, args=(tasks, results, files, letters, lower)) for _ in range(job["workers"])]
    for each in workers:
        each.start()
    for batch in job["batches"]:
        tasks.put(batch)
    for _ in workers:
        tasks.put(None)
    counts, words, size, begun = collections.Counter(), 0, 0, 0
    for _ in workers:
        found = results.get()
        counts.update(found[0])
        words, size, begun = words + found[1], size + found[2], begun + found[3]
    for each in workers:
        each.join()
    seconds, after = time.perf_counter() - began, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    json.dump(
        {"seconds": seconds, "cpu_seconds": cpu, "files": begun, "bytes": size, "words": words, "counts": counts},
        sys.stdout,
    )


main()
