//! How much of each limit a request leaves, and the headers that tell it.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// What is left of each limit.
const LEFT: HeaderName = HeaderName::from_static("ratelimit");

/// What each limit is.
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Where whoever sent a request stands with one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The limit's name: `address`, `user` or `key`.
    pub(super) name: &'static str,
    /// Requests that it grants in its window.
    pub(super) requests: u32,
    /// The window, in seconds.
    pub(super) window_s: u64,
    /// Requests that are left now.
    pub(super) left: u32,
    /// When more are there, in seconds: all where some are left, else the next.
    pub(super) after_s: u64,
}

/// Where a request stands with all limits that it was counted by. It goes with the request, and those who count
/// it add to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standings(Arc<Mutex<Vec<Standing>>>);

impl Standings {
    /// Adds one.
    pub(super) fn add(&self, standing: Standing) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(standing);
    }

    /// Tells them in the headers of draft-ietf-httpapi-ratelimit-headers.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        let (mut left, mut policy) = (String::new(), String::new());
        for standing in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let comma = if left.is_empty() { "" } else { ", " };
            let Standing { name, requests, window_s, left: rest, after_s } = standing;
            // Writing to a text does not fail.
            let written = write!(left, "{comma}\"{name}\";r={rest};t={after_s}")
                .and_then(|()| write!(policy, "{comma}\"{name}\";q={requests};w={window_s}"));
            debug_assert!(written.is_ok(), "a text can be written to");
        }
        for (name, text) in [(LEFT, left), (POLICY, policy)] {
            if let Ok(value) = HeaderValue::try_from(text)
                && !value.is_empty()
            {
                headers.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_limits_are_told_in_one_line_each() {
        let told = Standings::default();
        let mut headers = HeaderMap::new();
        told.tell(&mut headers);
        assert!(headers.is_empty());
        told.add(Standing { name: "address", requests: 100, window_s: 60, left: 99, after_s: 1 });
        told.add(Standing { name: "key", requests: 10, window_s: 1, left: 0, after_s: 7 });
        told.tell(&mut headers);
        assert_eq!(headers[LEFT], "\"address\";r=99;t=1, \"key\";r=0;t=7");
        assert_eq!(headers[POLICY], "\"address\";q=100;w=60, \"key\";q=10;w=1");
    }
}
