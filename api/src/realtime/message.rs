//! The messages of graphql-transport-ws, and the codes under which a connection is closed for a fault of its client.

use serde_json::{Map, Value, json};

use crate::graphql::read_json;

/// The name of the protocol, as it is agreed on in the handshake.
pub(super) const PROTOCOL: &str = "graphql-transport-ws";

/// The longest id of an operation, in bytes.
const MAX_ID_BYTES: usize = 128;

/// What a client says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// Who it is.
    Init(Map<String, Value>),
    /// Begins an operation.
    Subscribe { id: String, payload: Value },
    /// Ends one.
    Complete { id: String },
    /// Wants to know whether we are there.
    Ping,
    /// We are.
    Pong,
}

/// A fault of the client, for which the protocol has a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Breach {
    /// A message that is none.
    BadMessage(String),
    /// A message that is too long.
    TooLong,
    /// An operation before anybody said who asks.
    Unauthorized(String),
    /// Nobody said who asks within the time for it.
    NoInit,
    /// Who asks was said twice.
    InitAgain,
    /// An operation of this id is under way.
    SameId(String),
}

impl Breach {
    /// The code.
    pub(super) const fn code(&self) -> u16 {
        match self {
            Self::TooLong => 1009,
            Self::BadMessage(_) => 4400,
            Self::Unauthorized(_) => 4401,
            Self::NoInit => 4408,
            Self::SameId(_) => 4409,
            Self::InitAgain => 4429,
        }
    }

    /// The reason.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::BadMessage(told) | Self::Unauthorized(told) => told.clone(),
            Self::TooLong => "the message is longer than a request may be".into(),
            Self::NoInit => "Connection initialisation timeout".into(),
            Self::InitAgain => "Too many initialisation requests".into(),
            Self::SameId(id) => format!("Subscriber for {id} already exists"),
        }
    }
}

/// Reads a message.
///
/// # Errors
/// [`Breach::BadMessage`] with the reason.
pub(super) fn read(text: &str) -> Result<Said, Breach> {
    let bad = |told: &str| Breach::BadMessage(told.to_owned());
    let Ok(Value::Object(mut message)) = read_json(text.as_bytes()) else {
        return Err(bad("a message is one JSON object"));
    };
    let kind = message.remove("type");
    match kind.as_ref().and_then(Value::as_str) {
        Some("connection_init") => match message.remove("payload") {
            None | Some(Value::Null) => Ok(Said::Init(Map::new())),
            Some(Value::Object(payload)) => Ok(Said::Init(payload)),
            Some(_) => Err(bad("the payload of `connection_init` is an object")),
        },
        Some("ping") => Ok(Said::Ping),
        Some("pong") => Ok(Said::Pong),
        Some("complete") => Ok(Said::Complete { id: id(&mut message)? }),
        Some("subscribe") => {
            let id = id(&mut message)?;
            let payload = message.remove("payload").ok_or_else(|| bad("`subscribe` needs a payload"))?;
            Ok(Said::Subscribe { id, payload })
        }
        _ => Err(bad("a message has a `type`: connection_init, subscribe, complete, ping or pong")),
    }
}

fn id(message: &mut Map<String, Value>) -> Result<String, Breach> {
    match message.remove("id") {
        Some(Value::String(id)) if (1..=MAX_ID_BYTES).contains(&id.len()) => Ok(id),
        _ => Err(Breach::BadMessage(format!("`id` is a text of 1 to {MAX_ID_BYTES} bytes"))),
    }
}

/// Somebody was let in.
pub(super) fn ack() -> String {
    json!({"type": "connection_ack"}).to_string()
}

/// We are there.
pub(super) fn pong() -> String {
    json!({"type": "pong"}).to_string()
}

/// An answer to an operation.
pub(super) fn next(id: &str, body: &Value) -> String {
    json!({"id": id, "type": "next", "payload": body}).to_string()
}

/// An operation that was refused, and has ended with that.
pub(super) fn error(id: &str, errors: &Value) -> String {
    json!({"id": id, "type": "error", "payload": errors}).to_string()
}

/// An operation has ended.
pub(super) fn complete(id: &str) -> String {
    json!({"id": id, "type": "complete"}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_and_others_refused() {
        assert_eq!(read(r#"{"type":"connection_init"}"#), Ok(Said::Init(Map::new())));
        assert_eq!(read(r#"{"type":"ping","payload":{"a":1}}"#), Ok(Said::Ping));
        assert_eq!(read(r#"{"type":"complete","id":"1"}"#), Ok(Said::Complete { id: "1".into() }));
        let said = read(r#"{"type":"subscribe","id":"1","payload":{"query":"x"}}"#);
        assert_eq!(said, Ok(Said::Subscribe { id: "1".into(), payload: json!({"query": "x"}) }));
        for bad in [
            "",
            "1",
            "{}",
            "[]",
            r#"{"type":"start","id":"1","payload":{}}"#,
            r#"{"type":"subscribe","id":"1"}"#,
            r#"{"type":"subscribe","id":"","payload":{}}"#,
            r#"{"type":"complete","id":1}"#,
            r#"{"type":"connection_init","payload":1}"#,
            r#"{"type":"ping","type":"pong"}"#,
        ] {
            assert_eq!(read(bad).unwrap_err().code(), 4400, "{bad}");
        }
    }
}
