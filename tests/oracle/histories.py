"""Random histories: PyIceberg writes and changes tables; three readers say what they hold.

`pyiceberg` and `duckdb` are the programs themselves. `files` takes PyIceberg's manifests and its reading
of one data file, and applies deletes here, as the specification says: it reads what the others cannot.

Tasks on standard input, one JSON object a line: {"do": .., "table", ..}; a line for each on standard
output: {"answer": ..} or {"error": ..}. Numbers with a fraction are counted in quarters ("q3"), dates in
days ("d20000"), so that both sides write them alike.
"""

import datetime
import multiprocessing
import os
import re
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import AlwaysTrue, In
from pyiceberg.io.pyarrow import ArrowScan
from pyiceberg.manifest import DataFileContent
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform, TruncateTransform
from pyiceberg.types import (
    DateType,
    DoubleType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
)

import tasks

SCHEMA = Schema(
    NestedField(1, "id", LongType(), required=False),
    NestedField(2, "k", IntegerType(), required=False),
    NestedField(3, "region", StringType(), required=False),
    NestedField(4, "amount", FloatType(), required=False),
    NestedField(5, "day", DateType(), required=False),
    NestedField(6, "note", StringType(), required=False),
    NestedField(
        7,
        "place",
        StructType(
            NestedField(9, "lat", DoubleType(), required=False),
            NestedField(10, "name", StringType(), required=False),
        ),
        required=False,
    ),
    NestedField(8, "tags", ListType(11, StringType(), element_required=False), required=False),
)

TRANSFORMS = {
    "region": ("region", IdentityTransform()),
    "bucket": ("id", BucketTransform(3)),
    "truncate": ("note", TruncateTransform(1)),
    "day": ("day", DayTransform()),
}

EPOCH = datetime.date(1970, 1, 1)
catalogs = {}
duck = None
apart = None


def catalog(task):
    key = task["uri"]
    if key not in catalogs:
        uri = key.replace("postgres://", "postgresql+psycopg2://", 1)
        catalogs[key] = SqlCatalog(task["catalog"], uri=uri, warehouse=task["warehouse"])
    return catalogs[key]


def load(task):
    return catalog(task).load_table(task["table"])


def canonical(value):
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [canonical(item) for item in value]
    if isinstance(value, float):
        return f"q{int(value * 4)}"
    if isinstance(value, datetime.date):
        return f"d{(value - EPOCH).days}"
    return value


def rows_of(arrow):
    return [canonical(row) for row in arrow.to_pylist()]


def ordered(rows):
    return sorted(rows, key=lambda row: row["id"])


