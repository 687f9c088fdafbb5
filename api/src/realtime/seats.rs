//! Counts how many of a thing somebody holds at this process, and refuses one too many.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jobs::{Code, Error};
use rules::access::Principal;
use uuid::Uuid;

/// What is held, by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    /// Live connections of a user or key.
    Connections(Uuid),
    /// Subscriptions of a user or key.
    Subscriptions(Uuid),
    /// Subscriptions of a connection, by its number.
    OnLine(u64),
    /// WebSockets from a network whose clients have not said who they are.
    Strangers(u128),
}

/// All that is held.
#[derive(Default)]
pub(crate) struct Seats(Arc<Mutex<HashMap<Of, usize>>>);

/// One of it, given back when dropped.
pub(crate) struct Seat {
    of: Of,
    all: Arc<Mutex<HashMap<Of, usize>>>,
}

/// Who holds it. Nobody in particular is one holder, too.
pub(crate) fn holder(principal: Option<&Principal>) -> Uuid {
    match principal {
        Some(Principal::User { id, .. }) => id.0,
        Some(Principal::Key { id, .. }) => id.0,
        None => Uuid::nil(),
    }
}

impl Seats {
    /// One more of it, of at most so many.
    ///
    /// # Errors
    /// Exhausted when so many are held.
    pub(crate) fn take(&self, of: Of, most: usize) -> Result<Seat, Error> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(of).or_default();
        if *count >= most {
            let what = match of {
                Of::Connections(_) => "live connections of this user or key",
                Of::Subscriptions(_) => "subscriptions of this user or key",
                Of::OnLine(_) => "subscriptions on this connection",
                Of::Strangers(_) => "live connections from this address that have not said who they are",
            };
            let told = format!("there are {most} {what} here, the most that there may be; end some");
            return Err(Error::new(Code::Exhausted, told));
        }
        *count += 1;
        Ok(Seat { of, all: Arc::clone(&self.0) })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut held = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.of);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_too_many_is_refused_until_one_is_given_back() {
        let seats = Seats::default();
        let of = Of::Subscriptions(Uuid::nil());
        let first = seats.take(of, 2).unwrap_or_else(|_| panic!("the first"));
        let second = seats.take(of, 2).unwrap_or_else(|_| panic!("the second"));
        assert!(seats.take(of, 2).is_err());
        assert!(seats.take(Of::Connections(Uuid::nil()), 1).is_ok());
        drop(first);
        assert!(seats.take(of, 2).is_ok());
        drop(second);
        assert!(seats.0.lock().unwrap().is_empty());
    }
}
