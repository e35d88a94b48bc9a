"""Makes the Parquet files the fuzzer starts from: every codec, encoding and page version, nested types.

Run by hand with the oracles' Python, in this folder; what it makes is committed.
"""

import sys

import pyarrow as pa
import pyarrow.parquet as pq

folder = sys.argv[1] if len(sys.argv) > 1 else "parquet"


def field(number, name, kind, nullable=True):
    return pa.field(name, kind, nullable, {"PARQUET:field_id": str(number)})


FLAT = pa.schema(
    [
        field(1, "id", pa.int64(), False),
        field(2, "small", pa.int32()),
        field(3, "name", pa.string()),
        field(4, "raw", pa.binary()),
        field(5, "price", pa.decimal128(9, 2)),
        field(6, "at", pa.timestamp("us", "UTC")),
        field(7, "ratio", pa.float64()),
        field(8, "flag", pa.bool_()),
        field(9, "mark", pa.binary(16)),
    ]
)
NESTED = pa.schema(
    [
        field(1, "id", pa.int64(), False),
        field(2, "tags", pa.list_(field(3, "element", pa.string()))),
        field(4, "counts", pa.map_(field(5, "key", pa.string(), False), field(6, "value", pa.int32()))),
        field(7, "place", pa.struct([field(8, "x", pa.float32()), field(9, "y", pa.date32())])),
    ]
)


def flat(rows):
    def maybe(n, value):
        return None if n % 7 == 3 else value

    made = {
        "id": range(rows),
        "small": [maybe(n, n % 5) for n in range(rows)],
        "name": [maybe(n + 1, f"name-{n % 11}") for n in range(rows)],
        "raw": [maybe(n + 2, bytes([n % 256] * (n % 9))) for n in range(rows)],
        "price": [maybe(n, n) for n in range(rows)],
        "at": [maybe(n, 1_700_000_000_000_000 + n) for n in range(rows)],
        "ratio": [maybe(n, n / 3) for n in range(rows)],
        "flag": [maybe(n, n % 2 == 0) for n in range(rows)],
        "mark": [maybe(n, n.to_bytes(16, "big")) for n in range(rows)],
    }
    return pa.table({name: pa.array(list(made[name]), FLAT.field(name).type) for name in made}, schema=FLAT)


def nested(rows):
    made = {
        "id": list(range(rows)),
        "tags": [None if n % 5 == 0 else [f"t{k}" for k in range(n % 4)] for n in range(rows)],
        "counts": [None if n % 6 == 0 else [(f"k{k}", k) for k in range(n % 3)] for n in range(rows)],
        "place": [None if n % 4 == 0 else {"x": n / 2, "y": n} for n in range(rows)],
    }
    return pa.table({name: pa.array(made[name], NESTED.field(name).type) for name in made}, schema=NESTED)


def write(name, table, **more):
    options = {"compression": "none", "store_schema": False, "write_statistics": False}
    pq.write_table(table, f"{folder}/{name}.parquet", **{**options, **more})


DELTAS = {
    "id": "DELTA_BINARY_PACKED",
    "small": "DELTA_BINARY_PACKED",
    "name": "DELTA_BYTE_ARRAY",
    "raw": "DELTA_LENGTH_BYTE_ARRAY",
    "ratio": "BYTE_STREAM_SPLIT",
}
for codec in ["none", "snappy", "gzip", "zstd", "lz4", "brotli"]:
    write(f"flat-{codec}", flat(24), compression=codec, write_page_checksum=codec == "zstd")
write("flat-groups", flat(30), row_group_size=11, write_page_checksum=True, data_page_size=64)
write("flat-second", flat(24), data_page_version="2.0", compression="snappy")
write("flat-deltas", flat(24), use_dictionary=False, column_encoding=DELTAS, data_page_version="2.0")
write("flat-plain", flat(24), use_dictionary=False, write_statistics=True)
write("nested-plain", nested(20), use_dictionary=False)
write("nested-second", nested(20), data_page_version="2.0", compression="zstd", write_page_checksum=True)
POSITIONS = pa.schema(
    [field(2147483546, "file_path", pa.string(), False), field(2147483545, "pos", pa.int64(), False)]
)
paths = [f"/t/data/{n % 3}.parquet" for n in range(30)]
write("positions", pa.table({"file_path": paths, "pos": list(range(30))}, schema=POSITIONS), write_page_checksum=True)


class Thrift:
    """A structure in Thrift's compact form; fields in ascending order."""

    INT, LONG, TEXT, LIST, STRUCT = 5, 6, 8, 9, 12

    def __init__(self):
        self.bytes, self.last = b"", 0

    @staticmethod
    def varint(n):
        out = b""
        while n > 0x7F:
            out += bytes([n & 0x7F | 0x80])
            n >>= 7
        return out + bytes([n])

    def field(self, number, kind, encoded):
        self.bytes += bytes([(number - self.last) << 4 | kind]) + encoded
        self.last = number
        return self

    def int(self, number, n, kind=INT):
        return self.field(number, kind, self.varint(n << 1))

    def long(self, number, n):
        return self.int(number, n, self.LONG)

    def text(self, number, text):
        return self.field(number, self.TEXT, self.varint(len(text)) + text.encode())

    def struct(self, number, inner):
        return self.field(number, self.STRUCT, inner.end())

    def list(self, number, kind, elements):
        return self.field(number, self.LIST, bytes([len(elements) << 4 | kind]) + b"".join(elements))

    def end(self):
        return self.bytes + b"\0"


def page(kind, number, values, body, encoding):
    header = Thrift().int(1, kind).int(2, len(body)).int(3, len(body))
    about = Thrift().int(1, values).int(2, encoding)
    if kind == 0:
        about = about.int(3, 3).int(4, 3)
    return header.struct(number, about).end() + body


def repeated(path, rows):
    """One deletion, again and again: an index and how often it comes."""
    name = b"/t/data/0.parquet"
    file, chunks, elements = b"PAR1", [], [Thrift().text(4, "root").int(5, 2).end()]
    for column, kind, field_id, value in [
        ("file_path", 6, 2147483546, len(name).to_bytes(4, "little") + name),
        ("pos", 2, 2147483545, (7).to_bytes(8, "little")),
    ]:
        element = Thrift().int(1, kind).int(3, 0).text(4, column)
        if kind == 6:
            element = element.int(6, 0)
        elements.append(element.int(9, field_id).end())
        indices = b"\1" + Thrift.varint(rows << 1) + b"\0"
        start = len(file)
        file += page(2, 7, 1, value, 0)
        data = len(file)
        file += page(0, 5, rows, indices, 8)
        about = Thrift().int(1, kind).list(2, 5, [Thrift.varint(16)])
        about = about.list(3, 8, [Thrift.varint(len(column)) + column.encode()]).int(4, 0).long(5, rows)
        about = about.long(6, len(file) - start).long(7, len(file) - start).long(9, data).long(11, start)
        chunks.append(Thrift().long(2, start).struct(3, about).end())
    group = Thrift().list(1, 12, chunks).long(2, len(file) - 4).long(3, rows).end()
    footer = Thrift().int(1, 1).list(2, 12, elements).long(3, rows).list(4, 12, [group]).end()
    with open(path, "wb") as out:
        out.write(file + footer + len(footer).to_bytes(4, "little") + b"PAR1")


repeated(f"{folder}/repeated-deletes.parquet", 2**31 - 1)
