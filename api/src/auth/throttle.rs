//! Limits how often a login may fail, by e-mail address and by network address.

use std::net::IpAddr;

use jobs::Result;
use rules::access::Email;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

use super::store;
use crate::config::Limits;
use crate::error::Fault;

/// Old counts that each attempt clears away. More than one attempt can leave, so the table shrinks.
const SWEEP: i64 = 8;

/// Counts an attempt on both counts before the password is looked at.
///
/// # Errors
/// [`Fault::RateLimited`] when one of them is full.
pub(crate) async fn charge(
    conn: &mut PgConnection,
    limits: &Limits,
    email: &Email,
    address: IpAddr,
) -> Result<(), Fault> {
    let window_s = limits.login_window.as_secs_f64();
    store::sweep_attempts(conn, SWEEP).await?;
    // The network address first: who is refused by it must not fill up somebody's e-mail address as well.
    let counts = [
        ("login_address", by_address(address), limits.login_by_address),
        ("login_email", by_email(email), limits.login_by_email),
    ];
    for (name, key, limit) in counts {
        if let Some(retry_after_s) = store::count_attempt(conn, &key, limit, window_s).await? {
            jobs::metrics::rate_limited(name);
            return Err(Fault::RateLimited("attempts", retry_after_s));
        }
    }
    Ok(())
}

/// Takes an attempt back that turned out to be right.
///
/// # Errors
/// Unavailable when nobody answers.
pub(crate) async fn forgive(conn: &mut PgConnection, email: &Email, address: IpAddr) -> Result<()> {
    store::forget_attempts(conn, &by_email(email)).await?;
    // Only this one: else somebody with one account could try all others in between.
    store::uncount_attempt(conn, &by_address(address)).await
}

/// Forgets what was counted of an e-mail address, so that whoever has its password gets in. What was counted of the
/// network addresses stays.
///
/// # Errors
/// Unavailable when nobody answers.
pub(crate) async fn release(conn: &mut PgConnection, email: &Email) -> Result<()> {
    store::forget_attempts(conn, &by_email(email)).await
}

fn by_email(email: &Email) -> String {
    format!("email:{}", hex::encode(Sha256::digest(email.as_str())))
}

/// An IPv6 client owns a whole /64, so that is what is counted.
fn by_address(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => format!("address:{v4}"),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("address:{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_is_one_count() {
        let key = |text: &str| by_address(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:2"));
        assert_ne!(key("2001:db8:0:1::1"), key("2001:db8:0:2::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert!(!by_email(&"ada@example.org".parse().unwrap()).contains("ada"));
    }
}
