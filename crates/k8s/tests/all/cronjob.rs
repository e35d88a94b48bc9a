//! Jobs of CronJobs, held against kubectl's.

use k8s::cronjob::{self, Outcome, Variable};
use k8s::{Cluster, Error, Trouble};
use serde_json::{Value, json};
use testkit::until;

use super::place::Place;

/// What the API's Role allows, and the command line's user needs.
const RULES: [&str; 2] = ["cronjobs.batch=get,list", "jobs.batch=create,get,list"];

fn manifest(name: &str, policy: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: CronJob
metadata:
  name: {name}
  labels: {{app.kubernetes.io/component: orchestrator}}
spec:
  schedule: '0 0 1 1 *'
  concurrencyPolicy: {policy}
  jobTemplate:
    metadata:
      labels: {{app.kubernetes.io/component: orchestrator, app.kubernetes.io/part-of: snowpack}}
      annotations: {{team: data}}
    spec:
      backoffLimit: 0
      activeDeadlineSeconds: 3600
      template:
        metadata:
          labels: {{app.kubernetes.io/component: orchestrator}}
        spec:
          restartPolicy: Never
          securityContext: {{runAsNonRoot: true, seccompProfile: {{type: RuntimeDefault}}}}
          containers:
          - name: orchestrator
            image: localhost/none:1
            command: [snowpack-orchestrator]
            env: [{{name: SNOWPACK_LOG, value: info}}]
            resources: {{requests: {{cpu: 10m, memory: 64Mi}}}}
"
    )
}

/// Without what differs between any two Jobs of one template.
fn plain(mut job: Value) -> Value {
    let metadata = job["metadata"].as_object_mut().unwrap();
    for field in [
        "name",
        "uid",
        "creationTimestamp",
        "resourceVersion",
        "generation",
        "managedFields",
    ] {
        metadata.remove(field);
    }
    let own = [
        "controller-uid",
        "batch.kubernetes.io/controller-uid",
        "job-name",
        "batch.kubernetes.io/job-name",
    ];
    for at in [
        "/metadata/labels",
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
    ] {
        if let Some(labels) = job.pointer_mut(at).and_then(Value::as_object_mut) {
            for label in own {
                labels.remove(label);
            }
        }
    }
    job.as_object_mut().unwrap().remove("status");
    job
}

async fn api(place: &Place) -> Cluster {
    place.account("api", &RULES).await
}

#[tokio::test]
async fn a_job_of_a_cronjob_is_the_one_kubectl_would_make() {
    let place = Place::new().await;
    place.apply(&manifest("plan", "Forbid"));
    let cluster = api(&place).await;
    let name = cronjob::create(&cluster, "plan", &[]).await.unwrap();
    assert!(name.starts_with("plan-manual-"), "{name}");
    let namespace = place.namespace.as_str();
    let ours = place
        .kubernetes
        .json(&["-n", namespace, "get", "job", &name]);
    let theirs = place.kubernetes.json(&[
        "-n",
        namespace,
        "create",
        "job",
        "theirs",
        "--from=cronjob/plan",
        "--dry-run=server",
    ]);
    assert_eq!(
        ours["metadata"]["annotations"]["cronjob.kubernetes.io/instantiate"],
        "manual"
    );
    assert_eq!(plain(ours), plain(theirs));
}

#[tokio::test]
async fn variables_reach_the_job_s_container() {
    let place = Place::new().await;
    place.apply(&manifest("plan", "Allow"));
    let variables = [Variable {
        name: "SNOWPACK_TRIGGERED_BY",
        value: "api:$(HOME)".to_owned(),
    }];
    let cluster = api(&place).await;
    let name = cronjob::create(&cluster, "plan", &variables).await.unwrap();
    let job = place
        .kubernetes
        .json(&["-n", &place.namespace, "get", "job", &name]);
    let want = json!([
        { "name": "SNOWPACK_LOG", "value": "info" },
        { "name": "SNOWPACK_TRIGGERED_BY", "value": "api:$$(HOME)" },
    ]);
    assert_eq!(
        job["spec"]["template"]["spec"]["containers"][0]["env"],
        want
    );
}

