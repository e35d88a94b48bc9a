//! Jobs made from CronJobs by hand, as `kubectl create job --from=cronjob/NAME` makes them.
//!
//! The template is copied as it is, with fields this version has never heard of. One thing is not
//! kubectl's: where the CronJob says `concurrencyPolicy: Forbid`, a second Job is refused while one
//! has not ended. Who asks twice at the same moment through two processes may still get both:
//! what the Jobs do is right then too, so no lock is taken for it.

use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use kube::ResourceExt;
use kube::api::{DynamicObject, ListParams, ObjectMeta, PostParams};
use kube::core::ApiResource;
use model::Advice;
use rand::RngExt;
use serde_json::{Value, json};

use crate::{Cluster, Error};

/// Says which part of Snowpack an object is, as the chart labels them.
pub const COMPONENT: &str = "app.kubernetes.io/component";

/// A Job's name becomes a label of its pods.
const NAME_BYTES_MAX: usize = 63;
const SUFFIX_BYTES: usize = 5;
/// What Kubernetes itself makes random names of: no vowels, no words.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Jobs in one answer. A CronJob keeps a handful.
const PAGE: u32 = 250;
/// Between two looks at a Job that runs.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A Job nobody can be asked about is given up after so many looks in a row.
const LOOKS_FAILED_MAX: u32 = 120;

/// A variable that the Job's container gets beside those of the template, or in their stead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    pub name: &'static str,
    pub value: String,
}

/// How far a Job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    pub active: u64,
    pub ready: u64,
    pub failed: u64,
    pub outcome: Option<Outcome>,
}

/// How a Job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    Complete,
    /// With Kubernetes' reason.
    Failed(String),
}

/// The one CronJob whose label [`COMPONENT`] has this value.
pub async fn find(cluster: &Cluster, component: &str) -> Result<String, Error> {
    let label = format!("{COMPONENT}={component}");
    let cronjobs = cluster.objects::<CronJob>();
    let params = ListParams::default().labels(&label).limit(PAGE);
    let call = cronjobs.list_metadata(&params);
    let found = cluster.ask("list", "cronjobs.batch", "", call).await?;
    let mut names: Vec<String> = found.iter().map(ResourceExt::name_any).collect();
    if names.len() == 1 {
        return Ok(names.remove(0));
    }
    Err(Error::NotOne {
        namespace: cluster.namespace().to_owned(),
        label,
        found: names,
    })
}

/// Makes a Job of a CronJob's template, and says its name.
pub async fn create(
    cluster: &Cluster,
    cronjob: &str,
    variables: &[Variable],
) -> Result<String, Error> {
    let cronjobs = cluster.objects::<CronJob>();
    let template = cluster
        .ask("get", "cronjobs.batch", cronjob, cronjobs.get(cronjob))
        .await?;
    if template.data["spec"]["concurrencyPolicy"] == "Forbid" {
        refuse_second(cluster, &template).await?;
    }
    let name = job_name(cronjob, &suffix());
    let job = job(&template, &name, variables)?;
    let jobs = cluster.objects::<Job>();
    let params = PostParams::default();
    let call = jobs.create(&params, &job);
    let created = cluster.ask("create", "jobs.batch", &name, call).await?;
    Ok(created.name_any())
}

