//! KEDA's external scaler: the same counts, asked for by trigger, and pushed.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use keda::{
    Body, Extensions, ExternalScaler, GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse,
    IsActiveResponse, MetricSpec, MetricValue, ScaledObjectRef, Status,
};
use queue::Depth;
use runtime::http::{ANSWER_WITHIN, Ask, Closing};
use tokio::sync::Semaphore;

use crate::activity::Activity;
use crate::calls::Calls;
use crate::counts::{Counts, NoCount};
use crate::metrics::Streams;
use crate::token::Token;
use crate::trigger::Trigger;

/// Callers that are told of activity at once.
const STREAMS_MAX: usize = 200;

#[derive(Debug)]
pub(crate) struct Grpc {
    counts: Arc<Counts>,
    calls: Calls,
    streams: Streams,
    places: Arc<Semaphore>,
    /// The one lane of this version.
    lane: String,
    token: Token,
}

impl Grpc {
    pub(crate) fn new(counts: Arc<Counts>, calls: Calls, streams: Streams, token: Token) -> Self {
        Self {
            counts,
            calls,
            streams,
            places: Arc::new(Semaphore::new(STREAMS_MAX)),
            lane: maintenance::queue().lane().to_owned(),
            token,
        }
    }

    /// Answers one request; a stream's answer begins within the same time.
    pub(crate) async fn answer(self: Arc<Self>, ask: Ask) -> hyper::Response<Body> {
        let answered = tokio::time::timeout(ANSWER_WITHIN, keda::answer(self, ask)).await;
        answered.unwrap_or_else(|_| keda::refusal(Status::deadline_exceeded("no answer in time")))
    }

    fn trigger(&self, about: &ScaledObjectRef) -> Result<Trigger, Status> {
        Trigger::read(&about.scaler_metadata, &self.lane, &self.token)
    }

    async fn depth(&self, trigger: &Trigger) -> Result<Depth, Status> {
        self.counts
            .get(&trigger.pools)
            .await
            .map_err(|no| match no {
                NoCount::Unreachable(why) => {
                    Status::unavailable(format!("Postgres gave no count: {why}"))
                }
                NoCount::TooManyPools => Status::resource_exhausted(no.detail()),
            })
    }

    /// The one metric of a trigger.
    fn metric(&self, trigger: &Trigger) -> String {
        format!("{}-{}", self.lane, trigger.mode.as_str())
    }
}

impl ExternalScaler for Grpc {
    type Activity = BoxStream<'static, Result<IsActiveResponse, Status>>;

    async fn is_active(
        self: Arc<Self>,
        about: ScaledObjectRef,
    ) -> Result<IsActiveResponse, Status> {
        let trigger = self.trigger(&about)?;
        let depth = self.depth(&trigger).await?;
        Ok(IsActiveResponse {
            result: 0 < trigger.value(&depth),
        })
    }

    async fn stream_is_active(
        self: Arc<Self>,
        about: ScaledObjectRef,
        extensions: Extensions,
    ) -> Result<Self::Activity, Status> {
        let trigger = self.trigger(&about)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| {
            Status::resource_exhausted(format!("{STREAMS_MAX} callers are told already"))
        })?;
        let closing = extensions.get().map(|Closing(closing)| closing.clone());
        let activity = Activity {
            counts: Arc::clone(&self.counts),
            trigger,
            calls: self.calls.subscribe(),
            closing: closing.unwrap_or_default(),
            said: None,
            _place: place,
            _counted: self.streams.hold(),
        };
        Ok(activity.stream().boxed())
    }

    async fn get_metric_spec(
        self: Arc<Self>,
        about: ScaledObjectRef,
    ) -> Result<GetMetricSpecResponse, Status> {
        let trigger = self.trigger(&about)?;
        Ok(GetMetricSpecResponse {
            metric_specs: vec![MetricSpec {
                metric_name: self.metric(&trigger),
                target_size: trigger.jobs_per_worker,
                target_size_float: trigger.jobs_per_worker as f64,
            }],
        })
    }

    async fn get_metrics(
        self: Arc<Self>,
        ask: GetMetricsRequest,
    ) -> Result<GetMetricsResponse, Status> {
        let trigger = self.trigger(&ask.scaled_object_ref.unwrap_or_default())?;
        let metric_name = self.metric(&trigger);
        if ask.metric_name != metric_name {
            return Err(Status::invalid_argument(format!(
                "metricName `{}` is unknown: this trigger's is {metric_name}",
                ask.metric_name
            )));
        }
        let depth = self.depth(&trigger).await?;
        let value = trigger.value(&depth);
        Ok(GetMetricsResponse {
            metric_values: vec![MetricValue {
                metric_name,
                metric_value: value,
                metric_value_float: value as f64,
            }],
        })
    }
}
