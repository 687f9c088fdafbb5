//! Speaks to the running system over HTTP, as any client would.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// The largest answer read, in bytes.
const ANSWER_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// A client of one server, with what it shows to be let in.
#[derive(Debug, Clone)]
pub(super) struct Client {
    address: String,
    /// The header that names the caller.
    credential: Option<(&'static str, String)>,
}

impl Client {
    /// A client that nobody knows.
    pub(super) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), credential: None }
    }

    /// The same, logged in.
    pub(super) fn with_token(&self, token: &str) -> Self {
        Self { credential: Some(("authorization", format!("Bearer {token}"))), ..self.clone() }
    }

    /// The same, with an API key.
    pub(super) fn with_key(&self, key: &str) -> Self {
        Self { credential: Some(("x-api-key", key.to_owned())), ..self.clone() }
    }

    /// The same address, with nothing to show: a sender of webhooks.
    pub(super) fn stranger(&self) -> Self {
        Self::new(&self.address)
    }

    /// Performs a GraphQL operation and gives its `data`.
    pub(super) async fn graphql(&self, query: &str, variables: Value) -> anyhow::Result<Value> {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let (status, answer) = self.post("/graphql", &[], body.into_bytes()).await?;
        if let Some(error) = answer["errors"].get(0) {
            let operation = query.trim().lines().next().unwrap_or("");
            bail!("`{operation}` was refused ({}): {}", error["extensions"]["code"], error["message"]);
        }
        ensure!(status == StatusCode::OK, "GraphQL answered {status}: {answer}");
        Ok(answer["data"].clone())
    }

    /// Posts JSON and gives the status and the answer, which is null when it is no JSON.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", &self.address)
            .header("content-type", "application/json")
            .header("accept", "application/json");
        if let Some((name, value)) = &self.credential {
            request = request.header(*name, value);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        tokio::time::timeout(CALL_LIMIT, self.send(request))
            .await
            .with_context(|| format!("`{path}` did not answer within {} s", CALL_LIMIT.as_secs()))?
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> anyhow::Result<(StatusCode, Value)> {
        let stream = TcpStream::connect(&self.address).await.with_context(|| {
            format!(
                "nothing listens on `{}`; start the system with `make up` in another terminal",
                self.address
            )
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let driving = tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_LIMIT_BYTES)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?
            .to_bytes();
        drop(sender);
        driving.await??;
        Ok((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
    }
}
