"""Reads tables of the simulation with PyIceberg and, where they lie on this machine, with DuckDB.

Input: uri, catalog, warehouse, tables, and `properties` of the catalog where wanted (an S3 server).
Output: for each table and reader every row as a line, sorted: id|region|version|quarters|note.

Neither reads equality deletes (PyIceberg refuses, DuckDB may die of them). `files` reads every table: it
takes PyIceberg's manifests and pyarrow's reading of each file, and applies deletes as the specification says.
"""

import json
import os
import sys

import duckdb
import duckdb_extension_avro
import duckdb_extension_iceberg
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import DataFileContent

COLUMNS = ("id", "region", "version", "amount", "note")

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


def line(i, region, version, amount, note):
    return f"{i}|{region}|{version}|{int(amount * 4)}|{'-' if note is None else note}"


def rows(arrow, names):
    return list(zip(*(arrow.column(name).to_pylist() for name in names)))


def lines(arrow):
    return sorted(line(*row) for row in rows(arrow, COLUMNS))


def read(table, file, names):
    with table.io.new_input(file.file_path).open() as opened:
        return rows(pq.read_table(opened, columns=list(names)), names)


def entries(table):
    """Of the current snapshot data, position deletes and equality deletes, each with sequence number and spec."""
    kinds = {content: [] for content in DataFileContent}
    snapshot = table.current_snapshot()
    for manifest in snapshot.manifests(table.io) if snapshot else []:
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
            file = entry.data_file
            kinds[file.content].append((entry.sequence_number or 0, manifest.partition_spec_id, file))
    return kinds


def by_files(table, kinds):
    removed = set()
    for number, _, file in kinds[DataFileContent.POSITION_DELETES]:
        removed |= {(path, at, number) for path, at in read(table, file, ("file_path", "pos"))}
    newest = {}
    for path, at, number in removed:
        newest[path, at] = max(number, newest.get((path, at), 0))
    keys = []
    for number, spec, file in kinds[DataFileContent.EQUALITY_DELETES]:
        assert file.equality_ids == [1], file
        everywhere = not table.specs()[spec].fields
        place = None if everywhere else (spec, tuple(file.partition[i] for i in range(len(file.partition))))
        keys.append((number, place, {key for (key,) in read(table, file, ("id",))}))
    answer = []
    for number, spec, file in kinds[DataFileContent.DATA]:
        place = (spec, tuple(file.partition[i] for i in range(len(file.partition))))
        gone = set().union(*(k for n, where, k in keys if number < n and where in (None, place)))
        for at, row in enumerate(read(table, file, COLUMNS)):
            if row[0] not in gone and newest.get((file.file_path, at), -1) < number:
                answer.append(line(*row))
    return sorted(answer)


answer = {}
for name in asked["tables"]:
    table = catalog.load_table(name)
    kinds = entries(table)
    answer[name] = {"files": by_files(table, kinds)}
    if kinds[DataFileContent.EQUALITY_DELETES]:
        continue
    answer[name]["PyIceberg"] = lines(table.scan().to_arrow())
    if table.metadata_location.startswith("file://"):
        path = table.metadata_location.removeprefix("file://")
        answer[name]["DuckDB"] = lines(duck.execute(f"select * from iceberg_scan('{path}')").to_arrow_table())
print(json.dumps(answer))
