"""PyIceberg's partition values and paths.

Input: {"cases": [[type, transform, value], ..]} with values in JSON single-value form; output: for
each the partition value as single-value bytes in hex (null for null) and the path PyIceberg makes.
"""

import json
import sys

from pyiceberg.conversions import from_json, to_bytes
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import parse_transform
from pyiceberg.typedef import Record
from pyiceberg.types import DateType, NestedField, TimestampType, TimestamptzType, TimeType
from pyiceberg.utils.datetime import (
    date_str_to_days,
    time_str_to_micros,
    timestamp_to_micros,
    timestamptz_to_micros,
)

INTERNAL = {
    DateType: date_str_to_days,
    TimeType: time_str_to_micros,
    TimestampType: timestamp_to_micros,
    TimestamptzType: timestamptz_to_micros,
}


def answer(kind, name, value):
    field = NestedField.model_validate({"id": 1, "name": "c", "type": kind, "required": False})
    transform = parse_transform(name)
    read = INTERNAL.get(type(field.field_type), lambda text: from_json(field.field_type, text))
    result = transform.transform(field.field_type)(read(value))
    spec = PartitionSpec(PartitionField(1, 1000, transform, "p"))
    path = spec.partition_to_path(Record(result), Schema(field))
    of = transform.result_type(field.field_type)
    return [None if result is None else to_bytes(of, result).hex(), path]


json.dump([answer(*case) for case in json.load(sys.stdin)["cases"]], sys.stdout)
