"""Tables whose schemas and partition specs change, written by PyIceberg; and what the files of a
table look like to PyArrow and PyIceberg.

One task a line on stdin, one answer a line on stdout."""

import datetime
import decimal
import math
import os
import random
import uuid

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions.literals import literal
from pyiceberg.io.pyarrow import PyArrowFileIO, schema_to_pyarrow
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import parse_transform
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

PRIMITIVES = {
    "boolean": BooleanType(),
    "int": IntegerType(),
    "long": LongType(),
    "float": FloatType(),
    "double": DoubleType(),
    "date": DateType(),
    "time": TimeType(),
    "timestamp": TimestampType(),
    "timestamptz": TimestamptzType(),
    "string": StringType(),
    "uuid": UUIDType(),
    "binary": BinaryType(),
}

TEXTS = ["", " ", "a/b", "c=d", "100%", "%2F", "..", "'", '"', "größe", "🙂 🙃", "new\nline", "a+b&c", "tab\t"]
FLOATS = [0.0, -0.0, math.nan, math.inf, -math.inf, 1.5]


def catalog(task):
    uri = task["uri"].replace("postgres://", "postgresql+psycopg2://", 1)
    return SqlCatalog(task["catalog"], uri=uri, warehouse=task["warehouse"])


class Types:
    """Types from their short form: a name, {"struct": [[name, type], ...]}, {"list": type} or
    {"map": [key, value]}; a name that ends in `!` is required."""

    def __init__(self):
        self.last = 0

    def next(self):
        self.last += 1
        return self.last

    def field(self, name, kind):
        return NestedField(self.next(), name.removesuffix("!"), self.type(kind), required=name.endswith("!"))

    def type(self, kind):
        if isinstance(kind, str):
            if kind.startswith("decimal("):
                precision, scale = kind[8:-1].split(",")
                return DecimalType(int(precision), int(scale))
            if kind.startswith("fixed["):
                return FixedType(int(kind[6:-1]))
            return PRIMITIVES[kind]
        if "struct" in kind:
            return StructType(*[self.field(name, inner) for name, inner in kind["struct"]])
        if "list" in kind:
            return ListType(self.next(), self.type(kind["list"]), element_required=False)
        key, value = kind["map"]
        return MapType(self.next(), self.type(key), self.next(), self.type(value), value_required=False)


def create(task):
    lake = catalog(task)
    lake.create_namespace_if_not_exists(task["table"].rsplit(".", 1)[0])
    types = Types()
    schema = Schema(*[types.field(name, kind) for name, kind in task["columns"]])
    spec = PartitionSpec(
        *[
            PartitionField(schema.find_field(source).field_id, 1000 + at, parse_transform(transform), name)
            for at, (source, transform, name) in enumerate(task.get("spec", []))
        ]
    )
    properties = {"format-version": "2", **task.get("properties", {})}
    lake.create_table(task["table"], schema=schema, partition_spec=spec, properties=properties)
    return {}


def value(r, kind, required=False):
    if not required and r.random() < 0.15:
        return None
    match kind:
        case BooleanType():
            return r.random() < 0.5
        case IntegerType():
            return r.choice([0, -1, 2**31 - 1, -(2**31) + 8, r.randrange(100)])
        case LongType():
            return r.choice([0, -1, 2**63 - 1, -(2**63) + 8, r.randrange(100)])
        case FloatType() | DoubleType():
            return r.choice(FLOATS)
        case DecimalType():
            with decimal.localcontext(decimal.Context(prec=50)):
                most = 10**kind.precision - 1
                return decimal.Decimal(r.choice([0, -1, most, -most, 1234])).scaleb(-kind.scale)
        case DateType():
            return datetime.date(1969, 12, 30) + datetime.timedelta(days=r.randrange(60))
        case TimeType():
            return datetime.time(r.randrange(24), r.randrange(60), 0, r.randrange(10**6))
        case TimestampType():
            return datetime.datetime(1969, 12, 31, 22) + datetime.timedelta(minutes=r.randrange(6_000))
        case TimestamptzType():
            start = datetime.datetime(1969, 12, 31, 22, tzinfo=datetime.timezone.utc)
            return start + datetime.timedelta(minutes=r.randrange(6_000))
        case StringType():
            return r.choice(TEXTS)
        case UUIDType():
            return uuid.UUID(int=r.randrange(4)).bytes
        case FixedType():
            return bytes([r.randrange(3)] * len(kind))
        case BinaryType():
            return r.choice([b"", b"\x00", b"\xff" * 20, b"abc"])
        case StructType():
            return {field.name: value(r, field.field_type, field.required) for field in kind.fields}
        case ListType():
            return [value(r, kind.element_type) for _ in range(r.randrange(3))]
        case MapType():
            keys = {str(key): key for key in (value(r, kind.key_type, True) for _ in range(r.randrange(3)))}
            return [(key, value(r, kind.value_type)) for key in keys.values()]


