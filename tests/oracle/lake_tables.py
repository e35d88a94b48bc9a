"""Tables for the native engine's tests: PyIceberg writes and changes them, PyIceberg and DuckDB read.

Tasks on standard input, one JSON object a line: {"do": .., "uri", "catalog", "warehouse",
"table", ..}; on standard output a line for each: {"answer": ..} or {"error": ..}. Rows are compared as multisets: every value in a canonical text, sorted, hashed.
"""

import datetime
import decimal
import hashlib
import json
import math
import os
import random
import re
import uuid

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, IdentityTransform
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

import tasks

# DuckDB gives UUIDs as text.
UUID_TEXT = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

PLAIN = Schema(
    NestedField(1, "id", LongType(), required=False),
    NestedField(2, "region", StringType(), required=False),
    NestedField(3, "amount", DoubleType(), required=False),
    NestedField(4, "note", StringType(), required=False),
)

WIDE = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "flag", BooleanType(), required=False),
    NestedField(3, "small", IntegerType(), required=False),
    NestedField(4, "ratio", FloatType(), required=False),
    NestedField(5, "amount", DoubleType(), required=False),
    NestedField(6, "price", DecimalType(9, 2), required=False),
    NestedField(7, "volume", DecimalType(18, 4), required=False),
    NestedField(8, "total", DecimalType(38, 10), required=False),
    NestedField(9, "day", DateType(), required=False),
    NestedField(10, "clock", TimeType(), required=False),
    NestedField(11, "local", TimestampType(), required=False),
    NestedField(12, "instant", TimestamptzType(), required=False),
    NestedField(13, "größe", StringType(), required=False),
    NestedField(14, "key", UUIDType(), required=False),
    NestedField(15, "code", FixedType(4), required=False),
    NestedField(16, "blob", BinaryType(), required=False),
    NestedField(
        17,
        "place",
        StructType(
            NestedField(18, "lat", DoubleType(), required=False),
            NestedField(19, "names", ListType(20, StringType(), element_required=False), required=False),
        ),
        required=False,
    ),
    NestedField(21, "tags", ListType(22, StringType(), element_required=False), required=False),
    NestedField(23, "counts", MapType(24, StringType(), 25, LongType(), value_required=False), required=False),
    NestedField(
        26,
        "points",
        ListType(
            27,
            StructType(
                NestedField(28, "x", IntegerType(), required=False),
                NestedField(29, "y", MapType(30, IntegerType(), 31, StringType(), value_required=False), required=False),
            ),
            element_required=False,
        ),
        required=False,
    ),
)

SPECS = {
    "none": PartitionSpec(),
    "region": PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "region")),
    "day": PartitionSpec(PartitionField(9, 1000, IdentityTransform(), "day")),
}


def catalog(task):
    uri = task["uri"].replace("postgres://", "postgresql+psycopg2://", 1)
    return SqlCatalog(task["catalog"], uri=uri, warehouse=task["warehouse"], **task.get("properties_of_catalog", {}))


def plain_rows(start, count, columns=None, large=False):
    ids = list(range(start, start + count))
    rows = {
        "id": pa.array(ids, pa.int64()),
        "region": pa.array([["eu", "us", "asia/jp", "größe x"][i % 4] for i in ids], pa.string()),
        "amount": pa.array([None if i % 11 == 0 else i / 4 for i in ids], pa.float64()),
        "note": pa.array([None if i % 3 == 0 else f"note {i % 17} ✓ ü" for i in ids], pa.string()),
    }
    if large:
        rows["note"] = pa.array([random.Random(i).randbytes(2_000).hex() for i in ids], pa.string())
    if columns:
        rows = {name: values for name, values in rows.items() if name in columns}
    return pa.table(rows)


def maybe(random_source, value):
    return None if random_source.random() < 0.2 else value


