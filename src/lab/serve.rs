//! A small graceful HTTP server for one axum router: HTTP/1.1 and HTTP/2 with prior knowledge on one port. Knows
//! nothing of what it serves.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::util::{MapRequest, ServiceExt};

/// Open connections at one time; more wait in the listener's queue.
const MAX_CONNECTIONS: usize = 1024;
/// Time to read a request head.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which is most often a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type App = MapRequest<Router, fn(Request<Incoming>) -> Request<Body>>;

/// Serves `router` until `shutdown` resolves, then stops accepting and returns when the last request in flight has
/// been answered. Dropping the returned future cuts every connection.
pub async fn serve(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let app: App = router.map_request(|request| request.map(Body::new));
    let closing = CancellationToken::new();
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, app.clone(), closing.clone()))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    closing.cancel();
    while connections.join_next().await.is_some() {}
}

/// Serves one connection to its end, or to the end of its current requests once `closing` is cancelled.
async fn connection(stream: TcpStream, app: App, closing: CancellationToken) {
    // What fails here is the client's doing: it left, or spoke something else. There is nobody to tell.
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app)));
    tokio::select! {
        _ = serving.as_mut() => return,
        () = closing.cancelled() => serving.as_mut().graceful_shutdown(),
    }
    let _ = serving.await;
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::StatusCode;
    use http_body_util::{BodyExt, Empty};
    use hyper::client::conn::http2::handshake;

    use super::*;
    use crate::base::tasks;
    use crate::lab::hello;

    #[tokio::test]
    async fn http2_with_prior_knowledge_is_spoken_and_a_request_in_flight_is_finished() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tasks::spawn(serve(listener, hello::router("me"), stop.clone().cancelled_owned()));

        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, driver) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let _driver = tasks::spawn(async move { drop(driver.await) });
        let request = Request::get("http://app/stream/3").body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);

        stop.cancel();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.ends_with(b"data: 3\n\n"), "{body:?}");
        serving.finished().await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
