//! The chart's variables are the programs' own, both ways: every one a container gets is known to
//! its program and taken, and every one a program reads can be set.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;
use testkit::binary;

use crate::helm::{Shape, containers, name, none, pod, shapes};

/// What programs read and the chart does not set, with the reason; of one program, or of any.
const LEFT_OUT: &[(&str, &str, &str)] = &[
    ("", "SNOWPACK_WORKER_NAME", "the host's name is the pod's"),
    (
        "",
        "SNOWPACK_MAX_JOBS",
        "an idle worker is scaled away, not a tired one",
    ),
    (
        "",
        "SNOWPACK_WAIT_SECONDS",
        "goes with --wait; a CronJob waits for no job",
    ),
    ("", "SNOWPACK_DRY_RUN", "of one run: a trigger sets it"),
    ("", "SNOWPACK_TRIGGERED_BY", "of one run: a trigger sets it"),
    (
        "snowpack-orchestrator",
        "SNOWPACK_DRY_RUN",
        "for one run: whoever triggers it puts it into its Job",
    ),
    ("snowpack-orchestrator", "SNOWPACK_TRIGGERED_BY", "likewise"),
    (
        "snowpack-scaler",
        "SNOWPACK_PG_CONNECTIONS_MAX",
        "it has two for its counts and one to listen on, whoever asks",
    ),
];

/// Passed through: KEDA reads it from the worker's container and shows it to the scaler.
const NOT_ITS_OWN: &[(&str, &str)] = &[("snowpack-worker", "SNOWPACK_SCALER_TOKEN")];

/// What a Secret, or the kubelet, would say.
fn stand_in(variable: &str) -> &'static str {
    match variable {
        "SNOWPACK_DATABASE_URL" | "SNOWPACK_LISTEN_URL" | "SNOWPACK_CATALOG_URI" => {
            "postgres://user@host/database"
        }
        _ => "text",
    }
}

/// What a container's environment is, from its ConfigMap and its own variables.
fn environment(objects: &[Value], container: &Value) -> BTreeMap<String, String> {
    let mut environment = BTreeMap::new();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    for from in container["envFrom"].as_array().into_iter().flatten() {
        let wanted = format!("ConfigMap/{}", text(&from["configMapRef"]["name"]));
        let map = objects.iter().find(|object| name(object) == wanted);
        let map = map.unwrap_or_else(|| panic!("no {wanted}"));
        for (key, value) in map["data"].as_object().expect("data") {
            environment.insert(key.clone(), text(value));
        }
    }
    for variable in container["env"].as_array().into_iter().flatten() {
        let key = text(&variable["name"]);
        let value = match &variable["value"] {
            Value::Null => stand_in(&key).to_owned(),
            value => text(value),
        };
        assert!(!environment.contains_key(&key), "{key} is set twice");
        environment.insert(key, value);
    }
    environment.retain(|key, _| key.starts_with("SNOWPACK_"));
    environment
}

/// Every setting a program prints, in the environment's spelling, with its source.
fn effective(
    program: &str,
    words: &[&str],
    given: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut command = Command::new(binary(program));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SNOWPACK_")) {
        command.env_remove(name);
    }
    let run = command
        .args(words)
        .arg("--print-config")
        .envs(given)
        .output();
    let run = run.unwrap_or_else(|error| panic!("start {program}: {error}"));
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        return Err(said.split("; known are").next().unwrap_or(&said).to_owned());
    }
    let page = String::from_utf8(run.stdout).expect("UTF-8");
    let lines = page.lines().map(|line| {
        let key = line
            .trim_start_matches("# ")
            .split(' ')
            .next()
            .unwrap_or_default();
        let source = line.rsplit("# ").next().unwrap_or_default();
        (
            format!("SNOWPACK_{}", key.to_uppercase()),
            source.to_owned(),
        )
    });
    Ok(lines.collect())
}

/// The program of a container and the words after it.
fn command(container: &Value) -> (String, Vec<String>) {
    let list = |key: &str| container[key].as_array().into_iter().flatten();
    let mut words = list("command").chain(list("args"));
    let program = words.next().and_then(Value::as_str).expect("a program");
    let program = program.strip_prefix("/bin/").expect("the image's folder");
    let words = words.map(|word| word.as_str().expect("a word").to_owned());
    (program.to_owned(), words.collect())
}

#[test]
fn every_program_takes_the_environment_and_the_words_its_container_gives_it() {
    let mut complaints = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for Shape { file, objects } in shapes() {
        for object in &objects {
            for container in pod(object).map(containers).unwrap_or_default() {
                let (program, words) = command(container);
                let given = environment(&objects, container);
                if !seen.insert((program.clone(), words.clone(), given.clone())) {
                    continue;
                }
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                let at = format!("{file}: {}: {program} {words:?}", name(object));
                let taken = match effective(&program, &words, &given) {
                    Ok(taken) => taken,
                    Err(why) => {
                        complaints.insert(format!("{at}: {why}"));
                        continue;
                    }
                };
                // `snowpack` runs in a pod that has the API's settings.
                for variable in given.keys().filter(|_| program != "snowpack") {
                    let own = taken
                        .get(variable)
                        .is_some_and(|source| source == "environment");
                    let passed = NOT_ITS_OWN.contains(&(&program, variable));
                    if !own && !passed {
                        complaints.insert(format!("{at} does not read {variable}"));
                    }
                }
            }
        }
    }
    none(&complaints.into_iter().collect::<Vec<_>>());
}

#[test]
fn every_setting_of_every_program_can_be_set() {
    let mut set: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for Shape { objects, .. } in shapes() {
        for object in &objects {
            for container in pod(object).map(containers).unwrap_or_default() {
                let (program, _) = command(container);
                let given = environment(&objects, container);
                set.entry(program).or_default().extend(given.into_keys());
            }
        }
    }
    let mut complaints = Vec::new();
    let mut used = BTreeSet::new();
    for program in [
        "snowpack-api",
        "snowpack-worker",
        "snowpack-scaler",
        "snowpack-orchestrator",
        "snowpack-health-sync",
    ] {
        let known = effective(program, &[], &BTreeMap::new()).expect("nothing is wrong");
        assert!(3 < known.len(), "{program}: {known:?}");
        for setting in known
            .keys()
            .filter(|setting| !set[program].contains(*setting))
        {
            let left_out = LEFT_OUT
                .iter()
                .find(|(of, left_out, _)| left_out == setting && (of.is_empty() || *of == program));
            if let Some((_, left_out, _)) = left_out {
                used.insert(*left_out);
            } else {
                complaints.push(format!("{program} reads {setting}, and no value sets it"));
            }
        }
    }
    for (_, setting, _) in LEFT_OUT
        .iter()
        .filter(|(_, setting, _)| !used.contains(setting))
    {
        complaints.push(format!("{setting} is set, or gone: take it off LEFT_OUT"));
    }
    none(&complaints);
}
