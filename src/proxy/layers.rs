//! What is around the request path. It knows no domain word.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, Ready, ready};
use http::{Request, Response};
use http_body::Body;
use tokio::sync::Semaphore;
use tower::Service;

use crate::dialect::ErrorShape;
use crate::telemetry::Metrics;

use super::metered_body::ReplyBody;
use super::parts::Proxy;
use super::rejection::Rejection;

/// The request path behind a panic guard and a limit: a panic is one request's 500, and its hold is presumed; a request beyond the
/// limit is shed.
#[derive(Clone)]
struct Guarded {
    proxy: Proxy,
    metrics: Arc<Metrics>,
    places: Arc<Semaphore>,
}

impl<B> Service<Request<B>> for Guarded
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Either<Ready<Answered>, BoxFuture<'static, Answered>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let shape = ErrorShape::of(request.uri().path(), request.headers());
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            self.metrics.rejection(Rejection::Overloaded.code());
            let shed = local(&Rejection::Overloaded, shape);
            self.metrics.response(shed.status().as_u16());
            return Either::Left(ready(Ok(shed)));
        };
        let (proxy, metrics) = (self.proxy.clone(), Arc::clone(&self.metrics));
        Either::Right(Box::pin(async move {
            let answer = AssertUnwindSafe(proxy.handle(request)).catch_unwind().await;
            drop(place);
            Ok(answer.unwrap_or_else(|_| {
                metrics.panics.inc();
                tracing::error!("a request panicked; its hold, if it had one, is presumed");
                local(&Rejection::Internal, shape)
            }))
        }))
    }
}

type Answered = Result<Response<ReplyBody>, Infallible>;

/// The request path as a service. `most` requests may be in progress at once until their response begins; more are shed
/// before anything is reserved for them.
pub fn service<B>(
    proxy: Proxy,
    most: usize,
    metrics: &Arc<Metrics>,
) -> impl Service<
    Request<B>,
    Response = Response<ReplyBody>,
    Error = Infallible,
    Future: Future<Output = Result<Response<ReplyBody>, Infallible>> + Send,
> + Clone
+ Send
+ 'static
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
    Guarded { proxy, metrics: Arc::clone(metrics), places }
}

fn local(rejection: &Rejection, shape: ErrorShape) -> Response<ReplyBody> {
    let id = uuid::Uuid::now_v7();
    rejection.response(shape, &id.to_string())
}
