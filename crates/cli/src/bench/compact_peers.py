"""The peers of `snowpack bench compact`.

    compact_peers.py NAME                prints the version of the library
    compact_peers.py NAME LIST OUTPUT    rewrites the Parquet files that LIST names, one a line,
                                         into one

OUTPUT is compressed with zstd and has row groups of a million rows, or as near to it as the
library can be told. Prints one JSON document; exits 3 when the library is not there. pyspark is
there with Iceberg's runtime, the file that ICEBERG_SPARK_JAR names: it runs Iceberg's procedure,
and what it needs to make a table of the files is not counted.
"""

import importlib
import json
import os
import resource
import shutil
import sys
import time

ROWS = 1 << 20
LEVEL = 1


def duckdb(library, files, output):
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in files)
    library.execute(
        f"copy (select * from read_parquet([{names}])) to '{output}' (format parquet,"
        f" compression zstd, compression_level {LEVEL}, row_group_size {ROWS})"
    )


def polars(library, files, output):
    library.scan_parquet(files).sink_parquet(
        output, compression="zstd", compression_level=LEVEL, row_group_size=ROWS
    )


def pyarrow(library, files, output):
    import pyarrow.dataset
    import pyarrow.parquet

    data = library.dataset.dataset(files, format="parquet")
    with library.parquet.ParquetWriter(
        output, data.schema, compression="zstd", compression_level=LEVEL
    ) as writer:
        held, rows = [], 0
        for batch in data.to_batches():
            held.append(batch)
            rows += batch.num_rows
            while rows >= ROWS:
                table = library.Table.from_batches(held)
                writer.write_table(table.slice(0, ROWS), row_group_size=ROWS)
                held = table.slice(ROWS).to_batches()
                rows -= ROWS
        if rows:
            writer.write_table(library.Table.from_batches(held), row_group_size=ROWS)


def pyspark(library, files, output):
    from pyspark.sql import SparkSession

    folder = output + ".spark"
    inputs = os.path.join(folder, "inputs")
    os.makedirs(inputs)
    for number, name in enumerate(files):
        os.link(name, os.path.join(inputs, f"{number}.parquet"))
    settings = {
        "spark.jars": os.environ["ICEBERG_SPARK_JAR"],
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "4g",
        "spark.sql.catalog.c": "org.apache.iceberg.spark.SparkCatalog",
        "spark.sql.catalog.c.type": "hadoop",
        "spark.sql.catalog.c.warehouse": os.path.join(folder, "warehouse"),
        "spark.sql.session.timeZone": "UTC",
        "spark.ui.enabled": "false",
    }
    builder = SparkSession.builder.master("local[*]")
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    begun, cpu_begun = time.monotonic(), java()["cpu_seconds"]
    columns = ", ".join(
        f"`{field.name}` {field.dataType.simpleString()}"
        for field in session.read.parquet(files[0]).schema
    )
    session.sql(
        f"create table c.db.t ({columns}) using iceberg tblproperties ("
        f"'write.parquet.compression-codec' = 'zstd', 'write.parquet.compression-level' = '{LEVEL}',"
        f" 'write.target-file-size-bytes' = '{1 << 40}')"
    )
    session.sql(f"call c.system.add_files('db.t', '`parquet`.`{inputs}`')").collect()
    apart = {"apart_seconds": time.monotonic() - begun}
    cpu_apart = java()["cpu_seconds"] - cpu_begun
    session.sql("call c.system.rewrite_data_files('db.t')").collect()
    (written,) = session.sql("select file_path from c.db.t.files").collect()
    spent = java()
    session.stop()
    os.link(written.file_path.removeprefix("file:"), output)
    shutil.rmtree(folder)
    return {**spent, **apart, "cpu_seconds": spent["cpu_seconds"] - cpu_apart}


def java():
    """What the Java processes that this one started have taken so far."""
    ticks, peak = 0, 0
    family = {os.getpid()}
    # A child's number is above its parent's unless the numbers began anew.
    for process in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        try:
            with open(f"/proc/{process}/stat") as stat:
                words = stat.read().rpartition(")")[2].split()
            if int(words[1]) not in family:
                continue
            family.add(process)
            with open(f"/proc/{process}/status") as status:
                held = [line for line in status if line.startswith("VmHWM")]
        except OSError:
            continue
        ticks += int(words[11]) + int(words[12])
        peak = max([peak, *(int(line.split()[1]) * 1024 for line in held)])
    return {"cpu_seconds": ticks / os.sysconf("SC_CLK_TCK"), "peak_bytes": peak}


def main():
    # What a library itself shows, a bar of progress for one, is not part of the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name = sys.argv[1]
    try:
        library = importlib.import_module(name)
        if name == "pyspark" and not os.environ.get("ICEBERG_SPARK_JAR"):
            raise ImportError
    except ImportError:
        sys.exit(3)
    own = {}
    if len(sys.argv) == 4:
        with open(sys.argv[2]) as names:
            files = names.read().splitlines()
        rewrite = {"duckdb": duckdb, "polars": polars, "pyarrow": pyarrow, "pyspark": pyspark}[name]
        own = rewrite(library, files, sys.argv[3]) or own
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "version": library.__version__,
                "cpu_seconds": usage.ru_utime + usage.ru_stime + own.pop("cpu_seconds", 0),
                "peak_bytes": max(usage.ru_maxrss * 1024, own.pop("peak_bytes", 0)),
                "apart_seconds": own.pop("apart_seconds", 0),
            }
        ),
        file=answer,
        flush=True,
    )


main()
