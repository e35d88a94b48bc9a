"""PyIceberg and DuckDB on manifests: writes some for us to read, reads those we wrote.

JSON on standard input: {"do": "write" | "read" | "table" | "scan", ...}; JSON on standard output.
"""

import json
import os
import struct
import sys
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.avro.file import AvroFile
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.conversions import to_bytes
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import (
    MANIFEST_ENTRY_SCHEMAS,
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
    read_manifest_list,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import StaticTable
from pyiceberg.table.metadata import TableMetadataUtil, new_table_metadata
from pyiceberg.table.sorting import SortOrder
from pyiceberg.transforms import parse_transform
from pyiceberg.typedef import Record
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

IO = PyArrowFileIO()

# Name, type and two values of every primitive type.
COLUMNS = [
    ("b", BooleanType(), [True, False]),
    ("i", IntegerType(), [-(2**31), 7]),
    ("l", LongType(), [2**63 - 1, -9]),
    ("f", FloatType(), [1.5, -0.25]),
    # PyIceberg 0.12 reads doubles as floats: values both can hold.
    ("d", DoubleType(), [1024.5, -2.5]),
    ("dec", DecimalType(11, 3), [Decimal("-1.234"), Decimal("12345678.901")]),
    ("big", DecimalType(38, 0), [Decimal(10**38 - 1), Decimal(-(10**38 - 1))]),
    ("date", DateType(), [-1, 20454]),
    ("time", TimeType(), [0, 86_399_999_999]),
    ("ts", TimestampType(), [-1, 1_767_225_600_000_000]),
    ("tz", TimestamptzType(), [1, 1_767_225_600_000_001]),
    ("s", StringType(), ["", "größe ☃"]),
    ("u", UUIDType(), [UUID(int=1), UUID("f79c3e09-677c-4bbd-a479-3f349cb785e7")]),
    ("fix", FixedType(3), [b"abc", b"\x00\xff\x80"]),
    ("bin", BinaryType(), [b"", b"\x00\x01\xfe"]),
]

# Transform, column, two results.
TRANSFORMS = [
    ("bucket[16]", "l", [0, 15]),
    ("truncate[10]", "i", [-10, 20]),
    ("truncate[2]", "s", ["gr", ""]),
    ("year", "ts", [-1, 56]),
    ("month", "date", [-1, 672]),
    ("day", "tz", [-5, 20454]),
    ("hour", "ts", [0, 490896]),
    ("void", "s", [None, None]),
]


def all_types():
    schema = Schema(*[NestedField(n + 1, c[0], c[1], required=False) for n, c in enumerate(COLUMNS)])
    fields, values = [], []
    for name, _, pair in COLUMNS:
        fields.append((name, "identity", schema.find_field(name).field_id))
        values.append(pair)
    for transform, name, pair in TRANSFORMS:
        fields.append((f"{name}-{transform}", transform, schema.find_field(name).field_id))
        values.append(pair)
    spec = PartitionSpec(
        *[
            PartitionField(source_id=source, field_id=1000 + n, transform=parse_transform(t), name=name)
            for n, (name, t, source) in enumerate(fields)
        ],
        spec_id=0,
    )
    rows = [[pair[0] for pair in values], [pair[1] for pair in values], [None] * len(values)]
    return schema, spec, rows


def bound(value, ty):
    return to_bytes(ty, value)


def data_file(path, content, partition, n):
    return DataFile.from_args(
        content=content,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(*partition),
        record_count=100 + n,
        file_size_in_bytes=2**40 + n,
        column_sizes={1: 10, 2: 2**33 + n},
        value_counts={1: 100 + n, 2: 100 + n},
        null_value_counts={1: 0, 2: n},
        nan_value_counts={4: n} if n else None,
        lower_bounds={1: struct.pack("<q", -n), 12: b"a"},
        upper_bounds={1: struct.pack("<q", n), 12: b""},
        key_metadata=b"key" if n == 1 else None,
        split_offsets=[4, 4 + n] if n else None,
        equality_ids=[1, 2] if content == DataFileContent.EQUALITY_DELETES else None,
        sort_order_id=n if n != 2 else None,
    )


class DeletesWriter(ManifestWriterV2):
    def content(self):
        return ManifestContent.DELETES

    @property
    def _meta(self):
        return {**super()._meta, "content": "deletes"}


def write_deletes(folder, codec, snapshot_id):
    schema, spec, rows = all_types()
    deletes = IO.new_output(f"{folder}/deletes.avro")
    with DeletesWriter(spec, schema, deletes, snapshot_id, codec) as deleter:
        for n, content in enumerate([DataFileContent.POSITION_DELETES, DataFileContent.EQUALITY_DELETES]):
            deleter.add(
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED,
                    sequence_number=None,
                    data_file=data_file(f"{folder}/delete-{n}.parquet", content, rows[n], n),
                )
            )
    return deleter.to_manifest_file()


