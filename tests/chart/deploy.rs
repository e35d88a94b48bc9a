//! `deploy/`: the chart as plain manifests, for people without Helm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::helm::{helm, name, none, read, root, tool, yaml};

/// Demands that a file is `wanted`, or makes it so with `SNOWPACK_TEST_UPDATE=1`.
#[track_caller]
pub(crate) fn keep(path: &str, wanted: &str) {
    if std::env::var("SNOWPACK_TEST_UPDATE").is_ok() {
        let path = root().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
        fs::write(path, wanted).expect("write the file");
    }
    let found = fs::read_to_string(root().join(path)).unwrap_or_default();
    assert!(
        found == wanted,
        "{path} is stale: run `SNOWPACK_TEST_UPDATE=1 cargo test -p tests --test chart`"
    );
}

/// What `helm template` prints, by the template it came from.
fn manifests(words: &[&str]) -> BTreeMap<String, String> {
    let ask = ["template", "snowpack", ".", "--namespace", "snowpack"];
    let run = helm(&[&ask, words].concat());
    assert!(run.status.success(), "{words:?}");
    let text = String::from_utf8(run.stdout).expect("helm prints UTF-8");
    let mut found = BTreeMap::<String, String>::new();
    for document in text.split("---\n# Source: snowpack/templates/").skip(1) {
        let (path, body) = document.split_once('\n').expect("a path and an object");
        let file = found.entry(path.to_owned()).or_default();
        if !file.is_empty() {
            file.push_str("---\n");
        }
        file.push_str(body.trim());
        file.push('\n');
    }
    found
}

/// Without what only Helm reads.
fn plain(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.contains("helm.sh/hook"));
    let lines: Vec<&str> = lines.collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut kept = String::new();
    for (number, line) in lines.iter().enumerate() {
        let next = lines.get(number + 1).map_or(0, |next| indent(next));
        if line.trim() == "annotations:" && next <= indent(line) {
            continue;
        }
        kept.push_str(&line.replace("managed-by: Helm", "managed-by: kubectl"));
        kept.push('\n');
    }
    kept
}

#[test]
fn the_plain_manifests_are_the_chart_s() {
    let mut all = manifests(&["--no-hooks"]);
    let migrate = [
        "templates/migrate/job.yaml",
        "templates/migrate/serviceaccount.yaml",
    ];
    all.extend(manifests(&["-s", migrate[0], "-s", migrate[1]]));
    assert!(15 < all.len(), "{:?}", all.keys());
    let mut list = String::from(
        "# Made from the chart helm/snowpack with its default values: change those, not this.\n\
         # A base for your overlays; README.md says how.\n\
         apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nnamespace: snowpack\n\
         resources:\n",
    );
    for (path, text) in &all {
        keep(&format!("deploy/manifests/{path}"), &plain(text));
        list.extend(["  - manifests/", path, "\n"]);
    }
    keep("deploy/kustomization.yaml", &list);
    let mut open = vec![root().join("deploy/manifests")];
    let mut complaints = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(path.read_dir().unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let name = path.strip_prefix(root().join("deploy/manifests")).unwrap();
        let name = name.to_str().unwrap();
        if !all.contains_key(name) {
            complaints.push(format!(
                "deploy/manifests/{name}: no template makes it; delete it"
            ));
        }
    }
    none(&complaints);
}

#[test]
fn kustomize_builds_the_base_from_every_manifest() {
    let run = tool("kubectl", &["kustomize", "../../deploy"]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    let built = yaml(&String::from_utf8(run.stdout).expect("kubectl prints UTF-8"));
    let names: Vec<String> = built.iter().map(name).collect();
    for wanted in ["Deployment/snowpack-api", "Job/snowpack-migrate"] {
        assert!(names.iter().any(|name| name == wanted), "{names:?}");
    }
    for object in &built {
        assert_eq!(
            object["metadata"]["namespace"],
            "snowpack",
            "{}",
            name(object)
        );
        let text = object.to_string();
        assert!(
            !text.contains("helm.sh/") && !text.contains("\"Helm\""),
            "{text}"
        );
    }
}

#[test]
fn the_overlay_of_the_how_to_moves_everything_to_another_namespace() {
    let how_to = read("deploy/README.md");
    let overlay = how_to.split("```yaml\n").nth(1).expect("an overlay");
    let overlay = overlay.split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(root().join("deploy"), folder.path().join("deploy")).unwrap();
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("kustomization.yaml"), overlay).unwrap();
    let run = tool("kubectl", &["kustomize", own.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    let built = String::from_utf8(run.stdout).expect("kubectl prints UTF-8");
    let of = |what: &str| -> BTreeSet<&str> {
        let lines = built.lines().filter_map(|line| line.split_once(what));
        lines.map(|(_, value)| value).collect()
    };
    assert_eq!(of(" namespace: "), BTreeSet::from(["lake"]));
    let address = BTreeSet::from(["snowpack-scaler.lake.svc:9092"]);
    assert_eq!(of(" scalerAddress: "), address);
    assert_eq!(
        of(" SNOWPACK_WAREHOUSE: "),
        BTreeSet::from(["s3://lake/warehouse"])
    );
    let image = BTreeSet::from([concat!(
        "registry.example/snowpack:",
        env!("CARGO_PKG_VERSION")
    )]);
    assert_eq!(of(" image: "), image);
}

#[test]
fn the_how_to_names_only_files_and_alerts_that_exist() {
    for path in ["deploy/README.md", "helm/snowpack/README.md"] {
        let text = read(path);
        let folder = root().join(path).parent().unwrap().to_owned();
        for target in text.split("](").skip(1) {
            let target = target.split(')').next().unwrap();
            let there = target.starts_with('#') || folder.join(target).exists();
            assert!(there, "{path}: {target} does not exist");
        }
    }
}
