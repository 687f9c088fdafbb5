//! A client of few words: what a test writes is what is sent, byte for byte.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What stands before the id of an error in a body.
const ERROR_ID: &str = r#""errorId":""#;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub text: String,
}

/// Two answers are equal when they say the same; their headers hold a time and an id of each, and each error the
/// id under which it is recorded.
impl PartialEq for Answer {
    fn eq(&self, other: &Self) -> bool {
        (self.status, self.said()) == (other.status, other.said())
    }
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The body without the ids under which its errors are recorded.
    pub fn said(&self) -> String {
        let mut parts = self.text.split(ERROR_ID);
        let mut said = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            said += ERROR_ID;
            said += part.split_once('"').map_or(part, |(_, rest)| rest);
        }
        said
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }
}

/// Sends one request on a connection of its own and reads the answer to its end.
///
/// # Panics
/// When there is no answer.
pub async fn send(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    try_send(to, method, path, headers, body).await.expect("the server answers")
}

/// As [`send`], to a server that may be gone or go before it has answered.
///
/// # Errors
/// When no whole answer came.
pub async fn try_send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    let mut stream = TcpStream::connect(to).await?;
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    try_read(stream).await
}

/// Reads an answer up to the end of the connection.
///
/// # Panics
/// When it is no HTTP.
pub async fn read(stream: TcpStream) -> Answer {
    try_read(stream).await.expect("the answer is sent whole")
}

async fn try_read(mut stream: TcpStream) -> io::Result<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let text = String::from_utf8(bytes).map_err(io::Error::other)?;
    parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, format!("no answer: {text:?}")))
}

/// An answer, if it is whole.
fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines.filter_map(|l| l.split_once(": ")).map(|(n, v)| (n.to_lowercase(), v.to_owned()));
    let answer = Answer { status, headers: headers.collect(), text: body.to_owned() };
    let length = answer.header("content-length").and_then(|l| l.parse().ok());
    length.is_none_or(|length: usize| length == body.len()).then_some(answer)
}
