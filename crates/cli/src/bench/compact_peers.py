"""The peers of `snowpack bench compact`.

    compact_peers.py NAME                prints the version of the library
    compact_peers.py NAME LIST OUTPUT    rewrites the Parquet files that LIST names, one a line,
                                         into one

OUTPUT is compressed with zstd and has row groups of a million rows. Prints one JSON document;
exits 3 when the library is not there.
"""

import importlib
import json
import os
import resource
import sys

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


def main():
    # What a library itself shows, a bar of progress for one, is not part of the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name = sys.argv[1]
    try:
        library = importlib.import_module(name)
    except ImportError:
        sys.exit(3)
    if len(sys.argv) == 4:
        with open(sys.argv[2]) as names:
            files = names.read().splitlines()
        {"duckdb": duckdb, "polars": polars, "pyarrow": pyarrow}[name](library, files, sys.argv[3])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "version": library.__version__,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_bytes": usage.ru_maxrss * 1024,
            }
        ),
        file=answer,
        flush=True,
    )


main()
