//! What a client gets when there is no room for its connection: a short answer, then the end. Costs no worker and next
//! to no memory.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::base::reject::Reason;
use crate::runtime::problem;

/// How long a turned-away client may take to read its answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Answers 503 and closes. Reads what the client sends meanwhile: closing over unread bytes would reset the connection,
/// and the answer with it.
pub async fn turn_away(mut stream: TcpStream) {
    let body = problem::text(Reason::Overloaded, "the gateway has no room for another connection", None);
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         retry-after: 1\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let answer = [head.as_bytes(), &body].concat();
    let _ = tokio::time::timeout(PATIENCE, async {
        stream.write_all(&answer).await?;
        stream.shutdown().await?;
        let mut sink = [0; 1024];
        while stream.read(&mut sink).await? > 0 {}
        std::io::Result::Ok(())
    })
    .await;
}
