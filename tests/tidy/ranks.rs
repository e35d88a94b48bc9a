//! Arrows go down only, and light binaries contain no Arrow (I9).

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

use crate::tree::{none, root};

/// Every crate with its rank (ARCHITECTURE.md, "Code map"). A crate may use lower ranks only.
const RANKS: &[(&str, u8)] = &[
    ("model", 0),
    ("pg", 0),
    ("storage", 0),
    ("runtime", 0),
    ("keda", 0),
    ("policy", 1),
    ("queue", 1),
    ("metadata", 1),
    ("k8s", 1),
    ("catalog", 2),
    ("planner", 2),
    ("maintenance", 2),
    ("survey", 3),
    ("runner", 3),
    ("lake", 4),
    ("steward", 4),
    ("api", 5),
    ("cli", 5),
    ("health-sync", 5),
    ("orchestrator", 5),
    ("scaler", 5),
    ("worker", 5),
];

/// Words are shared by all: `model` may be used by its own rank too.
const WORDS: &str = "model";

/// For tests only: never a normal dependency.
const TESTS_ONLY: &[&str] = &["fuzz", "sim", "testkit", "tests"];

/// The only crates that may see Arrow or Parquet.
const MAY_SEE_ARROW: &[&str] = &["lake", "worker", "cli"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(vec!["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .expect("cargo metadata")
}

#[test]
fn arrows_between_crates_go_down_only() {
    let ranks: BTreeMap<&str, u8> = RANKS.iter().copied().collect();
    let mut complaints = Vec::new();
    for package in metadata().workspace_packages() {
        let name = package.name.as_str();
        if TESTS_ONLY.contains(&name) {
            continue;
        }
        let Some(rank) = ranks.get(name) else {
            complaints.push(format!(
                "crates/{name}: has no rank; add it to tests/tidy/ranks.rs and ARCHITECTURE.md"
            ));
            continue;
        };
        for dependency in package
            .dependencies
            .iter()
            .filter(|d| d.kind == DependencyKind::Normal && d.path.is_some())
        {
            let other = dependency.name.as_str();
            let below = ranks.get(other).is_some_and(|other_rank| other_rank < rank);
            if !below && other != WORDS {
                complaints.push(format!(
                    "crates/{name}/Cargo.toml: {name} (rank {rank}) may not use {other}; move the code down or invert it with a port"
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn i9_light_binaries_contain_no_arrow() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let names: BTreeMap<&PackageId, &str> = metadata
        .packages
        .iter()
        .map(|p| (&p.id, p.name.as_str()))
        .collect();
    let normal: BTreeMap<&PackageId, Vec<&PackageId>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let used = node
                .deps
                .iter()
                .filter(|d| d.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal));
            (&node.id, used.map(|d| &d.pkg).collect())
        })
        .collect();
    let mut complaints = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        if MAY_SEE_ARROW.contains(&name) || TESTS_ONLY.contains(&name) {
            continue;
        }
        let mut seen = BTreeSet::new();
        let mut open = vec![&package.id];
        while let Some(id) = open.pop() {
            if seen.insert(id) {
                open.extend(normal[id].iter());
            }
        }
        for id in seen {
            let used = names[id];
            if used == "parquet" || used == "arrow" || used.starts_with("arrow-") {
                complaints.push(format!(
                    "crates/{name}: reaches {used}; only lake, worker and cli may"
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn manifests_use_workspace_versions_and_lints_only() {
    let mut complaints = Vec::new();
    for manifest in crate::tree::files("crates", "Cargo.toml")
        .into_iter()
        .chain(crate::tree::files("tests", "Cargo.toml"))
    {
        let path = &manifest.path;
        if !manifest.text.contains("[lints]\nworkspace = true") {
            complaints.push(format!("{path}: add `[lints]\\nworkspace = true`"));
        }
        let mut dependencies = false;
        for (number, line) in manifest.text.lines().enumerate() {
            if line.starts_with('[') {
                dependencies = line.contains("dependencies");
            } else if dependencies
                && !line.trim().is_empty()
                && !line.contains("workspace")
                && !line.starts_with('#')
            {
                complaints.push(format!(
                    "{path}:{}: take the version from the workspace: `{line}`",
                    number + 1
                ));
            }
        }
    }
    none(&complaints);
}