/// Waits for a Job's end; `tell` hears of every change.
pub async fn ended(
    cluster: &Cluster,
    job: &str,
    mut tell: impl FnMut(&Look),
) -> Result<Outcome, Error> {
    let mut last = None;
    let mut failed = 0;
    loop {
        match look(cluster, job).await {
            Ok(now) => {
                failed = 0;
                if last.as_ref() != Some(&now) {
                    tell(&now);
                }
                if let Some(outcome) = now.outcome {
                    return Ok(outcome);
                }
                last = Some(now);
            }
            Err(error) if error.advice() == Advice::RetryLater && failed < LOOKS_FAILED_MAX => {
                failed += 1;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(cluster: &Cluster, job: &str) -> Result<Look, Error> {
    let jobs = cluster.objects::<Job>();
    let found = cluster.ask("get", "jobs.batch", job, jobs.get(job)).await?;
    let status = &found.data["status"];
    let count = |name: &str| status[name].as_u64().unwrap_or(0);
    Ok(Look {
        active: count("active"),
        ready: count("ready"),
        failed: count("failed"),
        outcome: outcome(status),
    })
}

fn outcome(status: &Value) -> Option<Outcome> {
    let conditions = status["conditions"].as_array()?;
    let holds = |kind: &str| {
        conditions
            .iter()
            .find(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    if holds("Complete").is_some() {
        return Some(Outcome::Complete);
    }
    let failed = holds("Failed")?;
    let text = |name: &str| failed[name].as_str().unwrap_or_default();
    let said = format!("{}: {}", text("reason"), text("message"));
    Some(Outcome::Failed(said))
}

/// Refuses while any Job of the CronJob, its own or one made by hand, has not ended.
async fn refuse_second(cluster: &Cluster, cronjob: &DynamicObject) -> Result<(), Error> {
    let jobs = cluster.objects::<Job>();
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = cluster
            .ask("list", "jobs.batch", "", jobs.list(&params))
            .await?;
        let active = page
            .iter()
            .find(|job| owned(job, cronjob) && outcome(&job.data["status"]).is_none());
        if let Some(job) = active {
            return Err(Error::Active {
                cronjob: cronjob.name_any(),
                job: job.name_any(),
            });
        }
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => return Ok(()),
        }
    }
}

fn owned(job: &DynamicObject, cronjob: &DynamicObject) -> bool {
    let uid = cronjob.metadata.uid.as_deref();
    let mut owners = job.owner_references().iter();
    owners.any(|owner| Some(owner.uid.as_str()) == uid)
}

/// The Job as kubectl would send it, with the variables in its first container.
fn job(
    cronjob: &DynamicObject,
    name: &str,
    variables: &[Variable],
) -> Result<DynamicObject, Error> {
    let owner = cronjob.name_any();
    let bad = |why| Error::BadCronJob {
        cronjob: owner.clone(),
        why,
    };
    let template = &cronjob.data["spec"]["jobTemplate"];
    let mut spec = template["spec"].clone();
    if !variables.is_empty() {
        let container = spec
            .pointer_mut("/template/spec/containers/0")
            .ok_or_else(|| bad("its template has no container"))?;
        set(container, variables);
    }
    let mut annotations = json!({ "cronjob.kubernetes.io/instantiate": "manual" });
    for (key, value) in template["metadata"]["annotations"]
        .as_object()
        .into_iter()
        .flatten()
    {
        annotations[key] = value.clone();
    }
    // No blockOwnerDeletion: it would need the right to change the CronJob's finalizers.
    let metadata = json!({
        "name": name,
        "annotations": annotations,
        "labels": template["metadata"]["labels"],
        "ownerReferences": [{
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": owner,
            "uid": cronjob.metadata.uid,
            "controller": true,
        }],
    });
    let metadata: ObjectMeta = serde_json::from_value(metadata)
        .map_err(|_| bad("its template's metadata is unreadable"))?;
    let mut job = DynamicObject::new(name, &ApiResource::erase::<Job>(&()));
    job.metadata = metadata;
    job.data = json!({ "spec": spec });
    Ok(job)
}

fn set(container: &mut Value, variables: &[Variable]) {
    let mut env: Vec<Value> = container["env"].as_array().cloned().unwrap_or_default();
    let given = |entry: &Value| variables.iter().any(|one| entry["name"] == one.name);
    env.retain(|entry| !given(entry));
    for Variable { name, value } in variables {
        // Else `$(SECRET)` in a caller's name would become the secret's value.
        let value = value.replace('$', "$$");
        env.push(json!({ "name": name, "value": value }));
    }
    container["env"] = Value::Array(env);
}

/// `<cronjob>-manual-<suffix>`, the CronJob's part cut so that it fits.
fn job_name(cronjob: &str, suffix: &str) -> String {
    let tail = format!("-manual-{suffix}");
    let head = cronjob.floor_char_boundary(NAME_BYTES_MAX - tail.len());
    let head = cronjob[..head].trim_end_matches(['-', '.']);
    format!("{head}{tail}")
}

fn suffix() -> String {
    let mut random = rand::rng();
    (0..SUFFIX_BYTES)
        .map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cronjob(spec: &Value) -> DynamicObject {
        let object = json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": { "name": "snowpack-orchestrator", "namespace": "ns", "uid": "u-1" },
            "spec": spec,
        });
        serde_json::from_value(object).unwrap()
    }

    fn template() -> Value {
        json!({ "jobTemplate": {
            "metadata": {
                "labels": { COMPONENT: "orchestrator" },
                "annotations": { "team": "data" },
            },
            "spec": {
                "backoffLimit": 0,
                "fieldOfTomorrow": { "kept": true },
                "template": { "spec": { "containers": [
                    { "name": "orchestrator", "env": [
                        { "name": "SNOWPACK_DRY_RUN", "value": "false" },
                        { "name": "SNOWPACK_LOG", "value": "info" },
                    ] },
                    { "name": "other" },
                ] } },
            },
        } })
    }

    #[test]
    fn a_job_is_the_template_with_its_owner() {
        let job = job(&cronjob(&template()), "name", &[]).unwrap();
        let want = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": "name",
                "labels": { COMPONENT: "orchestrator" },
                "annotations": {
                    "cronjob.kubernetes.io/instantiate": "manual",
                    "team": "data",
                },
                "ownerReferences": [{
                    "apiVersion": "batch/v1",
                    "kind": "CronJob",
                    "name": "snowpack-orchestrator",
                    "uid": "u-1",
                    "controller": true,
                }],
            },
            "spec": template()["jobTemplate"]["spec"],
        });
        assert_eq!(serde_json::to_value(&job).unwrap(), want);
    }

    #[test]
    fn variables_stand_in_the_first_container_in_stead_of_the_template_s() {
        let variables = [
            ("SNOWPACK_DRY_RUN", "true"),
            ("SNOWPACK_TRIGGERED_BY", "$(X) $me"),
        ]
        .map(|(name, value)| Variable {
            name,
            value: value.to_owned(),
        });
        let job = job(&cronjob(&template()), "name", &variables).unwrap();
        let containers = &job.data["spec"]["template"]["spec"]["containers"];
        let want = json!([
            { "name": "SNOWPACK_LOG", "value": "info" },
            { "name": "SNOWPACK_DRY_RUN", "value": "true" },
            { "name": "SNOWPACK_TRIGGERED_BY", "value": "$$(X) $$me" },
        ]);
        assert_eq!(containers[0]["env"], want);
        assert_eq!(containers[1], json!({ "name": "other" }));
    }

    #[test]
    fn a_template_without_a_container_is_refused_by_name() {
        let empty = cronjob(&json!({ "jobTemplate": { "spec": {} } }));
        let variable = Variable {
            name: "A",
            value: String::new(),
        };
        let error = job(&empty, "name", &[variable]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "CronJob snowpack-orchestrator cannot be used: its template has no container"
        );
    }

    #[test]
    fn names_fit_and_are_names() {
        assert_eq!(job_name("plan", "x2x2x"), "plan-manual-x2x2x");
        let long = job_name(&"a".repeat(253), "x2x2x");
        assert_eq!(long.len(), 63);
        let cut = job_name(&format!("{}-b", "a".repeat(49)), "x2x2x");
        assert_eq!(cut, format!("{}-manual-x2x2x", "a".repeat(49)));
        let suffix = suffix();
        assert!(
            suffix.len() == 5 && suffix.bytes().all(|b| ALPHABET.contains(&b)),
            "{suffix}"
        );
    }

    #[test]
    fn an_end_is_a_condition_that_holds() {
        let of = |kind: &str, status: &str| {
            outcome(&json!({ "conditions": [{
                "type": kind, "status": status, "reason": "Why", "message": "because",
            }] }))
        };
        assert_eq!(of("Complete", "True"), Some(Outcome::Complete));
        let failed = Outcome::Failed("Why: because".to_owned());
        assert_eq!(of("Failed", "True"), Some(failed));
        for (kind, status) in [
            ("Failed", "False"),
            ("Suspended", "True"),
            ("FailureTarget", "True"),
        ] {
            assert_eq!(of(kind, status), None, "{kind} {status}");
        }
        assert_eq!(outcome(&json!({})), None);
    }
}