def write(task):
    folder, codec = task["dir"], task["codec"]
    version = task.get("version", 2)
    schema, spec, rows = all_types()
    snapshot_id, sequence = 77, 5
    data = IO.new_output(f"{folder}/data.avro")
    with write_manifest(version, spec, schema, data, snapshot_id, codec) as writer:
        for n, (status, seq, file_seq, snapshot) in enumerate(
            [
                # Format v1 inherits nothing.
                (ManifestEntryStatus.ADDED, None, None, None if version > 1 else snapshot_id),
                (ManifestEntryStatus.EXISTING, 3, 4, 66),
                (ManifestEntryStatus.DELETED, 2, 2, snapshot_id),
                (ManifestEntryStatus.ADDED, 4, None, snapshot_id),
            ]
        ):
            writer.add_entry(
                ManifestEntry.from_args(
                    status=status,
                    snapshot_id=snapshot,
                    sequence_number=seq,
                    file_sequence_number=file_seq,
                    data_file=data_file(f"{folder}/{n}.parquet", DataFileContent.DATA, rows[n % 3], n),
                )
            )
    manifests = [writer.to_manifest_file()]
    if version > 1:
        manifests.append(write_deletes(folder, codec, snapshot_id))
    listed = IO.new_output(f"{folder}/list.avro")
    with write_manifest_list(version, listed, snapshot_id, 66, sequence, codec) as lister:
        lister.add_manifests(manifests)

    metadata = new_table_metadata(schema, spec, SortOrder(order_id=0), folder, {"format-version": str(version)})
    document = json.loads(metadata.model_dump_json())
    # Ids as written above: a new table would number them anew.
    document["schemas"] = [json.loads(schema.model_dump_json())]
    document["partition-specs"] = [json.loads(spec.model_dump_json())]
    document["last-column-id"] = schema.highest_field_id
    document["last-partition-id"] = spec.last_assigned_field_id
    numbers = {}
    if version == 1:
        document["schema"] = document["schemas"][0]
        document["partition-spec"] = document["partition-specs"][0]["fields"]
    else:
        document["last-sequence-number"] = sequence
        numbers = {"sequence-number": sequence}
    document["snapshots"] = [
        {
            "snapshot-id": snapshot_id,
            **numbers,
            "timestamp-ms": document["last-updated-ms"],
            "manifest-list": f"{folder}/list.avro",
            "summary": {"operation": "overwrite"},
            "schema-id": 0,
        }
    ]
    document["current-snapshot-id"] = snapshot_id
    document["refs"] = {"main": {"snapshot-id": snapshot_id, "type": "branch"}}
    with open(f"{folder}/v1.metadata.json", "w") as out:
        json.dump(document, out)
    return read({"metadata": f"{folder}/v1.metadata.json", "list": f"{folder}/list.avro"})


def hexed(value):
    return value.hex() if value is not None else None


def shown(pairs):
    return {str(k): v.hex() if isinstance(v, bytes) else v for k, v in (pairs or {}).items()}


def shown_entry(entry, types):
    file = entry.data_file
    return {
        "status": int(entry.status),
        "snapshot_id": entry.snapshot_id,
        "sequence_number": entry.sequence_number,
        "file_sequence_number": entry.file_sequence_number,
        "content": int(file.content),
        "file_path": file.file_path,
        "file_format": file.file_format.value,
        "spec_id": file.spec_id,
        "partition": [
            None if value is None else to_bytes(ty, value).hex()
            for ty, value in zip(types, [file.partition[n] for n in range(len(types))])
        ],
        "record_count": file.record_count,
        "file_size_in_bytes": file.file_size_in_bytes,
        "column_sizes": shown(file.column_sizes),
        "value_counts": shown(file.value_counts),
        "null_value_counts": shown(file.null_value_counts),
        "nan_value_counts": shown(file.nan_value_counts),
        "lower_bounds": shown(file.lower_bounds),
        "upper_bounds": shown(file.upper_bounds),
        "key_metadata": hexed(file.key_metadata),
        "split_offsets": file.split_offsets,
        "equality_ids": file.equality_ids,
        "sort_order_id": file.sort_order_id,
    }


