"""Makes tables of which an old snapshot alone holds a file, or looks at each as PyIceberg sees it.

Input: uri, catalog, warehouse, tables, op (`create` or `look`), and where wanted `properties` of the
catalog (an S3 server). Output by table: row count and an order-free fingerprint, live data files,
and the operation of every snapshot in order.
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


def rows(start):
    return pa.table({"id": pa.array(range(start, start + 10), pa.int64())})


def look(table):
    lines = sorted(json.dumps(row) for row in table.scan().to_arrow().to_pylist())
    return {
        "rows": len(lines),
        "fingerprint": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        "files": len(list(table.scan().plan_files())),
        "operations": [s.summary.operation.value for s in table.metadata.snapshots],
    }


found = {}
for name in asked["tables"]:
    if asked["op"] == "create":
        catalog.create_namespace_if_not_exists(name.rsplit(".", 1)[0])
        table = catalog.create_table(name, schema=rows(0).schema)
        for start in [0, 10, 20]:
            table.append(rows(start))
        # All of the first file: its snapshots hold it, the current one does not.
        table.delete("id < 10")
    found[name] = look(catalog.load_table(name))
print(json.dumps(found))
