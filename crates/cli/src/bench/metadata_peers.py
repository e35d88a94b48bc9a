"""The peer of `snowpack bench metadata`.

    metadata_peers.py                       prints the version of PyIceberg
    metadata_peers.py METADATA MANIFESTS    reads every entry of so many manifests of the current
                                            snapshot of this metadata document

Prints one JSON document; exits 3 when the library is not there.
"""

import json
import os
import resource
import sys
import time


def main():
    # What a library itself shows is not part of the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        import pyiceberg
        from pyiceberg.table import StaticTable
    except ImportError:
        sys.exit(3)
    entries, seconds = 0, 0.0
    if len(sys.argv) == 3:
        table = StaticTable.from_metadata(sys.argv[1])
        manifests = table.current_snapshot().manifests(table.io)
        begun = time.perf_counter()
        for manifest in manifests[: int(sys.argv[2])]:
            entries += len(manifest.fetch_manifest_entry(table.io))
        seconds = time.perf_counter() - begun
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "version": pyiceberg.__version__,
                "entries": entries,
                "seconds": seconds,
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_bytes": usage.ru_maxrss * 1024,
            }
        ),
        file=answer,
        flush=True,
    )


main()
