//! The Helm chart, without a cluster: what `helm template` makes of the values people may set.
//!
//! Names helm as `$SNOWPACK_TEST_KUBERNETES/bin/helm`; `tests/run` makes it. With
//! `SNOWPACK_TEST_UPDATE=1` what is made from the chart (its README, `deploy/manifests`) is
//! written instead of compared.

mod deploy;
mod helm;
mod monitoring;
mod names;
mod pods;
mod policies;
mod scaling;
mod schema;
mod settings;
mod texts;
mod values;