#[tokio::test]
async fn a_cronjob_that_forbids_it_has_one_job_at_a_time_and_another_once_that_has_ended() {
    let place = Place::new().await;
    place.apply(&manifest("plan", "Forbid"));
    let cluster = api(&place).await;
    let first = cronjob::create(&cluster, "plan", &[]).await.unwrap();
    let refused = cronjob::create(&cluster, "plan", &[]).await.unwrap_err();
    let said = format!("CronJob plan forbids a second Job beside {first}, which has not ended");
    assert_eq!(refused.to_string(), said);
    assert!(matches!(refused, Error::Active { job, .. } if job == first));

    place
        .kubernetes
        .end_job(&place.namespace, &first, "Succeeded")
        .await;
    let ended = cronjob::ended(&cluster, &first, |_| {}).await.unwrap();
    assert_eq!(ended, Outcome::Complete);
    let second = cronjob::create(&cluster, "plan", &[]).await.unwrap();
    place
        .kubernetes
        .end_job(&place.namespace, &second, "Failed")
        .await;
    let mut looks = Vec::new();
    let ended = cronjob::ended(&cluster, &second, |look| looks.push(look.clone()))
        .await
        .unwrap();
    assert!(
        matches!(&ended, Outcome::Failed(why) if why.starts_with("BackoffLimitExceeded: ")),
        "{ended:?}"
    );
    assert_eq!(looks.last().unwrap().failed, 1);
}

#[tokio::test]
async fn a_cronjob_that_allows_it_has_several_jobs_at_once() {
    let place = Place::new().await;
    place.apply(&manifest("plan", "Allow"));
    let cluster = api(&place).await;
    let one = cronjob::create(&cluster, "plan", &[]).await.unwrap();
    let two = cronjob::create(&cluster, "plan", &[]).await.unwrap();
    assert_ne!(one, two);
    until("both are there", async || {
        place
            .value("jobs", "{.items[*].metadata.name}")
            .split(' ')
            .count()
            == 2
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let place = Place::new().await;
    let cluster = api(&place).await;
    let missing = cronjob::create(&cluster, "plan", &[]).await.unwrap_err();
    assert_eq!(missing.trouble(), Trouble::Missing);
    assert!(
        missing.to_string().contains("\"plan\" not found"),
        "{missing}"
    );

    place.apply(&manifest("plan", "Allow"));
    let reader = place.account("reader", &["cronjobs.batch=get"]).await;
    let Error::Refused {
        call,
        trouble,
        said,
    } = cronjob::create(&reader, "plan", &[]).await.unwrap_err()
    else {
        panic!("another error");
    };
    assert_eq!(
        (call.verb, call.resource, trouble),
        ("create", "jobs.batch", Trouble::Forbidden)
    );
    assert_eq!(call.namespace, place.namespace);
    assert!(said.contains("cannot create resource \"jobs\""), "{said}");
}

#[tokio::test]
async fn the_only_cronjob_of_a_component_is_found_and_several_are_named() {
    let place = Place::new().await;
    let cluster = api(&place).await;
    let find = async || cronjob::find(&cluster, "orchestrator").await;
    let none = find().await.unwrap_err().to_string();
    assert!(none.starts_with("0 CronJobs in namespace"), "{none}");
    place.apply(&manifest("plan", "Allow"));
    assert_eq!(find().await.unwrap(), "plan");
    place.apply(&manifest("other", "Allow"));
    let two = find().await.unwrap_err().to_string();
    let label = "app.kubernetes.io/component=orchestrator: other, plan;";
    assert!(
        two.starts_with("2 CronJobs") && two.contains(label),
        "{two}"
    );
}
