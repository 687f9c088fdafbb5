//! Takes in what became of machines: whether their checks are made, and what is said of those that are not.

use std::time::Duration;

use rules::health::{Standing, Status, standing};
use sqlx::PgConnection;

use super::store::{self, Behind, Followed};
use crate::Result;

/// Within which time the first checks of a machine are spread whose host came back, or that was just made: they
/// are many at once.
const SPREAD: Duration = Duration::from_secs(30);

/// Takes in machines of which the schedule is behind, at most so many. Returns how many there were.
///
/// # Errors
/// Unavailable when nobody answers.
pub async fn follow(conn: &mut PgConnection, limit: i64) -> Result<usize> {
    let behind = store::behind(conn, limit).await?;
    let (gone, there): (Vec<&Behind>, Vec<&Behind>) = behind.iter().partition(|b| b.is_destroyed);
    if !gone.is_empty() {
        store::forget(conn, &gone).await?;
    }
    if !there.is_empty() {
        let followed: Vec<Followed<'_>> = there.iter().map(|b| take_in(b)).collect();
        store::take_in(conn, &followed).await?;
        let unheard: Vec<&Followed<'_>> = followed.iter().filter(|f| f.is_unheard).collect();
        if !unheard.is_empty() {
            store::unheard(conn, &unheard).await?;
        }
    }
    Ok(behind.len())
}

/// What the schedule says of a machine from now on.
fn take_in(behind: &Behind) -> Followed<'_> {
    let now = standing(behind.wanted, behind.seen, behind.host_answers);
    let before = behind.before.as_ref();
    let (status, reason, within) = match now {
        Standing::Parked => (Status::Parked, Some("it is switched off".to_owned()), None),
        Standing::Unheard => {
            (Status::Unknown, Some(format!("its host `{}` does not answer", behind.host)), None)
        }
        Standing::Due => match before {
            // It was checked all along: what differs is to be seen soon.
            Some(before) if before.standing == Some(Standing::Due) => {
                (before.status, before.reason.clone(), Some(Duration::ZERO))
            }
            // Switched on: somebody looks.
            Some(before) if before.standing == Some(Standing::Parked) => {
                (Status::Unknown, Some("it was not checked since it is on".to_owned()), Some(Duration::ZERO))
            }
            Some(_) | None => (Status::Unknown, Some("it was not checked yet".to_owned()), Some(SPREAD)),
        },
    };
    Followed { of: behind, status, reason, within, is_unheard: now == Standing::Unheard }
}
