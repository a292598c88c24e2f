//! Clients: one that says exactly what a test wants in HTTP/1, and one that speaks HTTP/2 with prior knowledge.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpSocket, TcpStream};

use super::wire::{Content, Head, Wire, within};

/// An HTTP/1 client on one connection.
#[derive(Debug)]
pub(crate) struct Client(Wire);

/// A response, whole.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) content: Content,
}

impl Answer {
    /// The status.
    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.content.bytes).into_owned()
    }

    /// The code of a refusal, which has the form that every refusal has.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.head.get("content-type"), Some("application/problem+json"), "{self:?}");
        let problem: serde_json::Value = serde_json::from_slice(&self.content.bytes).unwrap();
        assert_eq!(problem["status"], self.status(), "{problem}");
        assert_eq!(problem["type"], "about:blank", "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        if let Some(id) = problem.get("request_id") {
            assert_eq!(id.as_str(), self.head.get("x-request-id"), "{problem}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }

    /// Status and code of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status(), self.code())
    }
}

impl Client {
    /// A new connection.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(Wire::new(TcpStream::connect(address).await.unwrap()))
    }

    /// Over a connection that the test has made.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self(Wire::new(stream))
    }

    /// A new connection that takes in little before it is read.
    pub(crate) async fn connect_narrow(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.set_send_buffer_size(4096).unwrap();
        Self(Wire::new(socket.connect(address).await.unwrap()))
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.0.reset();
    }

    /// Sends a request, given whole, and reads the answer to it.
    pub(crate) async fn ask(&mut self, request: impl AsRef<[u8]>) -> Answer {
        let to_head = request.as_ref().starts_with(b"HEAD ");
        self.send(request).await;
        match self.answer_to(to_head).await {
            Some(answer) => answer,
            None => panic!("the connection ended before the answer did"),
        }
    }

    /// A bodiless request to this target, and its answer.
    pub(crate) async fn get(&mut self, target: &str) -> Answer {
        self.ask(format!("GET {target} HTTP/1.1\r\nHost: gate\r\n\r\n")).await
    }

    /// The next answer; `None` when the connection ends within it.
    pub(crate) async fn answer(&mut self) -> Option<Answer> {
        self.answer_to(false).await
    }

    async fn answer_to(&mut self, to_head: bool) -> Option<Answer> {
        let head = self.head().await?;
        let bodiless = to_head || matches!(head.status(), 100..=199 | 204 | 304);
        let content = match bodiless {
            true => Content::default(),
            false => self.content(&head, true).await?,
        };
        Some(Answer { head, content })
    }
}

impl Deref for Client {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.0
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.0
    }
}

/// One request on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    Client::connect(address).await.ask(request).await
}

/// One bodiless request on a connection of its own.
pub(crate) async fn get(address: SocketAddr, target: &str) -> Answer {
    Client::connect(address).await.get(target).await
}

/// An HTTP/2 client on one connection; clones share it.
pub(crate) struct Client2<B>(SendRequest<B>);

impl<B> Clone for Client2<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Client2<B>
where
    B: Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A new connection.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// Sends a request and waits for the response head.
    pub(crate) async fn send(&mut self, request: Request<B>) -> hyper::Result<Response<Incoming>> {
        within("an answer", async {
            self.0.ready().await?;
            self.0.send_request(request).await
        })
        .await
    }
}

impl Client2<Full<Bytes>> {
    /// A bodiless request to this target and its answer: status and body.
    pub(crate) async fn get(&mut self, target: &str) -> (u16, String) {
        let request = Request::get(format!("http://gate{target}")).body(Full::default()).unwrap();
        let response = self.send(request).await.unwrap();
        let status = response.status().as_u16();
        (status, text(response).await)
    }
}

/// The body of a response, whole.
pub(crate) async fn text(response: Response<Incoming>) -> String {
    let bytes = within("a body", response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}
