//! Options: every key, every default, every refusal.

use std::collections::BTreeMap;

use super::super::{OPTIONS, Options};
use super::case;

fn parse(key: &str, value: &str) -> Result<Options, String> {
    let asked = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    Options::parse(&asked).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(key: &str, value: &str, why: &str) {
    let want = format!("rewrite_data_files: option `{key}` = `{value}`: {why}");
    assert_eq!(parse(key, value), Err(want));
}

#[test]
fn every_documented_option_is_accepted_and_no_other() {
    for option in OPTIONS {
        let value = match option.key {
            "rewrite-all" | "use-starting-sequence-number" | "remove-dangling-deletes" => "TRUE",
            "partial-progress.enabled" => "false",
            "delete-ratio-threshold" => "0.5",
            "rewrite-job-order" => "bytes-desc",
            "strategy" => "BinPack",
            // Each with the strategy it belongs to: see `sorting`.
            "sort-order"
            | "zorder-columns"
            | "var-length-contribution"
            | "max-output-size"
            | "compression-factor" => continue,
            "where" => "n = 1",
            _ => "1000",
        };
        assert!(
            parse(option.key, value).is_ok(),
            "{}: {:?}",
            option.key,
            parse(option.key, value)
        );
    }
    let error = parse("target-size", "1").expect_err("unknown");
    assert!(
        error.starts_with("rewrite_data_files: unknown option `target-size`; allowed: target-")
    );
    for option in OPTIONS {
        assert!(error.contains(option.key), "{error}");
    }
}

#[test]
fn nothing_asked_means_the_defaults() {
    let defaults = Options::parse(&BTreeMap::new()).expect("defaults");
    assert_eq!(defaults, Options::default());
    let mut empty = case([]);
    empty.options.clear();
    let plan = empty.plan().expect("a plan");
    assert_eq!(
        plan.rules,
        "v1 target=536870912 min=402653184 max=966367641 spec=0 min-input-files=5 all=false \
         group-bytes=107374182400 group-files=off delete-files=off delete-ratio=0.3 where=none"
    );
    assert_eq!(
        (plan.groups_per_commit, plan.failed_commits_max),
        (None, 10)
    );
    assert_eq!((plan.concurrent_groups_max, plan.memory_bytes), (None, 0));
    assert!(plan.use_starting_sequence_number && !plan.remove_dangling_deletes);
}

#[test]
fn values_that_are_none_are_refused_with_what_is_allowed() {
    let largest = i64::MAX;
    for value in [
        "0",
        "-1",
        "1.5",
        "128MB",
        "",
        " 1",
        "+1",
        "9223372036854775808",
    ] {
        let why = format!("must be a whole number from 1 to {largest}");
        refused("target-file-size-bytes", value, &why);
    }
    refused(
        "min-input-files",
        "0",
        "must be a whole number from 1 to 2147483647",
    );
    refused(
        "max-file-group-input-files",
        "0",
        "must be a whole number from 1 to 2147483647",
    );
    refused(
        "output-spec-id",
        "-1",
        "must be a whole number from 0 to 2147483647",
    );
    refused("rewrite-all", "yes", "must be one of true, false");
    for value in ["0", "1.01", "NaN", "x"] {
        refused(
            "delete-ratio-threshold",
            value,
            "must be a number above 0 and at most 1",
        );
    }
    let orders = "must be one of none, bytes-asc, bytes-desc, files-asc, files-desc";
    refused("rewrite-job-order", "random", orders);
    let strategies = "must be one of binpack, sort, zorder";
    refused("strategy", "hilbert", strategies);
    refused(
        "where",
        "n =",
        "character 4: a number, a 'text', true or false (for null write `is null`) expected, found the end",
    );
}

#[test]
fn sizes_that_cannot_be_together_are_refused() {
    let sizes = |min: u64, max: u64| {
        case([])
            .option("min-file-size-bytes", &min.to_string())
            .option("max-file-size-bytes", &max.to_string())
    };
    assert!(sizes(99, 101).plan().is_ok());
    let why = "option `min-file-size-bytes` = `100`: must be below target-file-size-bytes 100";
    sizes(100, 101).refused(why);
    let why = "option `max-file-size-bytes` = `100`: must be above target-file-size-bytes 100";
    sizes(99, 100).refused(why);
    let tiny = parse("target-file-size-bytes", "1").expect_err("too small");
    assert!(tiny.ends_with("must lie between min-file-size-bytes 0 and max-file-size-bytes 1"));
}

#[test]
fn a_target_from_the_table_is_named_as_such() {
    let property = "write.target-file-size-bytes";
    let mut asked = case([])
        .property(property, "1000")
        .option("min-file-size-bytes", "2000");
    asked.options.remove("target-file-size-bytes");
    asked.refused(
        "option `min-file-size-bytes` = `2000`: must be below target-file-size-bytes 1000 (the \
         table's write.target-file-size-bytes)",
    );
    asked.options.clear();
    assert_eq!(asked.plan().expect("a plan").target_file_size_bytes, 1_000);
    asked
        .property(property, "big")
        .refused("table property `write.target-file-size-bytes` = `big`");
}

#[test]
fn columns_and_specs_are_looked_up_in_the_table() {
    case([])
        .option("where", "m = 1")
        .refused("option `where` = `m = 1`: unknown column `m`; the columns are region, n");
    case([])
        .option("output-spec-id", "9")
        .refused("option `output-spec-id` = `9`: the table has no such spec; it has 0, 1");
}
