//! The time as Kubernetes wants it written into its objects, for people: nothing is decided by it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

pub(crate) fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}
