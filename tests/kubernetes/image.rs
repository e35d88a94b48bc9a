//! The image: every program runs in it, as nobody in particular, on a root it cannot write.

use serde_json::{Value, json};
use testkit::until;

use crate::cluster::{IMAGE, Namespace};

const PROGRAMS: [&str; 6] = [
    "snowpack",
    "snowpack-api",
    "snowpack-worker",
    "snowpack-scaler",
    "snowpack-orchestrator",
    "snowpack-health-sync",
];

fn container(program: &str) -> Value {
    json!({
        "name": program,
        "image": IMAGE,
        "command": [program, "--version"],
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
    })
}

#[tokio::test]
async fn every_program_of_the_image_runs_without_privileges_on_a_read_only_root() {
    let namespace = Namespace::new("image");
    namespace.apply(&json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "programs"},
        "spec": {
            "restartPolicy": "Never",
            // The image's own user is a number, or the kubelet would refuse it.
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": PROGRAMS.map(container),
        },
    }));
    let mut phase = Value::Null;
    until("the programs have ended", async || {
        phase = namespace.get("pod/programs")["status"]["phase"].clone();
        phase == "Succeeded" || phase == "Failed"
    })
    .await;
    assert_eq!(phase, "Succeeded");
    for program in PROGRAMS {
        let said = namespace.kubectl(&["logs", "pod/programs", "--container", program]);
        let version = format!("{program} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!(said, version);
    }
}
