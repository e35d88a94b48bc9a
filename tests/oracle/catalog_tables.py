"""PyIceberg's SQL catalog on the same rows: creates, appends to and looks at a table.

Input: do, uri, catalog, warehouse, table; output: what PyIceberg sees.
"""

import json
import sys

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog

task = json.load(sys.stdin)
uri = task["uri"].replace("postgres://", "postgresql+psycopg2://", 1)
catalog = SqlCatalog(task["catalog"], uri=uri, warehouse=task["warehouse"])
name = task["table"]
rows = pa.table({"id": pa.array([1, 2], pa.int64()), "name": ["a", None]})


def create():
    catalog.create_namespace(name.rsplit(".", 1)[0])
    catalog.create_table(name, schema=rows.schema, properties={"owner": "them"})
    return {}


def append():
    catalog.load_table(name).append(rows)
    return {"rows": catalog.load_table(name).scan().to_arrow().num_rows}


def look():
    table = catalog.load_table(name)
    return {
        "metadata_location": table.metadata_location,
        "uuid": str(table.metadata.table_uuid),
        "location": table.location(),
        "properties": table.properties,
        "columns": table.schema().column_names,
    }


json.dump({"create": create, "append": append, "look": look}[task["do"]](), sys.stdout)
