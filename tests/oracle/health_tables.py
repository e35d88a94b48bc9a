"""What PyIceberg finds of a table's health: one JSON object on standard input ({"metadata",
"target", "min_input_files", "manifest_target"}), the facts on standard output, counted its own way
from inspect.files(), inspect.manifests() and the snapshots."""

import collections
import json
import sys

from pyiceberg.table import StaticTable

task = json.load(sys.stdin)
table = StaticTable.from_metadata(task["metadata"])
files = table.inspect.files().to_pylist()
manifests = table.inspect.manifests().to_pylist()
small = task["target"] * 3 // 4
data = [f for f in files if f["content"] == 0]
deletes = [f for f in files if f["content"] != 0]
current = table.metadata.default_spec_id

# inspect.files() has the partition as a record under all specs, and the spec's id beside it.
groups = collections.defaultdict(list)
for f in data:
    if f["file_size_in_bytes"] < small:
        own = f["spec_id"] == current
        groups[json.dumps(f["partition"], sort_keys=True) if own else "other"].append(f)
enough = [f for group in groups.values() if len(group) >= task["min_input_files"] for f in group]


def total(of, field):
    return sum(f[field] for f in of)


print(
    json.dumps(
        {
            "total_data_files": len(data),
            "total_delete_files": len(deletes),
            "total_size_bytes": total(data, "file_size_in_bytes"),
            "small_file_count": sum(f["file_size_in_bytes"] < small for f in data),
            "compactable_file_count": len(enough),
            "compactable_bytes": total(enough, "file_size_in_bytes"),
            "total_records": total(data, "record_count"),
            "position_delete_records": total((f for f in deletes if f["content"] == 1), "record_count"),
            "equality_delete_records": total((f for f in deletes if f["content"] == 2), "record_count"),
            "delete_bytes": total(deletes, "file_size_in_bytes"),
            "manifest_count": len(manifests),
            "manifest_bytes": total(manifests, "length"),
            "small_manifests": sum(m["length"] < task["manifest_target"] // 2 for m in manifests),
            "old_spec_file_count": sum(f["spec_id"] != current for f in data),
            "snapshot_count": len(table.metadata.snapshots),
        }
    )
)
