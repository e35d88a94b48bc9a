//! The order of rows: what may be asked, what it is bound to, and which files are then chosen.

use metadata::LiveFile;
use serde_json::json;

use super::super::{Plan, RULES_KEY};
use super::{Case, at, case, data, many, snapshot};

fn sorted(order: &str) -> Case {
    case(many("a", 5, 50))
        .option("strategy", "sort")
        .option("sort-order", order)
}

fn zordered(columns: &str) -> Case {
    case(many("a", 5, 50))
        .option("strategy", "zorder")
        .option("zorder-columns", columns)
}

fn with_columns(mut case: Case) -> Case {
    case.columns = vec![
        json!({"id": 3, "name": "place", "required": false, "type": {"type": "struct", "fields": [
            {"id": 4, "name": "lat", "required": false, "type": "double"},
        ]}}),
        json!({"id": 5, "name": "tags", "required": false, "type":
            {"type": "list", "element-id": 6, "element": "string", "element-required": false}}),
        json!({"id": 7, "name": "counts", "required": false, "type":
            {"type": "map", "key-id": 8, "key": "string", "value-id": 9, "value": "int", "value-required": false}}),
        json!({"id": 10, "name": "shape", "required": false, "type": "geometry"}),
        json!({"id": 11, "name": "price", "required": false, "type": "decimal(20, 2)"}),
        json!({"id": 12, "name": "at", "required": false, "type": "timestamptz"}),
        json!({"id": 13, "name": "odd name", "required": false, "type": "int"}),
    ];
    case
}

fn sorted_by(mut case: Case, fields: serde_json::Value) -> Case {
    case.sorted_by = fields;
    case
}

#[track_caller]
fn ordered(case: &Case, want: &str, order_id: i32) -> Plan {
    let plan = case.plan().expect("a plan");
    let sorting = plan.sorting.as_ref().expect("an order");
    assert_eq!(
        (sorting.to_string().as_str(), sorting.order_id()),
        (want, order_id)
    );
    plan
}

#[test]
fn an_order_is_read_as_people_write_it() {
    for (text, want) in [
        ("n", "n asc nulls first"),
        ("n DESC", "n desc nulls last"),
        (
            "n desc nulls first, region",
            "n desc nulls first, region asc nulls first",
        ),
        ("n asc nulls last", "n asc nulls last"),
        ("n nulls last", "n asc nulls last"),
        ("bucket(16, n) desc", "bucket[16](n) desc nulls last"),
        (
            "truncate(region, 4), n",
            "truncate[4](region) asc nulls first, n asc nulls first",
        ),
        (
            "days(at), `odd name`",
            "day(at) asc nulls first, odd name asc nulls first",
        ),
        ("identity(\"odd name\")", "odd name asc nulls first"),
        ("price", "price asc nulls first"),
    ] {
        ordered(&with_columns(sorted(text)), want, 0);
    }
}

#[test]
fn an_order_that_cannot_be_is_refused_with_the_column_and_its_type() {
    for (text, why) in [
        ("", "character 1: a column expected, found the end"),
        (
            "n up",
            "`asc`, `desc`, `nulls`, a comma or the end expected, found `up`",
        ),
        ("n nulls", "`first` or `last` expected, found the end"),
        ("n, n desc", "names `n` twice"),
        ("bucket(n)", "`,` expected, found `)`"),
        ("bucket(0, n)", "a column expected, found `0`"),
        (
            "zorder(n)",
            "bucket, truncate, year, month, day, hour or identity before `(` expected",
        ),
        (
            "m",
            "unknown column `m`; the columns are region, n, place, tags, counts, shape, price, at, odd name",
        ),
        ("place", "column `place` is a struct, which has no order"),
        (
            "place.lat",
            "column `place.lat` is double inside another column",
        ),
        ("tags", "column `tags` is a list, which has no order"),
        ("counts", "column `counts` is a map, which has no order"),
        ("shape", "column `shape` is geometry, which has no order"),
        (
            "hours(n)",
            "hour is not defined on column `n`, which is int",
        ),
    ] {
        let prefix = format!("option `sort-order` = `{text}`: ");
        let case = with_columns(sorted(text));
        case.refused(&prefix);
        case.refused(why);
    }
    let many: Vec<String> = (1..=33).map(|size| format!("bucket({size}, n)")).collect();
    sorted(&many.join(", ")).refused("has 33 columns, at most 32 are allowed");
}

#[test]
fn the_tables_order_is_taken_and_named_when_it_is_given_too() {
    let fields = || {
        json!([
            {"transform": "identity", "source-id": 2, "direction": "desc", "null-order": "nulls-last"},
            {"transform": "bucket[4]", "source-id": 1, "direction": "asc", "null-order": "nulls-first"},
        ])
    };
    let text = "n desc nulls last, bucket[4](region) asc nulls first";
    let mut of_table = sorted_by(sorted("n"), fields());
    of_table.options.remove("sort-order");
    ordered(&of_table, text, 1);
    ordered(
        &sorted_by(sorted("n desc, bucket(4, region)"), fields()),
        text,
        1,
    );
    // A part of it is another order.
    ordered(
        &sorted_by(sorted("n desc"), fields()),
        "n desc nulls last",
        0,
    );

    let mut none = sorted("n");
    none.options.remove("sort-order");
    none.refused("`strategy` = `sort`: the table has no sort order; one is given as `sort-order`");
    let on = |source: i32, transform: &str| {
        let field = json!([{"transform": transform, "source-id": source, "direction": "asc",
            "null-order": "nulls-first"}]);
        let mut case = with_columns(sorted_by(sorted("n"), field));
        case.options.remove("sort-order");
        case
    };
    on(99, "identity").refused("a column of the table's sort order (field id 99) was dropped");
    on(4, "identity").refused("the table's sort order: column `place.lat` is double inside");
    on(2, "zebra").refused("the table's sort order: zebra is not defined on column `n`");
}