def append(task):
    """Rows of random values of the current schema, `id` counting up."""
    table = catalog(task).load_table(task["table"])
    r = random.Random(task["seed"])
    schema = table.schema()
    for number in range(task["files"]):
        rows = []
        for row in range(task["rows"]):
            made = {field.name: value(r, field.field_type, field.required) for field in schema.fields}
            made["id"] = task["start"] + number * task["rows"] + row
            rows.append({**made, **task.get("values", {})})
        table.append(pa.Table.from_pylist(rows, schema=schema_to_pyarrow(schema, include_field_ids=False)))
    return {}


def evolve(task):
    """Steps on the schema, in one update each."""
    table = catalog(task).load_table(task["table"])
    for how, *what in task["steps"]:
        path = lambda name: tuple(name.split(".")) if "." in name else name
        with table.update_schema(allow_incompatible_changes=True) as update:
            match how:
                case "add":
                    types = Types()
                    types.last = 10_000
                    update.add_column(path(what[0]), types.type(what[1]))
                case "drop":
                    update.delete_column(path(what[0]))
                case "rename":
                    update.rename_column(path(what[0]), what[1])
                case "type":
                    update.update_column(path(what[0]), Types().type(what[1]))
                case "optional":
                    update.update_column(path(what[0]), required=False)
                case "first":
                    update.move_first(path(what[0]))
                case "after":
                    update.move_after(path(what[0]), path(what[1]))
    return {}


def respec(task):
    """Steps on the partition spec, in one update."""
    table = catalog(task).load_table(task["table"])
    with table.update_spec() as update:
        for how, *what in task["steps"]:
            if how == "add":
                update.add_field(what[0], parse_transform(what[1]), what[2])
            else:
                update.remove_field(what[0])
    return {"spec": table.spec().spec_id}


def same(one, other):
    return one == other or (isinstance(one, float) and isinstance(other, float) and math.isnan(one) and math.isnan(other))


def internal(kind, found):
    """A value as Iceberg's transforms take it."""
    if found is None:
        return None
    if isinstance(kind, UUIDType):
        return uuid.UUID(bytes=found) if isinstance(found, bytes) else found
    if isinstance(kind, (FloatType, DoubleType, BooleanType, FixedType, BinaryType)):
        return found
    return literal(found).to(kind).value


def leaf(row, column):
    for name in [column] if column in row else column.split("."):
        row = None if row is None else row[name]
    return row


def misplaced(table, file, rows):
    """Rows that PyIceberg's own transforms place in another partition than the manifest says."""
    spec, schema = table.specs()[file.spec_id], table.schema()
    wrong = []
    for at, field in enumerate(spec.fields):
        if str(field.transform) == "void":
            wrong += [] if file.partition[at] is None else [f"{field.name}: void is {file.partition[at]}"]
            continue
        kind = schema.find_field(field.source_id).field_type
        column = schema.find_column_name(field.source_id)
        transform = field.transform.transform(kind)
        for row in rows:
            want = transform(internal(kind, leaf(row, column)))
            got = file.partition[at]
            if isinstance(got, datetime.date):
                got = (got - datetime.date(1970, 1, 1)).days
            if not same(want, got):
                wrong.append(f"{field.name}: {row['id']} is {want!r}, its file {got!r}")
    return wrong