def wide_row(r, i):
    text = lambda: "".join(r.choice("aß✓zé 𝄞") for _ in range(r.randrange(0, 30)))
    moment = datetime.datetime(2026, 1, 1) + datetime.timedelta(days=i % 3, microseconds=r.randrange(10**10))
    number = lambda digits: r.randrange(-(10**digits) + 1, 10**digits)
    with decimal.localcontext(decimal.Context(prec=50)):
        decimals = [
            decimal.Decimal(number(digits)).scaleb(-scale) for digits, scale in [(9, 2), (18, 4), (38, 10)]
        ]
    return {
        "id": i,
        "flag": maybe(r, r.random() < 0.5),
        "small": maybe(r, r.randrange(-(2**31), 2**31)),
        "ratio": maybe(r, r.choice([0.0, -0.0, math.nan, math.inf, 1.5])),
        "amount": maybe(r, r.choice([0.0, -0.0, math.nan, -math.inf, r.random()])),
        "price": maybe(r, decimals[0]),
        "volume": maybe(r, decimals[1]),
        "total": maybe(r, decimals[2]),
        "day": maybe(r, moment.date()),
        "clock": maybe(r, moment.time()),
        "local": moment,
        "instant": maybe(r, moment.replace(tzinfo=datetime.timezone.utc)),
        "größe": maybe(r, text()),
        "key": maybe(r, uuid.UUID(int=r.getrandbits(128)).bytes),
        "code": maybe(r, r.randbytes(4)),
        "blob": maybe(r, r.randbytes(r.randrange(0, 40))),
        "place": maybe(r, {"lat": maybe(r, r.random()), "names": maybe(r, [maybe(r, text()) for _ in range(r.randrange(3))])}),
        "tags": maybe(r, [maybe(r, text()) for _ in range(r.randrange(4))]),
        "counts": maybe(r, [(text() + str(n), maybe(r, n)) for n in range(r.randrange(3))]),
        "points": maybe(
            r,
            [
                maybe(r, {"x": maybe(r, n), "y": maybe(r, [(n, maybe(r, text()))])})
                for n in range(r.randrange(4))
            ],
        ),
    }


def wide_rows(table, start, count, seed):
    r = random.Random(seed * 1_000_003 + start)
    rows = [wide_row(r, i) for i in range(start, start + count)]
    return pa.Table.from_pylist(rows, schema=table.schema().as_arrow())


def canonical(value):
    if value is None:
        return None
    if isinstance(value, dict):
        # DuckDB gives maps and structs as dictionaries, PyArrow maps as lists of pairs.
        return sorted([str(canonical(k)), canonical(v)] for k, v in value.items())
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return sorted([str(canonical(k)), canonical(v)] for k, v in value)
        return [canonical(item) for item in value]
    if isinstance(value, float):
        return "nan" if math.isnan(value) else repr(value)
    if isinstance(value, uuid.UUID):
        return value.bytes.hex()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, datetime.datetime) and value.tzinfo:
        return value.astimezone(datetime.timezone.utc).isoformat()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, str) and UUID_TEXT.fullmatch(value):
        return value.replace("-", "")
    return value


def fingerprint(rows):
    lines = sorted(json.dumps([[name, canonical(row[name])] for name in sorted(row)]) for row in rows)
    return {"rows": len(lines), "hash": hashlib.sha256("\n".join(lines).encode()).hexdigest(), "sample": lines[:3]}


def duck(query):
    con = duckdb.connect()
    for package, name in [(duckdb_extension_avro, "avro"), (duckdb_extension_iceberg, "iceberg")]:
        root = os.path.dirname(package.__file__)
        found = [
            os.path.join(folder, f)
            for folder, _, files in os.walk(root)
            for f in files
            if f == f"{name}.duckdb_extension"
        ]
        con.execute(f"load '{found[0]}'")
    con.execute("set timezone = 'UTC'")
    result = con.execute(query).to_arrow_table()
    return result.to_pylist()


def read(task):
    """The rows as both readers see them; PyIceberg cannot apply every kind of delete."""
    table = catalog(task).load_table(task["table"])
    answer = {"metadata_location": table.metadata_location}
    if "pyiceberg" in task["readers"]:
        answer["pyiceberg"] = fingerprint(table.scan().to_arrow().to_pylist())
    if "duckdb" in task["readers"]:
        path = re.sub("^file:(//)?", "", table.metadata_location)
        answer["duckdb"] = fingerprint(duck(f"select * from iceberg_scan('{path}')"))
    current = table.current_snapshot()
    answer["snapshot_id"] = current.snapshot_id if current else None
    answer["operation"] = current.summary.operation.value if current else None
    return answer


