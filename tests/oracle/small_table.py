"""Makes tables of small files with PyIceberg, or looks at one as PyIceberg sees it.

Input: uri, catalog, warehouse, table, and for `"op": "create"` files and rows_per_file; where wanted
`properties` of the catalog (an S3 server), `more`, tables to make before, of one file each, and `set`,
properties the table gets when it is made.
Output: row count and an order-free fingerprint, live data files, and the
operation of every snapshot in order.
"""

import hashlib
import json
import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

asked = json.load(sys.stdin)
catalog = SqlCatalog(
    asked["catalog"],
    uri=asked["uri"].replace("postgres://", "postgresql+psycopg2://", 1),
    warehouse=asked["warehouse"],
    **asked.get("properties", {}),
)
namespace = asked["table"].rsplit(".", 1)[0]


def rows(start, count):
    ids = range(start, start + count)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "region": pa.array([f"region-{i % 3}" for i in ids], pa.string()),
            "amount": pa.array([i / 4 for i in ids], pa.float64()),
        }
    )


def create(name, files):
    table = catalog.create_table(name, schema=rows(0, 1).schema)
    for number in range(files):
        table.append(rows(number * asked["rows_per_file"], asked["rows_per_file"]))
    return table


if asked["op"] == "create":
    catalog.create_namespace_if_not_exists(namespace)
    for name in asked.get("more", []):
        create(name, 1)
    table = create(asked["table"], asked["files"])
    if asked.get("set"):
        with table.transaction() as change:
            change.set_properties(asked["set"])
else:
    table = catalog.load_table(asked["table"])

found = table.scan().to_arrow().to_pylist()
lines = sorted(json.dumps(row, sort_keys=True) for row in found)
print(
    json.dumps(
        {
            "rows": len(lines),
            "fingerprint": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            "files": len(list(table.scan().plan_files())),
            "operations": [s.summary.operation.value for s in table.metadata.snapshots],
        }
    )
)
