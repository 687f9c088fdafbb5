//! GraphQL over a WebSocket, after the protocol graphql-transport-ws: the handshake, and who asks.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header, request};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::line::Line;
use super::message::{Breach, PROTOCOL, Said, ack, read};
use super::origin::may_open;
use super::seats::{Of, Seat};
use super::talk::{Talk, Upgraded};
use super::watch::watch;
use crate::audit::refused_credentials;
use crate::auth::{caller, origin};
use crate::error::{Fault, problem};
use crate::rate::network;
use crate::state::App;

/// What is read at once, in bytes: clients say little.
const READ_BYTES: usize = 4 * 1024;

/// What gathers before it is written, in bytes.
const WRITE_BYTES: usize = 8 * 1024;

/// The most that may wait to be written, in bytes.
const MAX_WRITE_BYTES: usize = 8 * 1024 * 1024;

/// WebSockets from one address whose clients have not said who they are yet.
const STRANGERS: usize = 64;

/// By which words of a `connection_init` a client shows credentials: those of the headers.
const CREDENTIALS: [&str; 2] = ["authorization", "x-api-key"];

/// Answers the handshake of a WebSocket at `/graphql`, and refuses all else that is no POST.
pub(crate) async fn upgrade(State(app): State<App>, mut request: Request) -> Response<Body> {
    let headers = request.headers();
    let asks = request.method() == Method::GET && says(headers, &header::UPGRADE, "websocket");
    if !asks || !says(headers, &header::CONNECTION, "upgrade") {
        let told = "this path takes POST, and GET for the handshake of a WebSocket alone";
        let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, told);
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    if !may_open(headers, &app.config.origins) {
        return problem(StatusCode::FORBIDDEN, "a page of another site may not open a WebSocket here");
    }
    if !says(headers, &header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return problem(
            StatusCode::BAD_REQUEST,
            format!("the WebSocket must speak `{PROTOCOL}`, and say so"),
        );
    }
    let Some(key) = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .filter(|_| says(headers, &header::SEC_WEBSOCKET_VERSION, "13"))
    else {
        return problem(StatusCode::BAD_REQUEST, "the handshake lacks a key or is not of version 13");
    };
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let (Ok(accept), Some(room)) = (accept, app.live.socket_room()) else {
        return problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "there is no room for another live connection; try again",
        );
    };
    let upgrading = hyper::upgrade::on(&mut request);
    let (head, _) = request.into_parts();
    let of = Of::Strangers(network(origin(&app, &head).address));
    let stranger = match app.live.seats.take(of, STRANGERS) {
        Ok(stranger) => stranger,
        Err(error) => return problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    app.live.tasks.spawn({
        let app = app.clone();
        async move {
            match upgrading.await {
                Ok(upgraded) => serve(&app, TokioIo::new(upgraded), head, stranger).await,
                Err(error) => tracing::debug!(%error, "a connection did not become a WebSocket"),
            }
            drop(room);
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
    response
}

/// Whether one of the words of a header is this.
fn says(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let words = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    words.map(str::trim).any(|one| one.eq_ignore_ascii_case(word))
}

/// Serves a connection until either end closes it.
async fn serve(app: &App, upgraded: Upgraded, head: request::Parts, stranger: Seat) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(app.config.limits.body_bytes))
        .max_frame_size(Some(app.config.limits.body_bytes))
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_write_buffer_size(MAX_WRITE_BYTES);
    let mut talk = Talk::new(WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await);
    match admit(app, &mut talk, head, stranger).await {
        Ok(Some(line)) => talk.run(app, line).await,
        Ok(None) => {}
        Err(breach) => talk.close(breach.code(), &breach.reason()).await,
    }
}

/// Waits until the client has said who it is; none when it went away. Its seat among strangers is free before it hears that
/// it is known.
async fn admit(
    app: &App,
    talk: &mut Talk,
    mut head: request::Parts,
    stranger: Seat,
) -> Result<Option<Arc<Line>>, Breach> {
    let first =
        tokio::time::timeout(app.config.limits.live_init, talk.hear()).await.map_err(|_| Breach::NoInit)?;
    let Some(first) = first? else { return Ok(None) };
    let payload = match read(&first)? {
        Said::Init(payload) => payload,
        Said::Subscribe { .. } | Said::Complete { .. } | Said::Ping | Said::Pong => {
            return Err(Breach::Unauthorized("Unauthorized".into()));
        }
    };
    show(&mut head.headers, &payload)?;
    let caller = match caller(app, &head).await {
        Ok(caller) => caller,
        Err(fault) => {
            if let Fault::BadCredentials(_) = fault {
                refused_credentials(app, &origin(app, &head));
            }
            return refused(talk, &fault).await;
        }
    };
    let line = match app.live.open(caller, &app.config.limits) {
        Ok(line) => line,
        Err(error) => return refused(talk, &error.into()).await,
    };
    tokio::spawn(watch(app.clone(), Arc::downgrade(&line), head.headers));
    drop(stranger);
    if !talk.say(ack()).await {
        return Ok(None);
    }
    Ok(Some(line))
}

/// Sends somebody away: for good when it is their credentials, and otherwise to come back.
async fn refused(talk: &mut Talk, fault: &Fault) -> Result<Option<Arc<Line>>, Breach> {
    if let Fault::BadCredentials(told) = fault {
        return Err(Breach::Unauthorized(told.clone()));
    }
    /// Try again later.
    const LATER: u16 = 1013;
    talk.close(LATER, &fault.to_string()).await;
    Ok(None)
}

/// Takes the credentials of a `connection_init` in place of those of the handshake.
fn show(headers: &mut HeaderMap, payload: &Map<String, Value>) -> Result<(), Breach> {
    let shown: Vec<_> = payload
        .iter()
        .filter_map(|(name, value)| {
            let name = name.to_ascii_lowercase();
            CREDENTIALS.into_iter().find(|known| *known == name).map(|known| (known, value))
        })
        .collect();
    if shown.is_empty() {
        return Ok(());
    }
    CREDENTIALS.into_iter().for_each(|name| drop(headers.remove(name)));
    for (name, value) in shown {
        let value = value.as_str().and_then(|text| HeaderValue::from_str(text).ok());
        let value = value
            .ok_or_else(|| Breach::BadMessage(format!("`{name}` in `connection_init` is a plain text")))?;
        headers.append(name, value);
    }
    Ok(())
}
