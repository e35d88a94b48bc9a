//! values.yaml: every value is explained, known to the schema, and does something.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value, json};

use crate::deploy::keep;
use crate::helm::{chart, files, none, read, template, yaml};

const VALUES: &str = "helm/snowpack/values.yaml";

/// One value people may set.
struct Documented {
    path: String,
    meaning: String,
    default: Value,
}

/// Every key of values.yaml with a comment that begins with "-- " right above it.
fn documented() -> Vec<Documented> {
    let text = read(VALUES);
    let values = yaml(&text).remove(0);
    let (mut open, mut found) = (Vec::<(usize, String)>::new(), Vec::new());
    let mut meaning = None;
    for line in text.lines() {
        let words = line.trim_start();
        let indent = line.len() - words.len();
        if let Some(comment) = words.strip_prefix("# -- ") {
            meaning = Some(comment.to_owned());
            continue;
        }
        let key = words.split(':').next().unwrap_or_default();
        if !words.contains(':') || words.starts_with(['#', '-']) {
            continue;
        }
        open.retain(|(at, _)| *at < indent);
        open.push((indent, key.to_owned()));
        if let Some(meaning) = meaning.take() {
            let keys = open.iter().map(|(_, key)| key.as_str());
            let path = keys.collect::<Vec<_>>().join(".");
            let default = at(&values, &path)
                .unwrap_or_else(|| panic!("no {path}"))
                .clone();
            found.push(Documented {
                path,
                meaning,
                default,
            });
        }
    }
    assert!(150 < found.len(), "only {} values were found", found.len());
    found
}

fn at<'a>(values: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .try_fold(values, |value, key| value.get(key))
}

/// The path of every leaf: a text, a number, a list, nothing, or an empty object.
fn leaves(values: &Map<String, Value>, above: &str, found: &mut BTreeSet<String>) {
    for (key, value) in values {
        let path = format!("{above}{key}");
        match value.as_object() {
            Some(inner) if !inner.is_empty() => leaves(inner, &format!("{path}."), found),
            _ => {
                found.insert(path);
            }
        }
    }
}

#[test]
fn every_value_has_one_comment() {
    let documented: Vec<String> = documented().into_iter().map(|value| value.path).collect();
    let within = |leaf: &String| {
        let covers = |path: &String| leaf == path || leaf.starts_with(&format!("{path}."));
        documented.iter().filter(|path| covers(path)).count()
    };
    let mut all = BTreeSet::new();
    let values = yaml(&read(VALUES)).remove(0);
    leaves(values.as_object().unwrap(), "", &mut all);
    let complaints = all.iter().filter(|leaf| within(leaf) != 1);
    let say = |leaf: &String| format!("{VALUES}: {leaf} has {} comments", within(leaf));
    none(&complaints.map(say).collect::<Vec<_>>());
}

/// Every path the schema allows, down to what values.yaml explains.
fn allowed(schema: &Value, above: &str, stop: &BTreeSet<String>, found: &mut BTreeSet<String>) {
    for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{above}{key}");
        if stop.contains(&path) || !inner["properties"].is_object() {
            found.insert(path);
        } else {
            assert_eq!(
                inner["additionalProperties"], false,
                "values.schema.json: {path}"
            );
            allowed(inner, &format!("{path}."), stop, found);
        }
    }
}

/// A schema with every reference to its own definitions replaced by what it means.
fn resolved(schema: &Value, definitions: &Value) -> Value {
    match schema {
        Value::Object(object) => {
            if let Some(name) = object.get("$ref").and_then(Value::as_str) {
                let name = name.trim_start_matches("#/$defs/");
                return resolved(&definitions[name], definitions);
            }
            let inner = object.iter();
            let inner = inner.map(|(key, value)| (key.clone(), resolved(value, definitions)));
            Value::Object(inner.collect())
        }
        Value::Array(list) => list
            .iter()
            .map(|value| resolved(value, definitions))
            .collect(),
        other => other.clone(),
    }
}

#[test]
fn the_schema_allows_exactly_the_values_there_are() {
    let schema: Value = serde_json::from_str(&read("helm/snowpack/values.schema.json")).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    let schema = resolved(&schema, &schema["$defs"]);
    let values: BTreeSet<String> = documented().into_iter().map(|value| value.path).collect();
    let mut known = BTreeSet::new();
    allowed(&schema, "", &values, &mut known);
    // What Helm shares with subcharts.
    assert!(known.remove("global"));
    let missing = values
        .difference(&known)
        .map(|path| format!("{path}: not in the schema"));
    let gone = known
        .difference(&values)
        .map(|path| format!("{path}: not in values.yaml"));
    none(&missing.chain(gone).collect::<Vec<_>>());
}