def value_of(value):
    """From the form of [`canonical`]."""
    if isinstance(value, dict):
        return {key: value_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [value_of(item) for item in value]
    if isinstance(value, str) and value[:1] == "q":
        return int(value[1:]) / 4
    if isinstance(value, str) and value[:1] == "d":
        return EPOCH + datetime.timedelta(days=int(value[1:]))
    return value


def arrow_of(table, rows):
    schema = table.schema().as_arrow()
    return pa.Table.from_pylist([value_of(row) for row in rows], schema=schema)


# --- what PyIceberg does to a table


def create(task):
    lake = catalog(task)
    lake.create_namespace_if_not_exists(task["table"].rsplit(".", 1)[0])
    fields = []
    for number, name in enumerate(task["spec"]):
        column, transform = TRANSFORMS[name]
        fields.append(PartitionField(SCHEMA.find_field(column).field_id, 1000 + number, transform, f"by_{name}"))
    properties = {"format-version": str(task["format"]), **task["properties"]}
    lake.create_table(task["table"], schema=SCHEMA, partition_spec=PartitionSpec(*fields), properties=properties)
    return {}


def append(task):
    table = load(task)
    table.append(arrow_of(table, task["rows"]))
    return {}


def overwrite(task):
    table = load(task)
    table.overwrite(arrow_of(table, task["rows"]), overwrite_filter=In("id", task["ids"]))
    return {}


def delete(task):
    load(task).delete(In("id", task["ids"]))
    return {}


TYPES = {"long": LongType(), "double": DoubleType(), "string": StringType()}


def schema(task):
    with load(task).update_schema(allow_incompatible_changes=True) as update:
        if task["how"] == "add":
            update.add_column(task["column"], TYPES[task["type"]])
        elif task["how"] == "rename":
            update.rename_column(task["column"], task["to"])
        elif task["how"] == "drop":
            update.delete_column(task["column"])
        elif task["how"] == "promote":
            update.update_column(task["column"], TYPES[task["type"]])
    return {}


def spec(task):
    """The partition fields become those of `fields`."""
    table = load(task)
    have = {field.name for field in table.spec().fields}
    want = {f"by_{name}": TRANSFORMS[name] for name in task["fields"]}
    with table.update_spec() as update:
        for name in have - set(want):
            update.remove_field(name)
        for name, (column, transform) in want.items():
            if name not in have:
                update.add_field(task.get("names", {}).get(column, column), transform, name)
    return {}


def refs(task):
    with load(task).manage_snapshots() as manage:
        if task["how"] == "branch":
            manage.create_branch(task["snapshot_id"], task["name"])
        elif task["how"] == "tag":
            manage.create_tag(task["snapshot_id"], task["name"])
        elif task["how"] == "drop branch":
            manage.remove_branch(task["name"])
        elif task["how"] == "drop tag":
            manage.remove_tag(task["name"])
        elif task["how"] == "rollback":
            manage.rollback_to_snapshot(task["snapshot_id"])
    return {}


# --- what the readers see

# What was read of files, which never change: by path, and by path and schema.
raw, projected, manifests = {}, {}, {}


def parquet_of(path):
    if path not in raw:
        raw[path] = pq.read_table(path.removeprefix("file://"))
    return raw[path]


def way_to(fields, field_id):
    """The names that lead to a field through structs."""
    for field in fields:
        if int((field.metadata or {}).get(b"PARQUET:field_id", b"-1")) == field_id:
            return [field.name]
        if pa.types.is_struct(field.type):
            inner = [field.type.field(index) for index in range(field.type.num_fields)]
            way = way_to(inner, field_id)
            if way:
                return [field.name, *way]
    return None


def parquet_keys(path, ids):
    """The columns with these field ids as they are stored; one that is missing is null."""
    arrow = parquet_of(path)
    columns = []
    for field_id in ids:
        way = way_to(list(arrow.schema), field_id)
        column = arrow.column(way[0]).to_pylist() if way else [None] * arrow.num_rows
        for name in (way or [])[1:]:
            column = [value and value[name] for value in column]
        columns.append(column)
    return list(zip(*columns))


def table_rows(table, schema, file):
    key = (file.file_path, table.metadata.table_uuid, schema.schema_id)
    if key not in projected:
        scan = ArrowScan(table.metadata, table.io, schema, AlwaysTrue())
        projected[key] = rows_of(scan.to_table([FileScanTask(file, delete_files=set())]))
    return projected[key]


def entries(table, snapshot):
    """The live entries of a snapshot: data, then position deletes, then equality deletes."""
    kinds = {DataFileContent.DATA: [], DataFileContent.POSITION_DELETES: [], DataFileContent.EQUALITY_DELETES: []}
    for manifest in snapshot.manifests(table.io) if snapshot else []:
        key = manifest.manifest_path
        if key not in manifests:
            manifests[key] = manifest.fetch_manifest_entry(table.io, discard_deleted=True)
        for entry in manifests[key]:
            if not os.path.exists(entry.data_file.file_path.removeprefix("file://")):
                raise Exception(f"{entry.data_file.file_path} is live and gone")
            number = entry.sequence_number
            kinds[entry.data_file.content].append((number or 0, manifest.partition_spec_id, entry.data_file))
    return list(kinds.values())


def place(spec_id, file):
    partition = file.partition
    return (spec_id, tuple(partition[index] for index in range(len(partition))))


def visible(table, snapshot):
    """Of every live data file the positions no delete removes."""
    data, positions, equalities = entries(table, snapshot)
    removed = {}
    for number, _, file in positions:
        arrow = parquet_of(file.file_path)
        for path, position in zip(arrow.column(0).to_pylist(), arrow.column(1).to_pylist()):
            at = removed.setdefault(path, {})
            at[position] = max(number, at.get(position, 0))
    specs = table.specs()
    answer = []
    for number, spec_id, file in data:
        at = removed.get(file.file_path, {})
        gone = {position for position, newest in at.items() if newest >= number}
        for delete_number, delete_spec, delete in equalities:
            globally = not specs[delete_spec].fields
            if delete_number <= number or not (globally or place(delete_spec, delete) == place(spec_id, file)):
                continue
            ids = delete.equality_ids
            keys = set(parquet_keys(delete.file_path, ids))
            gone |= {at for at, key in enumerate(parquet_keys(file.file_path, ids)) if key in keys}
        answer.append((file, spec_id, [at for at in range(file.record_count) if at not in gone]))
    return answer


def read(task):
    table = load(task)
    snapshot_id = task.get("snapshot_id")
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id else table.current_snapshot()
    schema = table.schema()
    if snapshot_id and snapshot.schema_id is not None:
        schema = table.schemas()[snapshot.schema_id]
    answer = {"snapshot_id": snapshot.snapshot_id if snapshot else None}
    rows = []
    for file, _, at in visible(table, snapshot):
        all_rows = table_rows(table, schema, file)
        rows.extend(all_rows[position] for position in at)
    answer["files"] = ordered(rows)
    data, positions, equalities = entries(table, snapshot)
    answer["equality_deletes"] = [file.file_path for _, _, file in equalities]
    answer["position_deletes"] = len(positions)
    if "pyiceberg" in task["readers"] and not equalities:
        answer["pyiceberg"] = ordered(rows_of(table.scan(snapshot_id=snapshot_id).to_arrow()))
    # DuckDB dies of equality deletes in a table without data.
    duckdb_reads = not set(answer["equality_deletes"]) & set(task["loose"]) and (data or not equalities)
    if "duckdb" in task["readers"] and duckdb_reads:
        rows = scan_apart(table.metadata_location.removeprefix("file://"), bool(equalities))
        if rows is None:
            answer["refused by duckdb"] = True
        else:
            answer["duckdb"] = ordered(rows_of(rows))
    return answer


def duckdb_scan(path, may_trip):
    """The rows, or None where DuckDB trips over equality deletes, of which it also may die: a null
    partition beside those of another, a key promoted since, deletes of several specs."""
    global duck
    if duck is None:
        duck = duckdb.connect()
        for package, name in [(duckdb_extension_avro, "avro"), (duckdb_extension_iceberg, "iceberg")]:
            for folder, _, files in os.walk(os.path.dirname(package.__file__)):
                if f"{name}.duckdb_extension" in files:
                    duck.execute(f"load '{folder}/{name}.duckdb_extension'")
        duck.execute("set threads = 1")
    try:
        return duck.execute(f"select * from iceberg_scan('{path}')").to_arrow_table()
    except duckdb.InternalException:
        if not may_trip:
            raise
        # Nothing more can be asked of it.
        duck = None
        return None


def scan_apart(path, may_trip):
    """Scans in a process of its own: equality deletes beside few rows can be the end of it."""
    global apart
    if apart is None:
        apart = ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn"))
    try:
        return apart.submit(duckdb_scan, path, may_trip).result()
    except BrokenProcessPool:
        apart = None
        if not may_trip:
            raise
        return None


def locate(task):
    """Where the visible rows lie: for every live data file its path and [position, id] of each."""
    table = load(task)
    answer = []
    for file, spec_id, at in visible(table, table.current_snapshot()):
        ids = parquet_keys(file.file_path, [1])
        rows = [[position, ids[position][0]] for position in at]
        answer.append({"path": file.file_path, "spec_id": spec_id, "rows": rows})
    return answer


def plain(location):
    """The path of a file: Java writes file:/x where others write file:///x."""
    return re.sub("^file:/+", "/", location)


def on_disk(task):
    """Files below the table that nothing reaches. Any live file that is gone is an error."""
    table = load(task)
    reached = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    for snapshot in table.snapshots():
        reached.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            reached.add(manifest.manifest_path)
        for kind in entries(table, snapshot):
            reached |= {file.file_path for _, _, file in kind}
    found = {os.path.join(folder, name) for folder, _, files in os.walk(plain(table.location())) for name in files}
    # Hadoop's file system, which Java writes local files by, keeps a checksum beside each.
    found = {path for path in found if not path.endswith(".crc")}
    reached = {plain(path) for path in reached}
    gone = sorted(path for path in reached if not os.path.exists(path))
    return {"unreached": sorted(f"file://{path}" for path in found - reached), "gone": gone}


DO = [create, append, overwrite, delete, schema, spec, refs, read, locate, on_disk]

if __name__ == "__main__":
    tasks.answer(DO)
