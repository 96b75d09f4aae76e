"""A binary heap in two arrays (smaller to compile than numba's heapq)."""

# pyright: basic, reportUnknownArgumentType=false, reportArgumentType=false
# (numba infers the types of kernels itself)

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def push(keys, items, size, key, item):
    """Add to a binary heap held in two arrays (smaller to compile than numba's heapq); the new size."""
    at = size
    while at > 0 and keys[(at - 1) // 2] > key:
        keys[at], items[at] = keys[(at - 1) // 2], items[(at - 1) // 2]
        at = (at - 1) // 2
    keys[at], items[at] = key, item
    return size + 1


@njit(cache=True, nogil=True, error_model="numpy")
def pop(keys, items, size):
    """Take the smallest off the heap: its key, its item, the new size."""
    top_key, top_item = keys[0], items[0]
    size -= 1
    key, item = keys[size], items[size]
    at = 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and keys[child + 1] < keys[child]:
            child += 1
        if keys[child] >= key:
            break
        keys[at], items[at] = keys[child], items[child]
        at = child
    keys[at], items[at] = key, item
    return top_key, top_item, size
