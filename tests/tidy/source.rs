//! How every source file reads: module doc, names, no leftovers, no sleeping tests.

use crate::tree::{none, rust};

/// Nouns that say nothing (style.md section 2). As the last word of a type's name.
const BANNED_NOUNS: &[&str] = &[
    "Manager",
    "Helper",
    "Util",
    "Utils",
    "Common",
    "Info",
    "Processor",
];

#[test]
fn every_file_says_what_it_owns() {
    let complaints: Vec<String> = rust()
        .iter()
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| {
            format!(
                "{}:1: open with a `//!` line that says what the module owns",
                file.path
            )
        })
        .collect();
    none(&complaints);
}

#[test]
fn type_names_say_something() {
    let mut complaints = Vec::new();
    for file in rust() {
        for (number, line) in file.text.lines().enumerate() {
            let mut words = line
                .split_whitespace()
                .skip_while(|word| word.starts_with("pub"));
            if !matches!(words.next(), Some("struct" | "enum" | "trait" | "type")) {
                continue;
            }
            let name: String = words
                .next()
                .unwrap_or("")
                .chars()
                .take_while(|c| c.is_alphanumeric())
                .collect();
            if let Some(noun) = BANNED_NOUNS.iter().find(|noun| name.ends_with(*noun)) {
                complaints.push(format!(
                    "{}:{}: `{name}` ends in {noun}; say what it is",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn nothing_is_left_for_later() {
    // Written so that this file does not match itself.
    let words = ["todo", "unimplemented", "dbg"].map(|word| format!("{word}!("));
    let marks = ["TODO", "FIXME", "XXX"].map(|mark| format!("// {mark}"));
    let ignored = format!("#[{}", "ignore");
    let allowed_dead = ["dead_code", "unused"].map(|lint| format!("allow({lint}"));
    let mut complaints = Vec::new();
    for file in rust() {
        for (number, line) in file.text.lines().enumerate() {
            let bad = words
                .iter()
                .chain(&marks)
                .chain(&allowed_dead)
                .chain([&ignored])
                .find(|w| line.contains(*w));
            if let Some(bad) = bad {
                complaints.push(format!(
                    "{}:{}: `{bad}` is a defect; finish it or remove it",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    none(&complaints);
}

#[test]
fn tests_wait_for_conditions() {
    let nap = format!("sleep({}", "Duration::from_");
    let mut complaints = Vec::new();
    for file in rust()
        .iter()
        .filter(|file| file.path.contains("/tests/") || file.path.starts_with("tests/"))
    {
        for (number, line) in file.text.lines().enumerate() {
            if line.contains(&nap) {
                complaints.push(format!(
                    "{}:{}: wait with testkit::until instead of sleeping",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    none(&complaints);
}

/// I5: the database's clock decides. Only the demo's simulated writer, the command line's work
/// without a database (`records`), testkit, and the times Kubernetes wants written for people
/// (`k8s::clock`) look at a wall clock, and only where arguments are parsed is the environment
/// read.
#[test]
fn i5_nothing_that_decides_reads_a_wall_clock_or_the_environment() {
    let clocks = ["SystemTime::now(", "Timestamp::now(", "Zoned::now("];
    let environment = ["env::var(", "env::var_os(", "env::vars_os("];
    let may_read_clock = [
        "crates/testkit/",
        "crates/cli/src/demo/",
        "crates/cli/src/records.rs",
        "crates/k8s/src/clock.rs",
    ];
    let may_read_environment = ["crates/testkit/", "crates/cli/", "crates/runtime/"];
    let mut complaints = Vec::new();
    for file in rust() {
        if !file.path.contains("/src/") || file.path.starts_with("tests/") {
            continue;
        }
        let within = |places: &[&str]| places.iter().any(|place| file.path.starts_with(place));
        for (number, line) in file.text.lines().enumerate() {
            let at = format!("{}:{}", file.path, number + 1);
            if !within(&may_read_clock) && clocks.iter().any(|clock| line.contains(clock)) {
                complaints.push(format!("{at}: ask the database for the time"));
            }
            let reads = environment.iter().any(|call| line.contains(call));
            if reads && !within(&may_read_environment) {
                complaints.push(format!("{at}: take it as a clap argument instead"));
            }
        }
    }
    none(&complaints);
}