#[test]
fn zorder_needs_columns_that_differ_within_a_partition() {
    let plan = ordered(
        &with_columns(zordered("n, `odd name`, at")),
        "zorder(n, odd name, at)",
        0,
    );
    assert_eq!(
        json!(plan.sorting),
        json!({"strategy": "zorder", "columns": [
            {"field_id": 2, "column": "n"},
            {"field_id": 13, "column": "odd name"},
            {"field_id": 12, "column": "at"},
        ], "var_length_bytes": 8, "value_bytes_max": null})
    );
    ordered(&zordered("region, n").partitioned(), "zorder(n)", 0);
    zordered("region")
        .partitioned()
        .refused("option `zorder-columns` = `region`: all of them are identity partition columns");
    let mut none = zordered("n");
    none.options.remove("zorder-columns");
    none.refused("option `strategy` = `zorder`: needs the columns, as `zorder-columns`");
    for (text, why) in [
        ("n, n", "names `n` twice"),
        ("n desc", "a comma or the end expected, found `desc`"),
        ("tags", "column `tags` is a list, which has no order"),
        (
            "price",
            "column `price` is decimal(20, 2); decimals of more than 18 digits are not z-ordered",
        ),
    ] {
        with_columns(zordered(text)).refused(why);
    }
}

#[test]
fn an_option_of_another_strategy_is_refused() {
    for (key, value, of) in [
        ("sort-order", "n", "sort"),
        ("zorder-columns", "n", "zorder"),
        ("var-length-contribution", "8", "zorder"),
        ("max-output-size", "100", "zorder"),
        ("compression-factor", "0.5", "sort or zorder"),
    ] {
        let why = format!(
            "option `{key}` = `{value}`: belongs to strategy {of}; the strategy is binpack"
        );
        case([]).option(key, value).refused(&why);
        let right = of.split(' ').next_back().expect("a strategy");
        let base = if right == "sort" {
            sorted("n")
        } else {
            zordered("n")
        };
        assert!(base.option(key, value).plan().is_ok(), "{key}");
    }
    sorted("n")
        .option("zorder-columns", "n")
        .refused("belongs to strategy zorder; the strategy is sort");
    zordered("n")
        .option("sort-order", "n")
        .refused("belongs to strategy sort; the strategy is zorder");
    for value in ["0", "-1", "inf", "x"] {
        sorted("n")
            .option("compression-factor", value)
            .refused("must be a number above 0");
    }
    zordered("n")
        .option("var-length-contribution", "1025")
        .refused("a whole number from 1 to 1024");
    sorted("n")
        .option("shuffle-partitions-per-file", "2")
        .refused("has no meaning here");
}

#[test]
fn the_same_files_are_chosen_as_by_binpack_and_a_good_one_stays() {
    let files = || [many("a", 5, 50), vec![data("b", 100)]].concat();
    case(files())
        .option("strategy", "sort")
        .option("sort-order", "n")
        .check(&[
            "a1 a2 a3 a4 a5 -> 3: 5 files below 75 bytes",
            "1 left: 75 to 180 bytes already",
        ]);
    case(files())
        .option("strategy", "sort")
        .option("sort-order", "n")
        .option("rewrite-all", "true")
        .check(&["a1 a2 a3 a4 a5 b -> 4: rewrite-all"]);
    // A file that is as small as it gets is still put in order with others.
    let five = || case(many("a", 5, 74)).option("min-input-files", "5");
    five()
        .option("target-file-size-bytes", "76")
        .option("min-file-size-bytes", "75")
        .check(&["5 left: 5 files below 75 bytes would still be 5 files"]);
    five()
        .option("target-file-size-bytes", "76")
        .option("min-file-size-bytes", "75")
        .option("strategy", "sort")
        .option("sort-order", "n")
        .check(&["a1 a2 a3 a4 a5 -> 5: 5 files below 75 bytes"]);
}

#[test]
fn files_are_counted_by_the_compression_factor() {
    let halved = sorted("n").option("compression-factor", "0.4");
    halved.check(&["a1 a2 a3 a4 a5 -> 1: 5 files below 75 bytes"]);
    let doubled = sorted("n").option("compression-factor", "2");
    doubled.check(&["a1 a2 a3 a4 a5 -> 5: 5 files below 75 bytes"]);
}

/// What the last sort wrote is left alone by the same sort, and looked at by another.
#[test]
fn a_second_sort_by_the_same_order_finds_nothing_to_do() {
    let of = |order: &str, rules: &str| {
        let mut case = sorted(order);
        case.files.data = (1..=5)
            .map(|n| LiveFile {
                snapshot_id: Some(7),
                ..at(data(&format!("a{n}"), 50), 7)
            })
            .collect();
        case.snapshots = vec![snapshot(
            7,
            7,
            None,
            json!({
                "operation": "replace",
                "snowpack.action": "rewrite_data_files",
                "snowpack.job-id": "job-1",
                RULES_KEY: rules,
            }),
        )];
        case
    };
    let rules = sorted("n").plan().expect("a plan").rules;
    assert!(rules.contains(" order=(n asc nulls first) "), "{rules}");
    of("n", &rules).check(&["5 left: as the last rewrite left it"]);
    of("n desc", &rules).check(&["a1 a2 a3 a4 a5 -> 3: 5 files below 75 bytes"]);
}
