//! HTTP/1 messages as bytes on a socket, for both sides of a test: nothing here corrects what the other side wrote, and
//! nothing waits for ever.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long the other side may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// One end of a connection, with what was read beyond the last message.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// The first line of a message and its fields, as they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    /// The request line or the status line.
    pub(crate) line: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &str) -> Self {
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Self { line, fields }
    }

    /// Every value of a field, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(known, _)| known == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// The value of a field that is there at most once.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there more than once: {self:?}");
        all.first().copied()
    }

    /// Whether a field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The names of all fields, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.fields.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The status, of a response.
    pub(crate) fn status(&self) -> u16 {
        let status = self.line.split(' ').nth(1).and_then(|status| status.parse().ok());
        status.unwrap_or_else(|| panic!("no status in {:?}", self.line))
    }

    /// The target, of a request.
    pub(crate) fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }

    fn is_chunked(&self) -> bool {
        self.all("transfer-encoding").contains(&"chunked")
    }

    fn length(&self) -> Option<usize> {
        self.get("content-length").map(|length| length.parse().unwrap())
    }
}

/// A body and the trailers behind it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    /// The bytes, without chunk framing.
    pub(crate) bytes: Vec<u8>,
    /// The trailer fields.
    pub(crate) trailers: Head,
}

impl Wire {
    /// One end of this connection.
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, unread: Vec::new() }
    }

    /// Sends bytes. What the other side does not take is the test's next observation, not a failure of this.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_send(bytes).await;
    }

    /// Sends bytes.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("sending", self.stream.write_all(bytes.as_ref())).await
    }

    /// Sends as much as the connection takes at once.
    pub(crate) fn send_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Ends the connection with a reset.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// The next head; `None` when the connection ends before it is complete.
    pub(crate) async fn head(&mut self) -> Option<Head> {
        let end = self.until(b"\r\n\r\n").await?;
        let text = String::from_utf8_lossy(&self.unread[..end - 4]).into_owned();
        self.unread.drain(..end);
        Some(Head::parse(&text))
    }

    /// What follows a head. `None` when the connection ends within it.
    pub(crate) async fn content(&mut self, head: &Head, until_close: bool) -> Option<Content> {
        if head.is_chunked() {
            return self.chunks().await;
        }
        let bytes = match head.length() {
            Some(length) => self.exactly(length).await?,
            None if until_close => self.rest().await.ok()?,
            None => Vec::new(),
        };
        let trailers = Head::default();
        Some(Content { bytes, trailers })
    }

    async fn chunks(&mut self) -> Option<Content> {
        let mut content = Content::default();
        loop {
            let end = self.until(b"\r\n").await?;
            let size = String::from_utf8_lossy(&self.unread[..end - 2]).into_owned();
            self.unread.drain(..end);
            let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
            if size == 0 {
                break;
            }
            content.bytes.extend(self.exactly(size).await?);
            assert_eq!(self.exactly(2).await?, b"\r\n");
        }
        let mut trailers = String::new();
        loop {
            let end = self.until(b"\r\n").await?;
            let line: Vec<u8> = self.unread.drain(..end).collect();
            if line == b"\r\n" {
                break;
            }
            trailers.push_str("\r\n");
            trailers.push_str(String::from_utf8_lossy(&line).trim_end());
        }
        content.trailers = Head::parse(&trailers);
        Some(content)
    }

    /// This many bytes; `None` when the connection ends before.
    pub(crate) async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.unread.len() < length {
            self.more().await.ok().filter(|read| *read > 0)?;
        }
        Some(self.unread.drain(..length).collect())
    }

    /// Everything up to the end of the connection.
    pub(crate) async fn rest(&mut self) -> io::Result<Vec<u8>> {
        while self.more().await? > 0 {}
        Ok(std::mem::take(&mut self.unread))
    }

    /// Waits for the end of the connection, and returns what came before, whether it ended well or not.
    pub(crate) async fn ended(&mut self) -> Vec<u8> {
        while self.more().await.is_ok_and(|read| read > 0) {}
        std::mem::take(&mut self.unread)
    }

    /// The position behind the next `mark`; `None` when the connection ends before it.
    async fn until(&mut self, mark: &[u8]) -> Option<usize> {
        loop {
            let found = self.unread.windows(mark.len()).position(|window| window == mark);
            if let Some(at) = found {
                return Some(at + mark.len());
            }
            self.more().await.ok().filter(|read| *read > 0)?;
        }
    }

    async fn more(&mut self) -> io::Result<usize> {
        self.unread.reserve(64 * 1024);
        within("reading", self.stream.read_buf(&mut self.unread)).await
    }
}

/// Lets `work` take its time, but not for ever.
pub(crate) async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} took longer than {PATIENCE:?}"),
    }
}
