"""Tables for the command line's tests: PyIceberg makes them and reads them back.

JSON on standard input: {"do": "make" | "read", "database_url", "catalog", "warehouse", "table", ..}
or {"do": "count", "metadata_location"};
JSON on standard output.
"""

import json
import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable


def catalog(task):
    uri = task["database_url"].replace("postgres://", "postgresql+psycopg2://", 1)
    return SqlCatalog(task["catalog"], uri=uri, warehouse=f"file://{task['warehouse']}")


def make(task):
    """`files` appends of `rows` rows each."""
    lake = catalog(task)
    namespace = task["table"].rsplit(".", 1)[0]
    lake.create_namespace_if_not_exists(namespace)
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("amount", pa.float64())])
    properties = {"format-version": "2"} | task["properties"]
    table = lake.create_table(task["table"], schema=schema, properties=properties)
    rows = task["rows"]
    for n in range(task["files"]):
        ids = list(range(n * rows, (n + 1) * rows))
        names = [None if i % 7 == 0 else f"name-{i % 13}" for i in ids]
        table.append(pa.table({"id": ids, "name": names, "amount": [i / 4 for i in ids]}, schema=schema))
    return read(task)


def read(task):
    table = catalog(task).load_table(task["table"])
    current = table.current_snapshot()
    rows = table.scan().to_arrow().sort_by("id").to_pydict()
    return {
        "files": [task.file.file_path for task in table.scan().plan_files()],
        "rows": rows,
        "snapshot_id": current.snapshot_id if current else None,
        "operation": current.summary.operation.value if current else None,
    }


def count(task):
    """Rows of the table with this metadata file, as a reader without a catalog sees them."""
    rows = StaticTable.from_metadata(task["metadata_location"]).scan(selected_fields=("id",)).to_arrow()
    return {"rows": rows.num_rows, "ids": len(rows["id"].unique())}


task = json.load(sys.stdin)
json.dump({"make": make, "read": read, "count": count}[task["do"]](task), sys.stdout)
