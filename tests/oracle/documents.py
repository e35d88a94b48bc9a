"""PyIceberg on metadata documents: makes and evolves tables, and tells what a document says.

Input: {"do": "make", "folder"} or {"do": "view", "documents": [..]}. `make` returns every commit
PyIceberg made: the document before, requirements and updates in REST form, the document after.
"""

import json
import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema, index_by_id
from pyiceberg.table.metadata import TableMetadataUtil
from pyiceberg.table.sorting import SortField, SortOrder
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    TruncateTransform,
    YearTransform,
)
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


def field_type(kind):
    if isinstance(kind, StructType):
        return "struct"
    if isinstance(kind, ListType):
        return "list"
    return "map" if isinstance(kind, MapType) else str(kind)


def schema_view(schema):
    fields = [
        [field.field_id, schema.find_column_name(field.field_id), field.required, field_type(field.field_type), field.doc]
        for field in index_by_id(schema).values()
    ]
    return {"id": schema.schema_id, "identifiers": schema.identifier_field_ids, "fields": sorted(fields)}


def snapshot_view(snapshot):
    return {
        "id": snapshot.snapshot_id,
        "parent": snapshot.parent_snapshot_id,
        "sequence": snapshot.sequence_number or 0,
        "timestamp": snapshot.timestamp_ms,
        "manifest_list": snapshot.manifest_list,
        "summary": json.loads(snapshot.summary.model_dump_json()) if snapshot.summary else {},
        "schema": snapshot.schema_id,
    }


def view(document):
    table = TableMetadataUtil.parse_raw(document)
    current = table.current_snapshot()
    return {
        "format_version": table.format_version,
        "uuid": str(table.table_uuid),
        "location": table.location,
        "last_sequence_number": getattr(table, "last_sequence_number", 0) or 0,
        "last_updated_ms": table.last_updated_ms,
        "last_column_id": table.last_column_id,
        "last_partition_id": table.last_partition_id,
        "current_schema": table.current_schema_id,
        "schemas": [schema_view(schema) for schema in table.schemas],
        "default_spec": table.default_spec_id,
        "specs": [
            [spec.spec_id, [[f.source_id, f.field_id, f.name, str(f.transform)] for f in spec.fields]]
            for spec in table.partition_specs
        ],
        "default_sort_order": table.default_sort_order_id,
        "sort_orders": [
            [
                order.order_id,
                [[f.source_id, str(f.transform), f.direction.value, f.null_order.value] for f in order.fields],
            ]
            for order in table.sort_orders
        ],
        "properties": table.properties,
        "snapshots": [snapshot_view(snapshot) for snapshot in table.snapshots],
        "refs": {
            name: [
                ref.snapshot_ref_type.value,
                ref.snapshot_id,
                ref.min_snapshots_to_keep,
                ref.max_snapshot_age_ms,
                ref.max_ref_age_ms,
            ]
            for name, ref in table.refs.items()
        },
        "current_snapshot": current.snapshot_id if current else None,
        "snapshot_log": [[entry.timestamp_ms, entry.snapshot_id] for entry in table.snapshot_log],
    }