def make(task):
    lake = catalog(task)
    lake.create_namespace_if_not_exists(task["table"].rsplit(".", 1)[0])
    schema = {"plain": PLAIN, "large": PLAIN, "wide": WIDE}[task["schema"]]
    properties = {"format-version": "2", **task.get("properties", {})}
    lake.create_table(task["table"], schema=schema, partition_spec=SPECS[task["spec"]], properties=properties)
    return append(task)


def append(task):
    table = catalog(task).load_table(task["table"])
    for number in range(task["files"]):
        start = task.get("start", 0) + number * task["rows"]
        if task["schema"] == "wide":
            table.append(wide_rows(table, start, task["rows"], task["seed"]))
        else:
            table.append(plain_rows(start, task["rows"], task.get("columns"), task["schema"] == "large"))
    current = table.current_snapshot()
    return {"snapshot_id": current.snapshot_id if current else None}


def delete(task):
    """Copy on write: files that hold a matching row are replaced."""
    table = catalog(task).load_table(task["table"])
    table.delete(task["where"])
    return {}


def evolve(task):
    table = catalog(task).load_table(task["table"])
    if task["how"] == "sort":
        with table.update_sort_order() as update:
            update.asc("id", IdentityTransform())
        return {}
    if task["how"] in ["spec", "region"]:
        with table.update_spec() as update:
            if task["how"] == "spec":
                update.add_field("id", BucketTransform(4), "id_bucket")
            else:
                update.add_identity("region")
        return {}
    with table.update_schema(allow_incompatible_changes=True) as update:
        if task["how"] == "add":
            update.add_column("extra", LongType())
        elif task["how"] == "rename":
            update.rename_column("note", "remark")
        elif task["how"] == "widen":
            update.update_column("small", field_type=LongType())
        elif task["how"] == "drop":
            update.delete_column(task.get("column", "note"))
    return {}


def unpartition(task):
    """Takes a field out of the spec; in format v1 it stays as a void transform."""
    table = catalog(task).load_table(task["table"])
    with table.update_spec() as update:
        update.remove_field(task["field"])
    return {}


def upgrade(task):
    table = catalog(task).load_table(task["table"])
    with table.transaction() as transaction:
        transaction.upgrade_table_version(2)
    return {}


def headers(task):
    """The header and the field ids of the current snapshot's list and of every manifest in it."""
    from pyiceberg.avro.file import AvroFile
    from pyiceberg.manifest import DataFile, ManifestEntry

    table = catalog(task).load_table(task["table"])
    current = table.current_snapshot()
    paths = [current.manifest_list, *(m.manifest_path for m in current.manifests(table.io))]
    answer = []
    for path in paths:
        with AvroFile(table.io.new_input(path), read_types={-1: ManifestEntry, 2: DataFile}) as file:
            meta = dict(file.header.meta)
        schema = json.loads(meta.pop("avro.schema"))
        ids = [field["field-id"] for field in schema["fields"]]
        inner = [f["type"] for f in schema["fields"] if f["name"] == "data_file"]
        ids += [field["field-id"] for record in inner for field in record["fields"]]
        answer.append({"path": path, "meta": meta, "ids": ids})
    return answer


def add_file(task):
    """Adds a file written without field ids, as an imported one."""
    import pyarrow.parquet as pq

    table = catalog(task).load_table(task["table"])
    path = f"{table.location()}/data/imported.parquet"
    pq.write_table(plain_rows(5_000, 10), path.removeprefix("file://"))
    table.add_files([path])
    return {}


def store(task):
    """A file for a wide table as PyArrow writes it with these options, in no table yet: rows of so
    many different contents, in no order."""
    import pyarrow.parquet as pq

    table = catalog(task).load_table(task["table"])
    path = task["path"].removeprefix("file://")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    made = [wide_row(random.Random(task["seed"] * 1_000_003 + i), i) for i in range(task["variety"])]
    if task["variety"] < task["rows"]:
        drawn = random.Random(task["start"]).choices(made, k=task["rows"])
    else:
        drawn = made[: task["rows"]]
    rows = [{**row, "id": task["start"] + n} for n, row in enumerate(drawn)]
    rows = pa.Table.from_pylist(rows, schema=table.schema().as_arrow())
    pq.write_table(rows, path, store_decimal_as_integer=True, **task["options"])
    return {"bytes": os.path.getsize(path)}


