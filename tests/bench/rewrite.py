"""Compares rewrite_data_files with DuckDB's COPY of the same files, in the same run.

Usage (needs a Postgres; the oracles' Python has what is imported here):
    cargo build --release
    target/oracles/bin/python tests/bench/rewrite.py postgres://... [--files 1000] [--rows 10000]

Prints one line per program: seconds, CPU seconds, peak memory, output bytes, and the ratio.
"""

import argparse
import glob
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid

import numpy as np
import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import _dataframe_to_data_files


def batch(rows, seed):
    """13 columns: low, medium and high cardinality, unique, free text with nulls, numbers."""
    r = np.random.default_rng(seed)
    ids = np.arange(seed * rows, (seed + 1) * rows, dtype=np.int64)
    words = np.array(["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath"])
    text = [
        None if skip else " ".join(words[pick])
        for skip, pick in zip(r.random(rows) < 0.1, r.integers(0, 8, (rows, 8)))
    ]
    return pa.table(
        {
            "id": ids,
            "customer": r.integers(0, 1_000_000, rows),
            "at": pa.array(ids * 1_000 + 1_700_000_000_000_000, pa.timestamp("us", "UTC")),
            "day": pa.array((ids // 500_000 + 19_000).astype(np.int32), pa.date32()),
            "country": words[r.integers(0, 8, rows)],
            "city": np.char.add("city-", r.integers(0, 5_000, rows).astype(str)),
            "device": np.char.add("device-", r.integers(0, 500_000, rows).astype(str)),
            "key": [f"{a:016x}{b:016x}" for a, b in r.integers(0, 2**63, (rows, 2))],
            "note": pa.array(text, pa.string()),
            "price": r.random(rows) * 1_000,
            "score": r.random(rows).astype(np.float32),
            "count": r.integers(0, 1_000, rows).astype(np.int32),
            "flag": r.random(rows) < 0.5,
        }
    )


def make_table(database, warehouse, files, rows):
    uri = database.replace("postgres://", "postgresql+psycopg2://")
    catalog = SqlCatalog("bench", uri=uri, warehouse=f"file://{warehouse}")
    namespace = f"bench_{uuid.uuid4().hex[:8]}"
    catalog.create_namespace(namespace)
    table = catalog.create_table(f"{namespace}.events", batch(1, 0).schema)
    with table.transaction() as tx, tx.update_snapshot().fast_append() as append:
        for seed in range(files):
            for file in _dataframe_to_data_files(tx.table_metadata, batch(rows, seed), table.io):
                append.append_data_file(file)
    return f"{namespace}.events", f"{warehouse}/{namespace}/events/data"


def timed(name, command, **keywords):
    started = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, **keywords)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - started
    if status != 0:
        sys.exit(f"{name} failed: {output.decode()}")
    print(
        f"{name:8} {seconds:6.1f} s  {usage.ru_utime + usage.ru_stime:6.1f} CPU s"
        f"  {usage.ru_maxrss / 1024:7.0f} MiB peak",
        end="",
    )
    return seconds, output


COPY = """
import duckdb, sys
duckdb.execute(f"copy (select * from read_parquet('{sys.argv[1]}/*.parquet')) to '{sys.argv[2]}'"
    " (format parquet, compression zstd, compression_level 1, row_group_size 1048576)")
"""


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("database")
    arguments.add_argument("--files", type=int, default=1_000)
    arguments.add_argument("--rows", type=int, default=10_000)
    arguments.add_argument("--snowpack", default="target/release/snowpack")
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as warehouse:
        table, data = make_table(asked.database, warehouse, asked.files, asked.rows)
        inputs = glob.glob(f"{data}/*.parquet")
        print(f"{len(inputs)} files, {sum(map(os.path.getsize, inputs)):,} bytes, {asked.files * asked.rows:,} rows")
        copy = f"{warehouse}/copy.parquet"
        peer, _ = timed("duckdb", [sys.executable, "-c", COPY, data, copy])
        print(f"  {os.path.getsize(copy):,} bytes out")
        environment = os.environ | {
            "SNOWPACK_DATABASE_URL": asked.database,
            "SNOWPACK_CATALOG_NAME": "bench",
            "SNOWPACK_WAREHOUSE": f"file://{warehouse}",
        }
        subprocess.run([asked.snowpack, "migrate"], env=environment, check=True, stdout=subprocess.DEVNULL)
        command = [asked.snowpack, "maintain", table, "rewrite_data_files", "--output", "json"]
        ours, report = timed("snowpack", command, env=environment, stderr=subprocess.DEVNULL)
        print(f"  {json.loads(report)['actions'][0]['result']['bytes_out']:,} bytes out")
        print(f"ratio    {ours / peer:.2f} of duckdb's time")


main()
