//! Clients of what is told while it happens: a WebSocket, and a stream of server-sent events.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::{Client, wait};

/// A WebSocket with graphql-transport-ws.
pub struct Talk(WebSocketStream<TcpStream>);

/// What comes over it.
#[derive(Debug, Clone, PartialEq)]
pub enum Came {
    /// A message.
    Message(Value),
    /// The end, with code and reason.
    Closed(u16, String),
}

impl Talk {
    /// Opens a connection and says nothing yet.
    ///
    /// # Errors
    /// The status of a handshake that is refused.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn shake(to: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Self, u16> {
        let mut request = format!("ws://{to}/graphql").into_client_request().expect("a request");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", "graphql-transport-ws".parse().expect("a name"));
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let stream = TcpStream::connect(to).await.expect("the server answers");
        match client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("no handshake: {error}"),
        }
    }

    /// Opens a connection as a client; its credentials go with `connection_init`.
    ///
    /// # Panics
    /// When it is not let in.
    pub async fn open(client: &Client) -> Self {
        let mut talk = Self::shake(client.address(), &[]).await.expect("a handshake");
        let shown: serde_json::Map<String, Value> =
            client.headers().iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        talk.say(json!({"type": "connection_init", "payload": shown})).await;
        assert_eq!(talk.next().await, Came::Message(json!({"type": "connection_ack"})));
        talk
    }

    /// What comes, byte for byte, up to the end of the connection, at which nothing is said any more: no ping is answered.
    ///
    /// # Panics
    /// When it does not end for long.
    pub async fn mute(mut self) -> Vec<u8> {
        let mut told = Vec::new();
        let reading = self.0.get_mut().read_to_end(&mut told);
        let read = tokio::time::timeout(wait::LIMIT, reading).await.expect("the connection ends");
        // A connection that is cut has told what it told.
        drop(read);
        told
    }

    /// Sends a message.
    ///
    /// # Panics
    /// When the connection is gone.
    pub async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.expect("the connection stands");
    }

    /// Begins an operation.
    pub async fn subscribe(&mut self, id: &str, query: &str, variables: Value) {
        let payload = json!({"query": query, "variables": variables});
        self.say(json!({"id": id, "type": "subscribe", "payload": payload})).await;
    }

    /// What comes next.
    ///
    /// # Panics
    /// When nothing does for long.
    pub async fn next(&mut self) -> Came {
        loop {
            let came = tokio::time::timeout(wait::LIMIT, self.0.next()).await.expect("something comes");
            match came {
                Some(Ok(Message::Text(text))) => {
                    return Came::Message(serde_json::from_str(&text).expect("JSON"));
                }
                Some(Ok(Message::Close(Some(frame)))) => {
                    return Came::Closed(frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Came::Closed(1006, String::new()),
            }
        }
    }

    /// The next text as it is, however long it takes to come; none at the end.
    pub async fn text(&mut self) -> Option<String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Some(text.as_str().to_owned()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The event that an operation tells next.
    ///
    /// # Panics
    /// When something else comes.
    pub async fn event(&mut self, field: &str) -> Value {
        match self.next().await {
            Came::Message(message) if message["type"] == "next" => message["payload"]["data"][field].clone(),
            other => panic!("no event: {other:?}"),
        }
    }
}

/// A stream of server-sent events, of one operation.
pub struct Stream(BufReader<TcpStream>);

impl Stream {
    /// Sends an operation whose answers are to come as they are made.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn open(client: &Client, query: &str, variables: Value) -> Self {
        let body = json!({"query": query, "variables": variables}).to_string();
        let mut head = String::from("POST /graphql HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        head += "content-type: application/json\r\naccept: text/event-stream\r\n";
        for (name, value) in client.headers() {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        let mut stream = TcpStream::connect(client.address()).await.expect("the server answers");
        stream.write_all(head.as_bytes()).await.expect("the server reads");
        Self(BufReader::new(stream))
    }

    /// The next answer; none when the stream has ended, and whether it was complete is told by [`Stream::rest`].
    ///
    /// # Panics
    /// When nothing comes for long.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            let line = self.line().await?;
            // The frames of the transfer stand on lines of their own.
            let Some(data) = line.strip_prefix("data: ").filter(|data| !data.is_empty()) else { continue };
            return Some(serde_json::from_str(data).expect("JSON"));
        }
    }

    /// All lines up to the end.
    pub async fn rest(mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(line) = self.line().await {
            lines.push(line);
        }
        lines
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read =
            tokio::time::timeout(wait::LIMIT, self.0.read_line(&mut line)).await.expect("something comes");
        (read.ok()? > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }
}
