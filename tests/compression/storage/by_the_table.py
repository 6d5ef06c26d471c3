"""A decoder written from the byte table alone: pure Python, strings of bits, nothing of the package.

It is slow and takes what a table reader takes at face value; what the table does not allow raises Refused.
"""

import math
import struct


class Refused(Exception):
    pass


def need(condition: bool) -> None:
    if not condition:
        raise Refused


def decode(data: bytes, most_entries: int = 1 << 14) -> list[list[float]]:
    """The rows of the matrix, as Python floats."""
    need(len(data) >= 28)
    magic = data[:4]
    n, m, k = struct.unpack_from("<III", data, 4)
    row_bytes, boundary_bytes, reserved, bits = struct.unpack_from("<BBHQ", data, 16)
    need(magic in (b"HAC1", b"SHC1") and reserved == 0 and 0 < n * m <= most_entries)
    at = 28
    at, raw_symbols = take(data, at, 4 * k)
    at, raw_lengths = take(data, at, k)
    at, payload = take(data, at, -(-bits // 8))
    codes = code_book([x[0] for x in struct.iter_unpack("<f", raw_symbols)], list(raw_lengths))
    if magic == b"HAC1":
        need(k > 0 and row_bytes == boundary_bytes == 0 and at == len(data))
        entries = read_symbols(codes, payload, bits, n * m)
        return [[entries[j * n + i] for j in range(m)] for i in range(n)]
    need(row_bytes == (1 if n <= 256 else 2 if n <= 65536 else 4) and boundary_bytes in (4, 8))
    need(0.0 not in codes.values())
    at, raw = take(data, at, (m + 1) * boundary_bytes)
    boundaries = [int.from_bytes(raw[i : i + boundary_bytes], "little") for i in range(0, len(raw), boundary_bytes)]
    q = boundaries[-1]
    need(boundaries[0] == 0 and boundaries == sorted(boundaries) and q <= n * m)
    need(boundary_bytes == (4 if q < 2**32 else 8))
    at, raw = take(data, at, q * row_bytes)
    need(at == len(data))
    rows = [int.from_bytes(raw[i : i + row_bytes], "little") for i in range(0, len(raw), row_bytes)]
    values = read_symbols(codes, payload, bits, q)
    matrix = [[0.0] * m for _ in range(n)]
    for column in range(m):
        inside = range(boundaries[column], boundaries[column + 1])
        need(all(rows[t] < rows[t + 1] for t in inside[:-1]))
        for t in inside:
            need(rows[t] < n)
            matrix[rows[t]][column] = values[t]
    return matrix


def take(data: bytes, at: int, size: int) -> tuple[int, bytes]:
    need(at + size <= len(data))
    return at + size, data[at : at + size]


def code_book(symbols: list[float], lengths: list[int]) -> dict[str, float]:
    """Code words as text."""
    need(all(math.isfinite(symbol) for symbol in symbols))
    need(not any(symbol == 0 and math.copysign(1, symbol) < 0 for symbol in symbols))
    need(len(set(symbols)) == len(symbols))
    need(list(zip(lengths, symbols, strict=True)) == sorted(zip(lengths, symbols, strict=True)))
    need(all(length <= 57 for length in lengths))
    if not symbols:
        return {}
    need(sum(2 ** (57 - length) for length in lengths) == 2**57)
    codes, code, last = {}, 0, lengths[0]
    for rank, (symbol, length) in enumerate(zip(symbols, lengths, strict=True)):
        code = (code + (rank > 0)) << (length - last)
        codes[format(code, f"0{length}b") if length else ""] = symbol
        last = length
    return codes


def read_symbols(codes: dict[str, float], payload: bytes, bits: int, count: int) -> list[float]:
    text = "".join(format(byte, "08b") for byte in payload)
    need("1" not in text[bits:])
    if "" in codes or not codes:
        need(bits == 0 and (count > 0) == (len(codes) == 1))
        return [codes[""]] * count if codes else []
    symbols, word = [], ""
    for bit in text[:bits]:
        word += bit
        if word in codes:
            symbols.append(codes[word])
            word = ""
    need(word == "" and len(symbols) == count)
    need(set(symbols) == set(codes.values()))  # a code has no symbols that never occur
    return symbols