def outside(table, file, rows):
    """Values that lie outside the bounds the manifest gives."""
    wrong = []
    for field in table.schema().fields:
        kind = field.field_type
        if not kind.is_primitive:
            continue
        # UUIDs are ordered as their bytes.
        values = [internal(kind, row[field.name]) for row in rows]
        values = [found.bytes if isinstance(found, uuid.UUID) else found for found in values]
        values = [found for found in values if found is not None and found == found]
        for bounds, beyond in [(file.lower_bounds, min), (file.upper_bounds, max)]:
            bound = (bounds or {}).get(field.field_id)
            if bound is None or not values:
                continue
            bound = from_bytes(kind, bound)
            values_and_bound = [*values, bound]
            by_bytes = (lambda found: found.encode()) if isinstance(kind, StringType) else None
            worst = beyond(values_and_bound, key=by_bytes)
            if worst != bound:
                wrong.append(f"{field.name}: {worst!r} is beyond {bound!r}")
    return wrong


def files(task):
    """Every live data file: where it is, and what is wrong with it."""
    table = catalog(task).load_table(task["table"])
    fields = {
        table.schema().find_column_name(id): id
        for id, field in table.schema()._lazy_id_to_field.items()
        if field.field_type.is_primitive
    }
    answer = []
    for found in table.scan().plan_files():
        file = found.file
        path = file.file_path.removeprefix("file://")
        footer = pq.ParquetFile(path)
        rows = footer.read().to_pylist()
        leaves = {
            footer.schema.column(at).path.replace("list.element", "element").replace("key_value.", ""): [
                footer.schema.column(at).physical_type,
                str(footer.schema.column(at).logical_type),
            ]
            for at in range(len(footer.schema))
        }
        same_names = [name for name in footer.schema_arrow.names] == [f.name for f in table.schema().fields]
        answer.append(
            {
                "path": file.file_path,
                "spec": file.spec_id,
                "partition": [repr(part) for part in file.partition],
                "records": file.record_count,
                "rows": footer.metadata.num_rows,
                "leaves": leaves,
                "current": same_names and set(leaves) == set(fields),
                "misplaced": misplaced(table, file, rows) if same_names else [],
                "outside": outside(table, file, rows) if same_names else [],
            }
        )
    return answer


def ordered(task):
    """Of each folder, the data files in the order of their names: how many, and whether their rows,
    one file after the other, are as DuckDB orders them by `by`; if not, the first that is not."""
    table = catalog(task).load_table(task["table"])
    folders = {}
    for path in {scanned.file.file_path.removeprefix("file://") for scanned in table.scan().plan_files()}:
        folders.setdefault(os.path.dirname(path), []).append(path)
    con = duckdb.connect()
    con.execute("set timezone = 'UTC'")
    # Sorting makes one zero of both.
    text = lambda value: repr(value + 0.0 if isinstance(value, float) else value)
    keys = lambda query: [[text(v) for v in row.values()] for row in con.execute(query).to_arrow_table().to_pylist()]
    answer = []
    for folder, paths in sorted(folders.items()):
        paths.sort(key=os.path.basename)
        read = lambda files: f"read_parquet({files!r}, file_row_number = true, hive_partitioning = false)"
        stored = [keys(f"select {task['columns']} from {read([path])} order by file_row_number") for path in paths]
        rows = [row for file in stored for row in file]
        want = keys(f"select {task['columns']} from {read(paths)} order by {task['by']}")
        wrong = [[at, one, other] for at, (one, other) in enumerate(zip(rows, want)) if one != other]
        answer.append({"folder": os.path.basename(folder), "files": len(paths), "rows": len(want), "wrong": wrong[:1]})
    return answer


DO = [create, append, evolve, respec, files, ordered]

tasks.answer(DO)
