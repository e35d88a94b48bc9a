"""Reads tables of the simulation with PyIceberg and, where they lie on this machine, with DuckDB.

Input: uri, catalog, warehouse, tables, and `properties` of the catalog where wanted (an S3 server).
Output: for each table and reader every row as a line, sorted: id|region|version|quarters|note.
"""

import json
import os
import sys

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
from pyiceberg.catalog.sql import SqlCatalog

asked = json.load(sys.stdin)
catalog = SqlCatalog(
    asked["catalog"],
    uri=asked["uri"].replace("postgres://", "postgresql+psycopg2://", 1),
    warehouse=asked["warehouse"],
    **asked.get("properties", {}),
)

duck = duckdb.connect()
for package, name in [(duckdb_extension_avro, "avro"), (duckdb_extension_iceberg, "iceberg")]:
    for folder, _, files in os.walk(os.path.dirname(package.__file__)):
        if f"{name}.duckdb_extension" in files:
            duck.execute(f"load '{folder}/{name}.duckdb_extension'")


def lines(arrow):
    columns = [arrow.column(name).to_pylist() for name in ("id", "region", "version", "amount", "note")]
    rows = zip(*columns)
    return sorted(f"{i}|{r}|{v}|{int(a * 4)}|{'-' if n is None else n}" for i, r, v, a, n in rows)


answer = {}
for name in asked["tables"]:
    table = catalog.load_table(name)
    answer[name] = {"PyIceberg": lines(table.scan().to_arrow())}
    if table.metadata_location.startswith("file://"):
        path = table.metadata_location.removeprefix("file://")
        answer[name]["DuckDB"] = lines(duck.execute(f"select * from iceberg_scan('{path}')").to_arrow_table())
print(json.dumps(answer))