def shapes(catalog, version):
    """Schema, spec, sort order and property evolution of a table without rows."""
    schema = Schema(
        NestedField(1, "id", LongType(), required=True, doc="the key"),
        NestedField(2, "flag", BooleanType()),
        NestedField(3, "small", IntegerType()),
        NestedField(4, "ratio", FloatType()),
        NestedField(5, "exact", DoubleType()),
        NestedField(6, "price", DecimalType(9, 2)),
        NestedField(7, "day", DateType()),
        NestedField(8, "clock", TimeType()),
        NestedField(9, "at", TimestamptzType()),
        NestedField(10, "local", TimestampType()),
        NestedField(11, "name", StringType()),
        NestedField(12, "key", UUIDType()),
        NestedField(13, "hash", FixedType(16)),
        NestedField(14, "raw", BinaryType()),
        NestedField(
            15,
            "tags",
            MapType(
                16, StringType(), 17, ListType(18, StructType(NestedField(19, "größe", IntegerType())), element_required=True)
            ),
        ),
        identifier_field_ids=[1],
    )
    spec = PartitionSpec(
        PartitionField(1, 1000, BucketTransform(16), "id_bucket"),
        PartitionField(11, 1001, TruncateTransform(4), "name_trunc"),
        PartitionField(9, 1002, DayTransform(), "at_day"),
        PartitionField(7, 1003, MonthTransform(), "day_month"),
        PartitionField(2, 1004, IdentityTransform(), "flag"),
    )
    order = SortOrder(SortField(1, BucketTransform(4)), SortField(9, IdentityTransform()))
    table = catalog.create_table(
        f"db.shapes{version}",
        schema,
        partition_spec=spec,
        sort_order=order,
        properties={"format-version": str(version), "owner": "größe"},
    )
    with table.update_schema() as update:
        update.add_column("more", StructType(NestedField(1, "a", StringType())), doc="added")
        update.rename_column("name", "title")
        update.update_column("small", LongType())
        update.delete_column("raw")
        update.move_first("flag")
    with table.update_schema(allow_incompatible_changes=True) as update:
        update.add_column(("more", "b"), DecimalType(10, 3))
        update.update_column("price", DecimalType(12, 2))
        update.add_column("must", StringType(), required=True)
    with table.update_spec() as update:
        update.remove_field("at_day")
        update.add_field("at", HourTransform(), "at_hour")
    with table.update_spec() as update:
        update.add_field("local", YearTransform(), "local_year")
    with table.update_sort_order() as update:
        update.desc("title", IdentityTransform())
    with table.transaction() as change:
        change.set_properties({"a": "1", "write.metadata.previous-versions-max": "3"})
        change.remove_properties("owner")


def rows(catalog, version):
    """Snapshots, refs, statistics and deletes of a table with rows."""
    arrow = pa.table({"region": ["eu", "us"], "n": pa.array([1, 2], pa.int64())})
    table = catalog.create_table(f"db.rows{version}", schema=arrow.schema, properties={"format-version": str(version)})
    with table.update_spec() as update:
        update.add_identity("region")
    table.append(arrow)
    table.append(arrow, snapshot_properties={"who": "me"})
    first = table.snapshots()[0].snapshot_id
    with table.manage_snapshots() as refs:
        refs.create_tag(first, "v1", max_ref_age_ms=5)
        refs.create_branch(first, "side", max_ref_age_ms=10, max_snapshot_age_ms=7, min_snapshots_to_keep=2)
    table.append(arrow, branch="side")
    table.delete("n = 1")
    table.overwrite(arrow)
    with table.manage_snapshots() as refs:
        refs.remove_tag("v1")
    if version == 1:
        with table.transaction() as change:
            change.upgrade_table_version(2)
        table.append(arrow)


def make(task):
    catalog = SqlCatalog("oracle", uri=f"sqlite:///{task['folder']}/catalog.db", warehouse=f"file://{task['folder']}")
    commits = []
    commit_table = catalog.commit_table

    def recorded(table, requirements, updates):
        before = table.metadata_location
        answer = commit_table(table, requirements, updates)
        commits.append(
            {
                "before": open(before.removeprefix("file://")).read(),
                "requirements": [json.loads(item.model_dump_json()) for item in requirements],
                "updates": [json.loads(item.model_dump_json()) for item in updates],
                "after": open(answer.metadata_location.removeprefix("file://")).read(),
            }
        )
        return answer

    catalog.commit_table = recorded
    catalog.create_namespace("db")
    for version in (1, 2):
        shapes(catalog, version)
        rows(catalog, version)
    return commits


task = json.load(sys.stdin)
if task["do"] == "make":
    answer = make(task)
else:
    answer = [view(document) for document in task["documents"]]
json.dump(answer, sys.stdout)