def referenced(path):
    """What only the fields of format v3 tell."""
    with AvroFile(
        IO.new_input(path),
        MANIFEST_ENTRY_SCHEMAS[3],
        read_types={-1: ManifestEntry, 2: DataFile},
        read_enums={0: ManifestEntryStatus, 101: FileFormat, 134: DataFileContent},
    ) as reader:
        return [entry.data_file._data[17] for entry in reader]


def read(task):
    with open(task["metadata"]) as source:
        table = TableMetadataUtil.parse_raw(source.read())
    manifests = []
    for manifest in read_manifest_list(IO.new_input(task["list"])):
        spec = table.specs()[manifest.partition_spec_id]
        types = [field.field_type for field in spec.partition_type(table.schema()).fields]
        entries = manifest.fetch_manifest_entry(IO, discard_deleted=False)
        shown = [shown_entry(entry, types) for entry in entries]
        for entry, path in zip(shown, referenced(manifest.manifest_path)):
            entry["referenced_data_file"] = path
        manifests.append(
            {
                "manifest_path": manifest.manifest_path,
                "manifest_length": manifest.manifest_length,
                "partition_spec_id": manifest.partition_spec_id,
                "content": int(manifest.content),
                "sequence_number": manifest.sequence_number,
                "min_sequence_number": manifest.min_sequence_number,
                "added_snapshot_id": manifest.added_snapshot_id,
                "files": [
                    manifest.added_files_count,
                    manifest.existing_files_count,
                    manifest.deleted_files_count,
                ],
                "rows": [
                    manifest.added_rows_count,
                    manifest.existing_rows_count,
                    manifest.deleted_rows_count,
                ],
                "partitions": [
                    [p.contains_null, p.contains_nan, hexed(p.lower_bound), hexed(p.upper_bound)]
                    for p in manifest.partitions or []
                ],
                "key_metadata": hexed(manifest.key_metadata),
                "entries": shown,
            }
        )
    return manifests


def table(task):
    """A table of three files in two partitions, and a position delete file nobody tracks yet."""
    folder = task["dir"]
    catalog = SqlCatalog("c", uri=f"sqlite:///{folder}/catalog.db", warehouse=folder)
    catalog.create_namespace("db")
    schema = Schema(
        NestedField(1, "id", LongType(), required=False),
        NestedField(2, "region", StringType(), required=False),
    )
    spec = PartitionSpec(
        PartitionField(source_id=2, field_id=1000, transform=parse_transform("identity"), name="region")
    )
    made = catalog.create_table("db.t", schema, partition_spec=spec)
    made.append(pa.table({"id": [1, 2, 3, 4], "region": ["eu", "eu", "us", "us"]}))
    made.append(pa.table({"id": [5, 6], "region": ["eu", "eu"]}))
    files = sorted(task.file.file_path for task in made.scan().plan_files())
    target = max(made.scan().plan_files(), key=lambda task: task.file.record_count * 10 + len(files)).file.file_path
    return {"metadata": made.metadata_location.removeprefix("file://"), "files": files, "target": target}


def position_deletes(task):
    meta = lambda field_id: {b"PARQUET:field_id": str(field_id).encode()}
    schema = pa.schema(
        [
            pa.field("file_path", pa.string(), nullable=False, metadata=meta(2147483546)),
            pa.field("pos", pa.int64(), nullable=False, metadata=meta(2147483545)),
        ]
    )
    pq.write_table(pa.table({"file_path": [task["target"]], "pos": [task["pos"]]}, schema=schema), task["path"])
    return {"bytes": os.path.getsize(task["path"])}


def scan(task):
    """Rows as both engines see them."""
    import duckdb
    import duckdb_extension_avro
    import duckdb_extension_iceberg

    static = StaticTable.from_metadata(task["metadata"])
    rows = sorted(row["id"] for row in static.scan().to_arrow().to_pylist())
    con = duckdb.connect()
    for package, name in [(duckdb_extension_avro, "avro"), (duckdb_extension_iceberg, "iceberg")]:
        root = os.path.dirname(package.__file__)
        [found] = [
            os.path.join(at, f)
            for at, _, files in os.walk(root)
            for f in files
            if f == f"{name}.duckdb_extension"
        ]
        con.execute(f"LOAD '{found}'")
    query = f"select id from iceberg_scan('{task['metadata']}') order by id"
    return {"pyiceberg": rows, "duckdb": [row[0] for row in con.execute(query).fetchall()]}


DOINGS = {
    "write": write,
    "read": read,
    "table": table,
    "position_deletes": position_deletes,
    "scan": scan,
}

task = json.load(sys.stdin)
print(json.dumps(DOINGS[task["do"]](task)))
