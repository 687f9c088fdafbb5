//! `millrace webhook sign`: signs a body as a sender would.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use jobs::Error;
use rules::signature::{self, ID_HEADER, SIGNATURE_HEADER, Secret, TIMESTAMP_HEADER};
use serde_json::json;

use crate::command::Webhook;
use crate::table::print_said;

pub(crate) fn run(command: Webhook) -> anyhow::Result<()> {
    let Webhook::Sign { body, secret, id, timestamp, output } = command;
    let secret = secret.ok_or_else(|| {
        Error::invalid(
            "there is no secret to sign with; set `WEBHOOK_SECRET` to what `createListener` or `rotateListenerSecret` told",
        )
    })?;
    let secret = Secret::decode(&secret).map_err(|fault| {
        Error::invalid(format!(
            "the secret in `WEBHOOK_SECRET` or `--secret` is none of a listener: {fault}; take it as `createListener` or \
             `rotateListenerSecret` told it"
        ))
    })?;
    let id = id.unwrap_or_else(|| format!("msg_{}", uuid::Uuid::new_v4().simple()));
    let timestamp = timestamp.unwrap_or_else(now_s);
    let body = read(body)?;
    let signed =
        signature::sign(&secret, &id, timestamp, &body).map_err(|r| Error::invalid(r.to_string()))?;
    let headers = json!({ ID_HEADER: id, TIMESTAMP_HEADER: timestamp.to_string(), SIGNATURE_HEADER: signed });
    // The form that `curl -H @file` reads.
    let said = format!("{ID_HEADER}: {id}\n{TIMESTAMP_HEADER}: {timestamp}\n{SIGNATURE_HEADER}: {signed}");
    print_said(output, &headers, &said)?;
    Ok(())
}

/// Seconds since 1970 by this machine's clock, which is the sender's.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn read(path: Option<PathBuf>) -> jobs::Result<Vec<u8>> {
    let path = path.unwrap_or_else(|| PathBuf::from("-"));
    let read = if path == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(&path)
    };
    read.map_err(|error| Error::invalid(format!("`{}` cannot be read: {error}", path.display())))
}