#[test]
fn every_value_a_template_names_is_there() {
    let values = yaml(&read(VALUES)).remove(0);
    let mut open = vec![chart().join("templates")];
    let (mut complaints, mut seen) = (BTreeSet::new(), 0);
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for named in text.split("Values.").skip(1) {
            let end = named.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.');
            let named = named[..end.unwrap_or(named.len())].trim_end_matches('.');
            seen += 1;
            if at(&values, named).is_none() {
                complaints.insert(format!("{}: {named} is not in values.yaml", path.display()));
            }
        }
    }
    assert!(200 < seen, "only {seen} were seen");
    none(&complaints.into_iter().collect::<Vec<_>>());
}

#[test]
fn where_pods_run_is_said_with_the_same_seven_values_for_every_component() {
    let values = yaml(&read(VALUES)).remove(0);
    for component in ["api", "worker", "orchestrator", "healthSync", "migrate"] {
        for key in [
            "nodeSelector",
            "tolerations",
            "affinity",
            "topologySpreadConstraints",
            "priorityClassName",
            "podAnnotations",
            "podLabels",
        ] {
            assert!(values[component].get(key).is_some(), "{component}.{key}");
        }
    }
}

/// Another value of the same kind.
fn another(value: &Value) -> Value {
    match value {
        Value::Null => json!(7),
        Value::Bool(on) => json!(!on),
        Value::Number(number) => json!(number.as_f64().unwrap_or_default() + 1.0),
        Value::String(text) if text.ends_with("Gi") || text.ends_with("Mi") => json!("3Gi"),
        Value::String(text) => json!(format!("{text}x")),
        Value::Array(list) if list.iter().all(Value::is_number) => json!([7]),
        Value::Array(_) => json!([{"name": "x", "serves": ["default"]}]),
        Value::Object(_) => json!({"x": "y"}),
    }
}

/// No value is dead: changed, each changes what at least one of the shapes renders.
#[test]
fn every_value_does_something() {
    let mut values: Vec<(String, Value)> = documented()
        .into_iter()
        .filter(|value| value.path != "worker.pools")
        .map(|value| (value.path, value.default))
        .collect();
    let pools = at(&yaml(&read(VALUES))[0], "worker.pools").unwrap()[0].clone();
    let of_a_pool = pools.as_object().unwrap().iter();
    values.extend(of_a_pool.map(|(key, value)| (format!("worker.pools[0].{key}"), value.clone())));
    // The shape with everything in it first: most are settled there.
    let mut files = files();
    files.sort_by_key(|file| !file.contains("everything"));
    let before: BTreeMap<&String, String> = files
        .iter()
        .map(|file| (file, template("snowpack", &["--values", file]).unwrap()))
        .collect();
    let changes = |path: &str, value: &Value| {
        files.iter().any(|file| {
            let given = at(&yaml(&read(&format!("helm/snowpack/{file}")))[0], path).cloned();
            let set = format!("{path}={}", another(given.as_ref().unwrap_or(value)));
            let words = [
                "--values",
                file,
                "--skip-schema-validation",
                "--set-json",
                &set,
            ];
            // What a template refuses it has read.
            template("snowpack", &words).map_or(true, |after| after != before[file])
        })
    };
    let (next, dead) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((path, value)) = values.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !changes(path, value) {
                        dead.lock()
                            .unwrap()
                            .push(format!("{path}: no template uses it"));
                    }
                }
            });
        }
    });
    none(&dead.into_inner().unwrap());
}

/// The values people may have kept from the chart's releases still render.
#[test]
fn the_values_of_every_release_render() {
    let folder = chart().join("../../tests/chart/released");
    let mut seen = 0;
    for entry in folder.read_dir().expect("read tests/chart/released") {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let file = path.to_str().unwrap();
        template("snowpack", &["--values", file]).unwrap_or_else(|error| panic!("{file}: {error}"));
        seen += 1;
    }
    assert!(0 < seen);
}

#[test]
fn the_charts_readme_lists_the_values_as_they_are() {
    let mut table = String::from("| value | default | meaning |\n|---|---|---|\n");
    for Documented {
        path,
        meaning,
        default,
    } in documented()
    {
        let default = match &default {
            Value::String(text) if text.is_empty() => String::new(),
            Value::Null => String::new(),
            Value::String(text) => format!("`{text}`"),
            Value::Array(list) if list.is_empty() => String::new(),
            Value::Object(object) if object.is_empty() => String::new(),
            other => format!("`{other}`"),
        };
        writeln!(table, "| `{path}` | {default} | {meaning} |").unwrap();
    }
    let path = "helm/snowpack/README.md";
    let readme = read(path);
    let (open, close) = ("<!-- values -->\n", "<!-- /values -->");
    let start = readme.find(open).expect("<!-- values -->") + open.len();
    let end = readme.find(close).expect("<!-- /values -->");
    keep(
        path,
        &format!("{}{table}{}", &readme[..start], &readme[end..]),
    );
}
