//! A client on one connection that somebody else opened: what KEDA would see.

use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{IntoRequest, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use crate::message::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef,
};
use crate::path;

/// Asks a scaler. Its connection ends when it is dropped.
#[derive(Debug)]
pub struct Client {
    grpc: Grpc<Connection>,
    _driven: JoinSet<()>,
}

impl Client {
    /// Speaks HTTP/2 on `io`. `origin` is scheme and authority, as in `http://localhost:9092`.
    pub async fn on<T>(io: T, origin: Uri) -> Result<Self, hyper::Error>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await?;
        let mut driven = JoinSet::new();
        driven.spawn(async move {
            // Whoever asks next is told.
            let _ = connection.await;
        });
        Ok(Self {
            grpc: Grpc::with_origin(Connection(send), origin),
            _driven: driven,
        })
    }

    pub async fn is_active(&mut self, about: ScaledObjectRef) -> Result<bool, Status> {
        let answer: IsActiveResponse = self.ask(about, path::IS_ACTIVE).await?;
        Ok(answer.result)
    }

    pub async fn get_metric_spec(
        &mut self,
        about: ScaledObjectRef,
    ) -> Result<GetMetricSpecResponse, Status> {
        self.ask(about, path::GET_METRIC_SPEC).await
    }

    pub async fn get_metrics(
        &mut self,
        ask: GetMetricsRequest,
    ) -> Result<GetMetricsResponse, Status> {
        self.ask(ask, path::GET_METRICS).await
    }

    /// Whether there is something to do, said now and whenever it changes.
    pub async fn stream_is_active(
        &mut self,
        about: ScaledObjectRef,
    ) -> Result<Streaming<IsActiveResponse>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static(path::STREAM_IS_ACTIVE);
        let codec = ProstCodec::<ScaledObjectRef, _>::default();
        let answer = self
            .grpc
            .server_streaming(about.into_request(), path, codec);
        Ok(answer.await?.into_inner())
    }

    async fn ask<Q, R>(&mut self, ask: Q, path: &'static str) -> Result<R, Status>
    where
        Q: Message + Default + 'static,
        R: Message + Default + 'static,
    {
        self.ready().await?;
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, R>::default();
        let answer = self.grpc.unary(tonic::Request::new(ask), path, codec);
        Ok(answer.await?.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        let ready = self.grpc.ready().await;
        ready.map_err(|error| Status::unavailable(error.to_string()))
    }
}

/// hyper's connection as the service tonic asks for.
#[derive(Debug, Clone)]
struct Connection(SendRequest<Body>);

impl Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.send_request(request).boxed()
    }
}
