//! Documents that must match the code.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::tree::{files, none, root, rust};

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text between `<!-- NAME -->` and `<!-- /NAME -->` of a document.
fn section<'a>(document: &'a str, name: &str) -> &'a str {
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let start = document.find(&open).unwrap_or_else(|| panic!("no {open}")) + open.len();
    let end = document
        .find(&close)
        .unwrap_or_else(|| panic!("no {close}"));
    document[start..end].trim()
}

#[test]
fn every_crate_is_in_the_code_map() {
    let map = read("ARCHITECTURE.md");
    let complaints: Vec<String> = files("crates", "/Cargo.toml")
        .iter()
        .filter_map(|manifest| manifest.path.split('/').nth(1).map(str::to_owned))
        .filter(|name| !map.contains(&format!("`{name}`")))
        .map(|name| format!("ARCHITECTURE.md: say in the code map what `{name}` owns"))
        .collect();
    none(&complaints);
}

#[test]
fn readme_lists_every_metric_and_no_other() {
    let readme = read("README.md");
    let documented: BTreeSet<String> = section(&readme, "metrics")
        .lines()
        .filter_map(|line| {
            line.strip_prefix("| `")?
                .split(['`', '{'])
                .next()
                .map(str::to_owned)
        })
        .collect();
    let mut registered = BTreeSet::new();
    for file in rust()
        .iter()
        .filter(|file| !file.path.contains("/tests/") && !file.path.starts_with("tests/"))
    {
        for text in file.text.split('"').skip(1).step_by(2) {
            let metric = text.starts_with("snowpack_")
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit());
            if metric && file.text.contains("prometheus") {
                registered.insert(text.to_owned());
            }
        }
    }
    let missing: Vec<String> = registered
        .difference(&documented)
        .map(|name| format!("README.md: metric `{name}` is not in the table"))
        .collect();
    let gone: Vec<String> = documented
        .difference(&registered)
        .map(|name| format!("README.md: metric `{name}` does not exist"))
        .collect();
    none(&[missing, gone].concat());
}

#[test]
fn readme_lists_every_action_s_options_as_they_are() {
    let readme = read("README.md");
    for (name, options, list) in [
        (
            "rewrite-options",
            planner::rewrite::OPTIONS,
            "planner::rewrite::OPTIONS",
        ),
        (
            "expire-options",
            planner::expire::OPTIONS,
            "planner::expire::OPTIONS",
        ),
        (
            "position-delete-options",
            planner::position_deletes::OPTIONS,
            "planner::position_deletes::OPTIONS",
        ),
        (
            "manifest-options",
            planner::manifests::OPTIONS,
            "planner::manifests::OPTIONS",
        ),
        (
            "orphan-options",
            planner::orphans::OPTIONS,
            "planner::orphans::OPTIONS",
        ),
    ] {
        let mut table = String::from("| option | default | rule |\n|---|---|---|\n");
        for option in options {
            let (key, default, rule) = (option.key, option.default, option.rule);
            writeln!(table, "| `{key}` | {default} | {rule} |").expect("a String takes everything");
        }
        assert_eq!(
            section(&readme, name),
            table.trim(),
            "README.md: copy the table from {list}"
        );
    }
}

#[test]
fn readme_lists_the_policy_s_properties_as_they_are() {
    let mut table = String::from("| property | default | allowed | meaning |\n|---|---|---|---|\n");
    for property in policy::PROPERTIES {
        let policy::PropertyDoc {
            name,
            default,
            allowed,
            meaning,
        } = property;
        writeln!(table, "| `{name}` | {default} | {allowed} | {meaning} |")
            .expect("a String takes everything");
    }
    assert_eq!(
        section(&read("README.md"), "policy-properties"),
        table.trim(),
        "README.md: copy the table from policy::PROPERTIES"
    );
}

#[test]
fn readme_explains_every_reason_to_leave_a_table_alone() {
    let readme = read("README.md");
    for reason in policy::Reason::ALL {
        let row = format!("\n| `{}` | ", reason.as_str());
        assert!(
            readme.contains(&row),
            "README.md: explain `{}`",
            reason.as_str()
        );
    }
}

#[test]
fn readme_names_every_setting() {
    let readme = read("README.md");
    let mut complaints = BTreeSet::new();
    for file in rust()
        .iter()
        .filter(|file| !file.path.contains("/tests/") && !file.path.starts_with("tests/"))
    {
        for part in file.text.split("env = \"").skip(1) {
            let name: String = part.chars().take_while(|c| *c != '"').collect();
            if name.starts_with("SNOWPACK_") && !readme.contains(&format!("`{name}`")) {
                complaints.insert(format!(
                    "README.md: setting `{name}` ({}) is not in the table",
                    file.path
                ));
            }
        }
    }
    none(&complaints.into_iter().collect::<Vec<_>>());
}

#[test]
fn documents_name_only_files_that_exist() {
    let mut complaints = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        let text = read(document);
        for name in text.split('`').skip(1).step_by(2) {
            let path = name.split_once("::").map_or(name, |(path, _)| path);
            let is_path = [
                "crates/",
                "migrations/",
                "tests/",
                "helm/",
                "deploy/",
                ".ci/",
            ]
            .iter()
            .any(|p| path.starts_with(p))
                && !path.contains(['*', '<', '{', ' ']);
            if is_path && !root().join(path.trim_end_matches('/')).exists() {
                complaints.push(format!("{document}: `{path}` does not exist"));
            }
        }
    }
    none(&complaints);
}
