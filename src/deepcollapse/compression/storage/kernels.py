"""Compiled loops over coded columns: codes and fields in, non-zero values with their rows or sums of products out.

Importing this module needs numba, so import it where it is used. Every loop runs over the columns [first, last) alone
and lets go of the interpreter's lock, so that threads can share a matrix by columns. Nothing is read beyond `words`,
which are padded, as long as codes stay within the bits that there are: `column_starts` holds them to that, and the
others take what it returned.

A Huffman stream is a tuple (words, starts, boundaries, table, runs, bits, longest, first_codes, first_ranks, symbols,
rows): big-endian 32-bit words of the payload, the bit at which each column starts, the count of codes up to each
column, the tables, and the row of each code or, where every row has one, nothing. A field stream is a tuple (words,
boundaries, width, reciprocal, shift, most, symbols): little-endian 32-bit words, the count of fields up to each column,
what divides a field by the number of symbols, and the gap that means a skip. A paired stream has two payloads: (words,
starts, boundaries, gaps, symbols, codes of gaps, value words, value starts, codes of values). `streams` makes all.
"""

from typing import no_type_check

import numpy as np

from deepcollapse.compression.extras import required

numba = required("numba", "products with coded weights")
compiled = numba.njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})

U64 = np.uint64  # indices are unsigned throughout: signed ones are looked at for being negative, at a price
LONG = 0xFFFF  # of the table: the code is longer than the bits looked up
SKIP = 255  # of gaps in two streams: no value, the next is further down
MOST_IN_A_RUN = 11  # entries: each takes a bit or more of those looked up


@compiled
@no_type_check
def _code(words, at, table, bits, longest, first_codes, first_ranks):
    """Length and rank of the code that begins at bit `at`."""
    word, shift = at >> U64(5), at & U64(31)
    ahead = ((U64(words[word]) << U64(32)) | U64(words[word + U64(1)])) << shift
    entry = U64(table[(ahead >> U64(1)) >> (U64(63) - bits)])  # a shift by 64 is undefined: two, for bits may be 0
    if entry != U64(LONG):
        return entry & U64(15), entry >> U64(4)
    ahead |= U64(words[word + U64(2)]) >> (U64(32) - shift)
    window, length = ahead >> (U64(64) - longest), bits + U64(1)
    while window >= first_codes[length + U64(1)]:
        length += U64(1)
    return length, first_ranks[length] + ((window - first_codes[length]) >> (longest - length))


@compiled
@no_type_check
def column_starts(words, total, boundaries, table, bits, longest, first_codes, first_ranks, starts):
    """Writes the bit at which each column starts; False where the codes do not end at the last of `total` bits."""
    at = U64(0)
    for column in range(len(boundaries) - 1):
        starts[column] = at
        for _ in range(boundaries[column], boundaries[column + 1]):
            at += _code(words, at, table, bits, longest, first_codes, first_ranks)[0]
            if at > total:
                return False
    starts[-1] = at
    return at == total


@compiled
@no_type_check
def _coded_column(stream, column, rows, values):
    """Writes rows and values of a column's non-zero entries, and returns how many there are."""
    words, starts, boundaries, table, _, bits, longest, first_codes, first_ranks, symbols, places = stream
    if len(places) == 0:
        return _dense_column(stream, column, rows, values)
    at, begin = starts[column], boundaries[column]
    for entry in range(boundaries[column + 1] - begin):
        length, rank = _code(words, at, table, bits, longest, first_codes, first_ranks)
        at += length
        rows[entry], values[entry] = places[begin + entry], symbols[rank]
    return U64(boundaries[column + 1] - begin)


@compiled
@no_type_check
def _dense_column(stream, column, rows, values):
    """The same where every row has a code: runs of zeros, and the non-zero after them, are taken in one step."""
    words, starts, boundaries, table, runs, bits, longest, first_codes, first_ranks, symbols, _ = stream
    at, row, count, end = starts[column], U64(0), U64(0), U64(boundaries[column + 1] - boundaries[column])
    while row < end:
        word = at >> U64(5)
        ahead = ((U64(words[word]) << U64(32)) | U64(words[word + U64(1)])) << (at & U64(31))
        run = U64(runs[(ahead >> U64(1)) >> (U64(63) - bits)])
        used = run & U64(15)
        if used and row + U64(MOST_IN_A_RUN) <= end:
            at += used
            row += (run >> U64(4)) & U64(15)
            rank = run >> U64(8)
            rows[count], values[count] = row, symbols[rank - U64(rank != 0)]
            row, count = row + U64(rank != 0), count + U64(rank != 0)  # no jump: none could be foreseen
        else:
            length, rank = _code(words, at, table, bits, longest, first_codes, first_ranks)
            at += length
            rows[count], values[count] = row, symbols[rank]
            row, count = row + U64(1), count + U64(symbols[rank] != 0)
    return count


@compiled
@no_type_check
def _field(words, at, width, reciprocal, shift, k):
    """Gap and index in the field of `width` bits at bit `at`."""
    word = at >> U64(5)
    ahead = (U64(words[word]) | (U64(words[word + U64(1)]) << U64(32))) >> (at & U64(31))
    field = ahead & ((U64(1) << width) - U64(1))
    gap = (field * reciprocal) >> shift
    return gap, field - gap * k


