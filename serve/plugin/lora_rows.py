"""LoRA for rows that share a batch but not an adapter, compiled by numba; knows arrays only, nothing of vLLM.

A decoding step has one row per request. One GEMM per adapter then has one or two rows, and torch spends more on each
call than on its arithmetic. Here one call does all rows of a layer: rows stand sorted by slot and go two at a time, so
that an adapter's weights are read once for both. bf16 comes as uint16; sums are in fp32 and y is rounded once.

Runs on one thread (engines on few cores have one); a machine with many would want it split over rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

# Sums in any order and fused multiply-adds, but NaN and infinity stay what they are.
_OPTIONS: Any = {
    "fastmath": {"contract", "reassoc", "nsz"},
    "boundscheck": False,
    "error_model": "numpy",
    "cache": True,
}


def _f32(value: Any) -> Any:
    """fp32 of a stored value (compiled code only)."""
    raise NotImplementedError


def _like(stored: Any, value: Any) -> Any:
    """`value` (fp32) as the array `stored` holds it, rounded to nearest even (compiled code only)."""
    raise NotImplementedError


@overload(_f32)
def _f32_of(value: Any) -> Any:
    def same(value: Any) -> Any:
        return value

    def from_bf16(value: Any) -> Any:
        return np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)

    return from_bf16 if value == types.uint16 else same


@overload(_like)
def _like_of(stored: Any, value: Any) -> Any:
    def same(stored: Any, value: Any) -> Any:
        return value

    def to_bf16(stored: Any, value: Any) -> Any:
        if value != value:  # NaN; rounding its bits could make a number of it
            return np.uint16(0x7FC0)
        bits = np.float32(value).view(np.uint32)
        odd = np.uint32(np.uint32(bits >> np.uint32(16)) & np.uint32(1))
        return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    return to_bf16 if stored == types.uint16 else same


@njit(**_OPTIONS)
def _shrink_two(x: Any, x2: Any, a: Any, inner: Any, inner2: Any) -> None:
    """inner = a @ x and inner2 = a @ x2; a is [rows, in]."""
    for j in range(0, a.shape[0], 4):
        a0, a1, a2, a3 = a[j], a[j + 1], a[j + 2], a[j + 3]
        s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = np.float32(0)
        for k in range(x.shape[0]):
            u, v = x[k], x2[k]
            w0, w1, w2, w3 = _f32(a0[k]), _f32(a1[k]), _f32(a2[k]), _f32(a3[k])
            s0 += w0 * u
            s1 += w1 * u
            s2 += w2 * u
            s3 += w3 * u
            t0 += w0 * v
            t1 += w1 * v
            t2 += w2 * v
            t3 += w3 * v
        inner[j], inner[j + 1], inner[j + 2], inner[j + 3] = s0, s1, s2, s3
        inner2[j], inner2[j + 1], inner2[j + 2], inner2[j + 3] = t0, t1, t2, t3


@njit(**_OPTIONS)
def _shrink(x: Any, a: Any, inner: Any) -> None:
    """inner = a @ x; a is [rows, in]."""
    for j in range(0, a.shape[0], 4):
        a0, a1, a2, a3 = a[j], a[j + 1], a[j + 2], a[j + 3]
        s0 = s1 = s2 = s3 = np.float32(0)
        for k in range(x.shape[0]):
            u = x[k]
            s0 += _f32(a0[k]) * u
            s1 += _f32(a1[k]) * u
            s2 += _f32(a2[k]) * u
            s3 += _f32(a3[k]) * u
        inner[j], inner[j + 1], inner[j + 2], inner[j + 3] = s0, s1, s2, s3


@njit(**_OPTIONS)
def _expand(out: Any, b: Any, inner: Any, start: int, stop: int) -> None:
    """out[start:stop] += inner @ b[:, start:stop]; b is [rank, out]."""
    part = out[start:stop]
    for j in range(0, b.shape[0], 8):
        b0, b1, b2, b3 = b[j, start:stop], b[j + 1, start:stop], b[j + 2, start:stop], b[j + 3, start:stop]
        b4, b5, b6, b7 = b[j + 4, start:stop], b[j + 5, start:stop], b[j + 6, start:stop], b[j + 7, start:stop]
        c0, c1, c2, c3 = inner[j], inner[j + 1], inner[j + 2], inner[j + 3]
        c4, c5, c6, c7 = inner[j + 4], inner[j + 5], inner[j + 6], inner[j + 7]
        for k in range(part.shape[0]):
            part[k] += (
                c0 * _f32(b0[k])
                + c1 * _f32(b1[k])
                + c2 * _f32(b2[k])
                + c3 * _f32(b3[k])
                + c4 * _f32(b4[k])
                + c5 * _f32(b5[k])
                + c6 * _f32(b6[k])
                + c7 * _f32(b7[k])
            )


@njit(**_OPTIONS)
def _finish(y: Any, b: Any, inner: Any, sizes: Any, scale: Any) -> None:
    """y += scale * (each slice's part of inner @ its part of b), for one row."""
    out, start, rank = np.zeros(y.shape[0], np.float32), 0, b.shape[0]
    for i in range(sizes.shape[0]):
        _expand(out, b, inner[i * rank : (i + 1) * rank], start, start + sizes[i])
        start += sizes[i]
    for k in range(y.shape[0]):
        y[k] = _like(y[k], _f32(y[k]) + scale * out[k])


@njit(**_OPTIONS)
def _widened(x: Any) -> Any:
    wide = np.empty(x.shape[0], np.float32)
    for k in range(x.shape[0]):
        wide[k] = _f32(x[k])
    return wide


@njit(**_OPTIONS)
def add_rows(y: Any, x: Any, a: Any, b: Any, rows: Any, slots: Any, sizes: Any, scale: Any) -> None:
    """For each p: `y[rows[p]] += scale * x[rows[p]] @ a[slots[p]].T @ b[slots[p]]`, slice by slice, in place.

    y [tokens, sum(sizes)], x [tokens, in], a [slots, slices * rank, in], b [slots, rank, sum(sizes)]: all float32, or
    all bf16 as uint16, and contiguous. rows, slots and sizes int64, slots sorted; scale float32. rank % 8 == 0.
    Nothing is checked.
    """
    inner, inner2, p = np.empty(a.shape[1], np.float32), np.empty(a.shape[1], np.float32), 0
    while p < rows.shape[0]:
        slot, row = slots[p], rows[p]
        if p + 1 < rows.shape[0] and slots[p + 1] == slot:
            row2 = rows[p + 1]
            _shrink_two(_widened(x[row]), _widened(x[row2]), a[slot], inner, inner2)
            _finish(y[row], b[slot], inner, sizes, scale)
            _finish(y[row2], b[slot], inner2, sizes, scale)
            p += 2
        else:
            _shrink(_widened(x[row]), a[slot], inner)
            _finish(y[row], b[slot], inner, sizes, scale)
            p += 1
