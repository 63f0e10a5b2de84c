//! The layers around the request path. They know no domain word.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Map};
use http::{Request, Response};
use http_body::Body;
use tower::{BoxError, Service, ServiceBuilder};

use crate::dialect::Dialect;
use crate::telemetry::Metrics;

use super::handler::Proxy;
use super::metered_body::ReplyBody;
use super::rejection::Rejection;

/// The request path with a panic guard: a panic is one request's 500, and its hold is presumed.
#[derive(Clone)]
struct Guarded {
    proxy: Proxy,
    metrics: Arc<Metrics>,
}

impl<B> Service<Request<B>> for Guarded
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<ReplyBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self { proxy, metrics } = self.clone();
        Box::pin(async move {
            let answer = AssertUnwindSafe(proxy.handle(request)).catch_unwind().await;
            Ok(answer.unwrap_or_else(|_| {
                metrics.panics.inc();
                tracing::error!("a request panicked; its hold, if it had one, is presumed");
                local(&Rejection::Internal)
            }))
        })
    }
}

/// Answers what the layers inside refused.
#[derive(Clone)]
struct Shed<S>(S);

impl<S, B> Service<Request<B>> for Shed<S>
where
    S: Service<Request<B>, Response = Response<ReplyBody>, Error = BoxError>,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Map<S::Future, fn(Result<Response<ReplyBody>, BoxError>) -> Result<Response<ReplyBody>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A layer that sheds is always ready, and one that failed answers so to the call.
        self.0.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.0.call(request).map(|result| Ok(result.unwrap_or_else(|_| local(&Rejection::Overloaded))))
    }
}

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
    let guarded = Guarded { proxy, metrics: Arc::clone(metrics) };
    Shed(ServiceBuilder::new().load_shed().concurrency_limit(most).service(guarded))
}

fn local(rejection: &Rejection) -> Response<ReplyBody> {
    let id = uuid::Uuid::now_v7();
    rejection.response(Dialect::OpenAi, &id.to_string())
}