@compiled
@no_type_check
def _field_column(stream, column, rows, values):
    """The same of a field stream."""
    words, boundaries, width, reciprocal, shift, most, symbols = stream
    at, row, count, k = U64(boundaries[column]) * width, U64(0), U64(0), U64(len(symbols))
    for _ in range(boundaries[column], boundaries[column + 1]):
        gap, index = _field(words, at, width, reciprocal, shift, k)
        at += width
        if gap == most:
            row += most * (index + U64(1))
        else:
            row += gap
            rows[count], values[count] = row, symbols[index]
            row, count = row + U64(1), count + U64(1)
    return count


@compiled
@no_type_check
def _field_sum(stream, column, x):
    """The sum over a column's entries of value times x (n,): decoded and added up in one loop."""
    words, boundaries, width, reciprocal, shift, most, symbols = stream
    at, row, total, k = U64(boundaries[column]) * width, U64(0), x.dtype.type(0), U64(len(symbols))
    for _ in range(boundaries[column], boundaries[column + 1]):
        gap, index = _field(words, at, width, reciprocal, shift, k)
        at += width
        if gap == most:
            row += most * (index + U64(1))
        else:
            row += gap
            total += x.dtype.type(symbols[index]) * x[row]
            row += U64(1)
    return total


@compiled
@no_type_check
def _paired_column(stream, column, rows, values):
    """The same of two streams side by side: gaps, and the values of what is not skipped."""
    words, starts, boundaries, gaps, symbols, gap_codes, value_words, value_starts, value_codes = stream
    at, place, row = starts[column], value_starts[column], U64(0)
    for entry in range(boundaries[column + 1] - boundaries[column]):
        length, rank = _code(words, at, *gap_codes)
        at += length
        while gaps[rank] == U64(SKIP):
            row += U64(SKIP)
            length, rank = _code(words, at, *gap_codes)
            at += length
        row += gaps[rank]
        length, rank = _code(value_words, place, *value_codes)
        place += length
        rows[entry], values[entry] = row, symbols[rank]
        row += U64(1)
    return U64(boundaries[column + 1] - boundaries[column])


@compiled
@no_type_check
def _sums(rows, values, count, x, y):
    """y (B,) = sum of values[i] x[rows[i], :] for x (n, B); B is 1 or a multiple of 8."""
    if len(y) == 1:
        total = y.dtype.type(0)
        for i in range(count):
            total += y.dtype.type(values[i]) * x[rows[i], 0]
        y[0] = total
    elif len(y) <= 16:  # short rows are faster in loops whose length is known
        for b in range(0, len(y), 8):
            sums = np.zeros(8, y.dtype)
            for i in range(count):
                value, row = y.dtype.type(values[i]), rows[i]
                for lane in range(8):
                    sums[lane] += value * x[row, b + lane]
            y[b : b + 8] = sums
    else:
        sums = np.zeros(len(y), y.dtype)
        for i in range(count):
            value, source = y.dtype.type(values[i]), x[rows[i]]
            for lane in range(len(sums)):
                sums[lane] += value * source[lane]
        y[:] = sums


@compiled
@no_type_check
def coded_product(stream, first, last, x, y):
    """Writes y (m, B), y[j] = sum over i of W[i, j] x[i], for columns j of a Huffman stream."""
    rows, values = np.empty(len(x), np.uint32), np.empty(len(x), np.float32)
    for column in range(first, last):
        _sums(rows, values, _coded_column(stream, column, rows, values), x, y[column])


@compiled
@no_type_check
def field_product(stream, first, last, x, y):
    """The same for a field stream."""
    if x.shape[1] == 1:
        row = x[:, 0]
        for column in range(first, last):
            y[column, 0] = _field_sum(stream, column, row)
        return
    rows, values = np.empty(len(x), np.uint32), np.empty(len(x), np.float32)
    for column in range(first, last):
        _sums(rows, values, _field_column(stream, column, rows, values), x, y[column])


@compiled
@no_type_check
def coded_columns(stream, first, last, out):
    """Writes the columns of a Huffman stream as the rows of out (last - first, n), which holds zeros."""
    rows, values = np.empty(out.shape[1], np.uint32), np.empty(out.shape[1], np.float32)
    for column in range(first, last):
        for i in range(_coded_column(stream, column, rows, values)):
            out[column - first, rows[i]] = values[i]


@compiled
@no_type_check
def field_columns(stream, first, last, out):
    """The same for a field stream."""
    rows, values = np.empty(out.shape[1], np.uint32), np.empty(out.shape[1], np.float32)
    for column in range(first, last):
        for i in range(_field_column(stream, column, rows, values)):
            out[column - first, rows[i]] = values[i]


@compiled
@no_type_check
def paired_product(stream, first, last, x, y):
    """The same as `coded_product` for gaps and values in two streams."""
    rows, values = np.empty(len(x), np.uint32), np.empty(len(x), np.float32)
    for column in range(first, last):
        _sums(rows, values, _paired_column(stream, column, rows, values), x, y[column])


@compiled
@no_type_check
def paired_columns(stream, first, last, out):
    """The same as `coded_columns` for gaps and values in two streams."""
    rows, values = np.empty(out.shape[1], np.uint32), np.empty(out.shape[1], np.float32)
    for column in range(first, last):
        for i in range(_paired_column(stream, column, rows, values)):
            out[column - first, rows[i]] = values[i]