def rewrite_file(task):
    """Writes a Parquet file again beside itself: without a column, or with checksums of its pages
    and then the lowest bit of its last id flipped."""
    import pyarrow.parquet as pq

    path, to = (task[key].removeprefix("file://") for key in ["path", "to"])
    rows = pq.ParquetFile(path).read()
    if "without" in task:
        pq.write_table(rows.drop_columns(task["without"]), to)
    else:
        pq.write_table(rows, to, write_page_checksum=True, use_dictionary=False, compression="none")
        chunk = pq.read_metadata(to).row_group(0).column(0)
        with open(to, "r+b") as file:
            file.seek(chunk.data_page_offset + chunk.total_compressed_size - 8)
            low = file.read(1)[0]
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([low ^ 1]))
    return {"bytes": os.path.getsize(to)}


def drop(task):
    lake = catalog(task)
    lake.drop_table(task["table"])
    return {}


def register(task):
    """Makes a table of metadata that is there already."""
    lake = catalog(task)
    lake.create_namespace_if_not_exists(task["table"].rsplit(".", 1)[0])
    lake.register_table(task["table"], task["metadata_location"])
    return {}


def sums(task):
    """Of every snapshot the rows and the sum of their ids."""
    table = catalog(task).load_table(task["table"])
    answer = {}
    for snapshot in table.snapshots():
        ids = table.scan(snapshot_id=snapshot.snapshot_id).to_arrow().column("id").to_pylist()
        answer[str(snapshot.snapshot_id)] = [len(ids), sum(ids) if ids else None]
    return answer


def rollback(task):
    table = catalog(task).load_table(task["table"])
    with table.manage_snapshots() as manage:
        manage.rollback_to_snapshot(task["snapshot_id"])
    return {}


def expire(task):
    catalog(task).load_table(task["table"]).maintenance.expire_snapshots().by_id(task["snapshot_id"]).commit()
    return {}


def files(task):
    """What the manifests say of every live data file."""
    table = catalog(task).load_table(task["table"])
    answer = []
    for manifest in table.current_snapshot().manifests(table.io):
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            file = entry.data_file
            hexed = lambda bounds: {k: v.hex() for k, v in dict(bounds or {}).items()}
            answer.append(
                {
                    "path": file.file_path,
                    "records": file.record_count,
                    "value_counts": dict(file.value_counts or {}),
                    "null_value_counts": dict(file.null_value_counts or {}),
                    "nan_value_counts": dict(file.nan_value_counts or {}),
                    "column_sizes": dict(file.column_sizes or {}),
                    "lower_bounds": hexed(file.lower_bounds),
                    "upper_bounds": hexed(file.upper_bounds),
                    "split_offsets": list(file.split_offsets or []),
                    "sort_order_id": file.sort_order_id,
                }
            )
    return answer


def parquet(task):
    """One Parquet file as PyArrow sees it, and the metrics PyIceberg itself would give it."""
    import pyarrow.parquet as pq
    from pyiceberg.io.pyarrow import (
        compute_statistics_plan,
        data_file_statistics_from_parquet_metadata,
        parquet_path_to_id_mapping,
    )

    table = catalog(task).load_table(task["table"])
    path = task["path"].removeprefix("file://")
    footer = pq.read_metadata(path)
    statistics = data_file_statistics_from_parquet_metadata(
        parquet_metadata=footer,
        stats_columns=compute_statistics_plan(table.schema(), table.metadata.properties),
        parquet_column_mapping=parquet_path_to_id_mapping(table.schema()),
    ).to_serialized_dict()
    group = footer.row_group(0)
    columns = {}
    for index in range(footer.num_columns):
        chunk = group.column(index)
        columns[chunk.path_in_schema] = {
            "compression": chunk.compression,
            "bloom_bytes": getattr(chunk, "bloom_filter_length", None),
        }
    hexed = lambda bounds: {k: v.hex() for k, v in bounds.items()}
    return {
        "rows": footer.num_rows,
        "row_groups": footer.num_row_groups,
        "columns": columns,
        "schema": str(footer.schema),
        "value_counts": statistics["value_counts"],
        "null_value_counts": statistics["null_value_counts"],
        "column_sizes": statistics["column_sizes"],
        "lower_bounds": hexed(statistics["lower_bounds"]),
        "upper_bounds": hexed(statistics["upper_bounds"]),
        "split_offsets": statistics["split_offsets"],
    }


