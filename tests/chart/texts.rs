//! A name that looks like a number, or like nothing, stays a text: YAML would take it for one.

use serde_json::{Value, json};

use crate::helm::{none, template, yaml};

/// What a name may be, and YAML reads otherwise.
const ODD: [&str; 4] = ["4711", "1e3", "0", "null"];
/// What it is compared with.
const PLAIN: &str = "text";

/// Everything that people name, called `word`; what begins with a letter, `letters`.
fn values(word: &str, letters: &str, more: &Value) -> String {
    let secret = |key: &str| json!({"existingSecret": word, key: word});
    let account = json!({"serviceAccount": {"name": word}, "priorityClassName": word});
    let scheduled = json!({
        "timeZone": letters, "serviceAccount": {"name": word}, "priorityClassName": word,
    });
    let mut values = json!({
        "nameOverride": word,
        "fullnameOverride": letters,
        "image": {"repository": word, "tag": word},
        "imagePullSecrets": [{"name": word}],
        "commonLabels": {"team": word},
        "database": {"existingSecret": word, "urlKey": word, "listenUrlKey": word},
        "catalog": {
            "name": word,
            "existingSecret": word,
            "uriKey": word,
            "credentialKey": word,
            "scope": word,
            "warehouse": word,
        },
        "storage": {
            "s3": {
                "region": word,
                "existingSecret": word,
                "accessKeyIdKey": word,
                "secretAccessKeyKey": word,
                "sessionTokenKey": word,
            },
            "volume": {"existingClaim": word},
        },
        "api": {
            "auth": {"mode": "tokens", "tokens": secret("key")},
            "tls": secret("caKey"),
            "service": {"annotations": {"a": word}},
            "podAnnotations": {"a": word},
            "podLabels": {"a": word},
            "nodeSelector": {"a": word},
        },
        "scaler": {"token": secret("key"), "tls": secret("caKey")},
        "keda": {"postgresql": secret("key")},
        "worker": {"pools": [{"name": letters, "serves": ["default", word]}]},
        "orchestrator": scheduled,
        "healthSync": scheduled,
        "migrate": account,
        "helmTest": {"token": secret("key")},
    });
    for part in ["api", "worker"] {
        for (key, value) in account.as_object().expect("an object") {
            values[part][key] = value.clone();
        }
    }
    for (key, value) in more.as_object().expect("an object") {
        for (key_below, value) in value.as_object().expect("an object") {
            values[key][key_below] = value.clone();
        }
    }
    values.to_string()
}

/// What comes of the release `word` in a namespace of that name.
fn rendered(word: &str, more: &Value) -> Vec<Value> {
    // "Etc/0" is no time zone, and no object's name may begin with a number.
    let letters = if word == PLAIN { PLAIN } else { "null" };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("values.json");
    std::fs::write(&file, values(word, letters, more)).expect("write the values");
    let words = [
        "--namespace",
        word,
        "--values",
        "ci/everything-values.yaml",
        "--values",
        file.to_str().expect("a name in Unicode"),
    ];
    let text = template(word, &words).unwrap_or_else(|error| panic!("{word}: {error}"));
    yaml(&text)
}

/// Where `plain` is a text and `odd` is none.
fn differ(at: &str, plain: &Value, odd: &Value, complaints: &mut Vec<String>) {
    match (plain, odd) {
        (Value::String(_), Value::String(_)) => {}
        (Value::Object(plain), Value::Object(odd)) if plain.len() == odd.len() => {
            for ((key, plain), odd) in plain.iter().zip(odd.values()) {
                differ(&format!("{at}.{key}"), plain, odd, complaints);
            }
        }
        (Value::Array(plain), Value::Array(odd)) if plain.len() == odd.len() => {
            for (plain, odd) in plain.iter().zip(odd) {
                differ(at, plain, odd, complaints);
            }
        }
        (plain, odd) if plain == odd => {}
        (plain, odd) => complaints.push(format!("{at}: {odd} where a text gives {plain}")),
    }
}

#[test]
fn whatever_people_call_things_a_text_stays_a_text() {
    let mut complaints = Vec::new();
    for trigger in ["external-push", "metrics-api", "postgresql"] {
        let more = json!({"keda": {"trigger": trigger}});
        let plain = rendered(PLAIN, &more);
        assert!(25 < plain.len(), "{} objects", plain.len());
        for word in ODD {
            let odd = rendered(word, &more);
            assert_eq!(odd.len(), plain.len(), "{word}");
            for (plain, odd) in plain.iter().zip(&odd) {
                let at = format!("{trigger}, {word}: {}", plain["kind"]);
                differ(&at, plain, odd, &mut complaints);
            }
        }
    }
    none(&complaints);
}
