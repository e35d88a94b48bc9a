//! Answers gRPC requests, for any HTTP/2 server that hands them over.

use std::future::Future;
use std::sync::Arc;

use futures::Stream;
use hyper::body::Body as HttpBody;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prost::Message;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Extensions, Status};
use tonic_prost::ProstCodec;

use crate::message::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef,
};
use crate::{MESSAGE_BYTES_MAX, path};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// A scaler. Each answer is about the trigger whose metadata `about` holds.
pub trait ExternalScaler: Send + Sync + 'static {
    /// Whether there is something to do: now, and whenever that changes.
    type Activity: Stream<Item = Result<IsActiveResponse, Status>> + Send + 'static;

    fn is_active(
        self: Arc<Self>,
        about: ScaledObjectRef,
    ) -> impl Future<Output = Result<IsActiveResponse, Status>> + Send;

    /// `extensions` are those of the HTTP request.
    fn stream_is_active(
        self: Arc<Self>,
        about: ScaledObjectRef,
        extensions: Extensions,
    ) -> impl Future<Output = Result<Self::Activity, Status>> + Send;

    fn get_metric_spec(
        self: Arc<Self>,
        about: ScaledObjectRef,
    ) -> impl Future<Output = Result<GetMetricSpecResponse, Status>> + Send;

    fn get_metrics(
        self: Arc<Self>,
        ask: GetMetricsRequest,
    ) -> impl Future<Output = Result<GetMetricsResponse, Status>> + Send;
}

/// Answers one request. One that is no gRPC is refused in HTTP's words: 405 or 415.
pub async fn answer<S, B>(scaler: Arc<S>, ask: Request<B>) -> Response<Body>
where
    S: ExternalScaler,
    B: HttpBody<Error: Into<Error> + Send> + Send + 'static,
{
    if ask.method() != Method::POST {
        return in_http(StatusCode::METHOD_NOT_ALLOWED);
    }
    let kind = ask.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return in_http(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    match ask.uri().path() {
        path::IS_ACTIVE => unary(scaler, ask, S::is_active).await,
        path::GET_METRIC_SPEC => unary(scaler, ask, S::get_metric_spec).await,
        path::GET_METRICS => unary(scaler, ask, S::get_metrics).await,
        path::STREAM_IS_ACTIVE => stream(scaler, ask).await,
        _ => refusal(Status::unimplemented("no such method")),
    }
}

/// An answer that says no.
pub fn refusal(status: Status) -> Response<Body> {
    status.into_http()
}

fn in_http(status: StatusCode) -> Response<Body> {
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = status;
    answer
}

/// One question, one answer.
async fn unary<S, B, Q, R, C, F>(scaler: Arc<S>, ask: Request<B>, call: C) -> Response<Body>
where
    S: ExternalScaler,
    B: HttpBody<Error: Into<Error> + Send> + Send + 'static,
    Q: Message + Default + 'static,
    R: Message + Default + 'static,
    C: Fn(Arc<S>, Q) -> F,
    F: Future<Output = Result<R, Status>>,
{
    let service = tower::service_fn(move |asked: tonic::Request<Q>| {
        let answered = call(Arc::clone(&scaler), asked.into_inner());
        async { answered.await.map(tonic::Response::new) }
    });
    grpc::<Q, R>().unary(service, ask).await
}

/// One question, answers until the scaler or the caller ends.
async fn stream<S, B>(scaler: Arc<S>, ask: Request<B>) -> Response<Body>
where
    S: ExternalScaler,
    B: HttpBody<Error: Into<Error> + Send> + Send + 'static,
{
    let service = tower::service_fn(move |asked: tonic::Request<ScaledObjectRef>| {
        let scaler = Arc::clone(&scaler);
        async move {
            let (_, extensions, about) = asked.into_parts();
            let activity = scaler.stream_is_active(about, extensions).await;
            activity.map(tonic::Response::new)
        }
    });
    grpc::<ScaledObjectRef, IsActiveResponse>()
        .server_streaming(service, ask)
        .await
}

fn grpc<Q, R>() -> Grpc<ProstCodec<R, Q>>
where
    Q: Message + Default + 'static,
    R: Message + Default + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MESSAGE_BYTES_MAX)
}
