"""Makes tables of which an old snapshot alone holds a file, or counts the rows of each.

Input: uri, catalog, warehouse, tables, op (`create` or `rows`). Output: rows by table.
"""

import json
import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

asked = json.load(sys.stdin)
catalog = SqlCatalog(
    asked["catalog"],
    uri=asked["uri"].replace("postgres://", "postgresql+psycopg2://", 1),
    warehouse=asked["warehouse"],
)


def rows(start):
    return pa.table({"id": pa.array(range(start, start + 10), pa.int64())})


found = {}
for name in asked["tables"]:
    if asked["op"] == "create":
        catalog.create_namespace_if_not_exists(name.rsplit(".", 1)[0])
        table = catalog.create_table(name, schema=rows(0).schema)
        for start in [0, 10]:
            table.append(rows(start))
        # All of the first file: its snapshots hold it, the current one does not.
        table.delete("id < 10")
    found[name] = len(catalog.load_table(name).scan().to_arrow())
print(json.dumps(found))