def object_path(task):
    """Where PyIceberg's own provider would put a file."""
    from pyiceberg.table.locations import load_location_provider

    provider = load_location_provider(task["location"], task["properties"])
    return {"path": provider.new_data_location(task["name"])}


def ref(task):
    """Makes or removes a branch or a tag."""
    table = catalog(task).load_table(task["table"])
    with table.manage_snapshots() as manage:
        if task["kind"] == "remove":
            manage.remove_tag(task["name"])
        elif task["kind"] == "tag":
            manage.create_tag(task["snapshot_id"], task["name"], **task.get("keep", {}))
        else:
            manage.create_branch(task["snapshot_id"], task["name"], **task.get("keep", {}))
    return {}


def append_to(task):
    table = catalog(task).load_table(task["table"])
    table.append(plain_rows(task["start"], task["rows"]), branch=task["branch"])
    return {}


def statistics(task):
    """Statistics files with nothing in them: only their paths matter here."""
    from pyiceberg.table.statistics import StatisticsFile

    table = catalog(task).load_table(task["table"])
    for snapshot_id in task["snapshot_ids"]:
        path = f"{table.location()}/metadata/{task['name']}.stats"
        entry = StatisticsFile(
            snapshot_id=snapshot_id,
            statistics_path=path,
            file_size_in_bytes=4,
            file_footer_size_in_bytes=4,
            blob_metadata=[],
        )
        with table.update_statistics() as update:
            update.set_statistics(entry)
    return {}


def reach(task):
    """Every file PyIceberg finds from any snapshot, and the snapshots, newest last."""
    table = catalog(task).load_table(task["table"])
    paths = set(table.inspect.all_files()["file_path"].to_pylist())
    paths |= set(table.inspect.all_manifests()["path"].to_pylist())
    snapshots = sorted(table.metadata.snapshots, key=lambda s: (s.sequence_number or 0, s.timestamp_ms))
    paths |= {snapshot.manifest_list for snapshot in snapshots}
    paths |= {entry.statistics_path for entry in table.metadata.statistics}
    return {
        "paths": sorted(paths),
        "snapshots": [snapshot.snapshot_id for snapshot in snapshots],
        "refs": {name: ref.snapshot_id for name, ref in table.metadata.refs.items()},
        "specs": [spec.spec_id for spec in table.metadata.partition_specs],
        "schemas": [schema.schema_id for schema in table.metadata.schemas],
    }


def travel(task):
    """The rows of every snapshot."""
    table = catalog(task).load_table(task["table"])
    rows = lambda snapshot: fingerprint(table.scan(snapshot_id=snapshot.snapshot_id).to_arrow().to_pylist())
    return {str(snapshot.snapshot_id): rows(snapshot) for snapshot in table.metadata.snapshots}


def hashed(task):
    """The rows of a long table, in the order of `id`, as one hash, and the files they lie in."""
    table = catalog(task).load_table(task["table"])
    rows = table.scan().to_arrow().sort_by("id")
    sink = hashlib.sha256()
    for name in sorted(rows.column_names):
        column = rows.column(name).combine_chunks().cast(table.schema().as_arrow().field(name).type)
        for batch in pa.table({name: column}).combine_chunks().to_batches():
            sink.update(batch.serialize())
    files = table.inspect.files().to_pylist()
    return {
        "rows": len(rows),
        "hash": sink.hexdigest(),
        "files": [[file["file_path"], file["file_size_in_bytes"]] for file in files],
        "metadata_location": table.metadata_location,
    }


DO = [read, make, append, delete, evolve, unpartition, upgrade, headers, add_file, rewrite_file, drop, rollback, expire, files, parquet, object_path]
DO += [register, sums, ref, append_to, statistics, reach, travel, hashed, store]

tasks.answer(DO)
