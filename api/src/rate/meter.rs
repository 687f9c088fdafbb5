//! Counts requests against the limits.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Extensions;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::{Quota, RateLimiter};
use rules::access::Principal;

use super::known::{Known, OTHERS};
use super::limit::{RateLimit, RateLimits};
use super::standing::{Standing, Standings};
use crate::error::Fault;

/// How many addresses, users or keys one limit tells apart: some five megabytes. Whoever comes when so many have
/// asked within the limit's window shares one count with their neighbours who do: of an address those of its /32 in
/// IPv6, and of its /16 in IPv4, of which there is room for a bounded number, too; of a user or key all others.
const MAX_KNOWN: usize = 100_000;

/// How often those are forgotten at most who have all of their requests again, once there is no room for others.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// One limit and all who are counted by it.
#[derive(Debug)]
struct Meter {
    name: &'static str,
    /// Of what there were too many, for those who are told.
    what: &'static str,
    requests: u32,
    window_s: u64,
    limiter: RateLimiter<u128, Known, DefaultClock, StateInformationMiddleware>,
    swept: Mutex<Option<Instant>>,
}

impl Meter {
    fn new(
        name: &'static str,
        what: &'static str,
        limit: RateLimit,
        together: fn(u128) -> u128,
    ) -> Option<Self> {
        let RateLimit::Of { requests, window } = limit else { return None };
        let quota = Quota::with_period(window / requests.get())?.allow_burst(requests);
        let limiter = RateLimiter::new(quota, Known::new(MAX_KNOWN, together), DefaultClock::default());
        let (requests, window_s) = (requests.get(), window.as_secs());
        Some(Self { name, what, requests, window_s, limiter, swept: Mutex::default() })
    }

    /// Counts one request. `None` where it is one too many.
    fn count(&self, of: u128) -> (Standing, Option<Fault>) {
        self.make_room();
        let stands = |left, wait: Duration| Standing {
            name: self.name,
            requests: self.requests,
            window_s: self.window_s,
            left,
            after_s: wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
        };
        match self.limiter.check_key(&of) {
            Ok(snapshot) => {
                let left = snapshot.remaining_burst_capacity().min(self.requests);
                let until_all = snapshot.quota().replenish_interval().saturating_mul(self.requests - left);
                (stands(left, until_all), None)
            }
            Err(until) => {
                jobs::metrics::rate_limited(self.name);
                let standing =
                    stands(0, until.wait_time_from(self.limiter.clock().now()).max(Duration::from_secs(1)));
                let after_s = i64::try_from(standing.after_s).unwrap_or(i64::MAX);
                (standing, Some(Fault::RateLimited(self.what, after_s)))
            }
        }
    }

    /// Forgets those who stand as if they had never asked, when there is no room for others.
    fn make_room(&self) {
        if self.limiter.len() < MAX_KNOWN {
            return;
        }
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            *swept = Some(Instant::now());
            drop(swept);
            self.limiter.retain_recent();
        }
    }
}

/// All limits. Those that are off are not there.
#[derive(Debug)]
pub(crate) struct Meters {
    address: Option<Meter>,
    user: Option<Meter>,
    key: Option<Meter>,
}

impl Meters {
    /// With these limits.
    pub(crate) fn new(limits: &RateLimits) -> Self {
        Self {
            address: Meter::new("address", "requests from this address", limits.address, neighbours),
            user: Meter::new("user", "requests of this user", limits.user, |_| OTHERS),
            key: Meter::new("key", "requests of this API key", limits.key, |_| OTHERS),
        }
    }

    /// Counts a request by the address that it comes from.
    ///
    /// # Errors
    /// [`Fault::RateLimited`] when it is one too many.
    pub(super) fn charge_address(&self, address: IpAddr, told: &Standings) -> Result<(), Fault> {
        charge(self.address.as_ref(), network(address), Some(told))
    }

    /// Counts an operation that came over a connection which lasts, as the request that it would be alone: by address,
    /// and by who sends it.
    ///
    /// # Errors
    /// [`Fault::RateLimited`] when it is one too many.
    pub(crate) fn charge_operation(
        &self,
        address: IpAddr,
        principal: Option<&Principal>,
    ) -> Result<(), Fault> {
        charge(self.address.as_ref(), network(address), None)?;
        principal.map_or(Ok(()), |principal| self.charge(principal, &Extensions::new()))
    }

    /// Counts a request by who sends it, once that is known.
    ///
    /// # Errors
    /// [`Fault::RateLimited`] when it is one too many.
    pub(crate) fn charge(&self, principal: &Principal, request: &Extensions) -> Result<(), Fault> {
        let (meter, of) = match principal {
            Principal::User { id, .. } => (&self.user, id.0.as_u128()),
            Principal::Key { id, .. } => (&self.key, id.0.as_u128()),
        };
        charge(meter.as_ref(), of, request.get::<Standings>())
    }
}

fn charge(meter: Option<&Meter>, of: u128, told: Option<&Standings>) -> Result<(), Fault> {
    let Some(meter) = meter else { return Ok(()) };
    let (standing, refused) = meter.count(of);
    if let Some(told) = told {
        told.add(standing);
    }
    refused.map_or(Ok(()), Err)
}

/// The network that is counted as one client: an IPv6 client owns a whole /64.
pub(crate) fn network(address: IpAddr) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits() >> 64 << 64,
    }
}

/// The network whose clients are counted together for whom there is no room: whoever holds very many addresses holds
/// them there. No client's own network has its first bit.
fn neighbours(network: u128) -> u128 {
    const FIRST_BIT: u128 = 1 << 127;
    let narrow = if network >> 32 == 0xffff { 16 } else { 96 };
    FIRST_BIT | ((network >> narrow) << narrow)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(text: &str) -> Meter {
        Meter::new("key", "requests of this API key", text.parse().unwrap(), |_| OTHERS).unwrap()
    }

    #[test]
    fn each_has_a_count_of_its_own() {
        let meter = meter("2/3600");
        let left = |of| {
            let (standing, refused) = meter.count(of);
            (standing.left, refused.is_some())
        };
        assert_eq!([left(1), left(1), left(1), left(2)], [(1, false), (0, false), (0, true), (1, false)]);
        let (standing, refused) = meter.count(1);
        assert!((1..=1800).contains(&standing.after_s), "{standing:?}");
        let told = refused.unwrap().to_string();
        assert!(told.starts_with("too many requests of this API key; try again in 1"), "{told}");
    }

    #[test]
    fn one_client_is_one_network() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn who_holds_many_networks_holds_them_in_one() {
        let of = |text: &str| neighbours(network(text.parse().unwrap()));
        assert_eq!(of("2001:db8:1::1"), of("2001:db8:ffff:7::1"));
        assert_ne!(of("2001:db8:1::1"), of("2001:db9:1::1"));
        assert_eq!(of("192.0.2.1"), of("192.0.99.1"));
        assert_ne!(of("192.0.2.1"), of("192.1.2.1"));
        assert_ne!(of("192.0.2.1"), of("::1"));
    }

    #[test]
    fn who_has_all_requests_again_makes_room() {
        let meter = meter("1000/1");
        for of in 0..MAX_KNOWN as u128 {
            meter.count(of);
        }
        assert_eq!(meter.limiter.len(), MAX_KNOWN);
        // Each has its one request again after a millisecond, as the first have by now; who comes next finds room.
        meter.count(u128::from(u64::MAX));
        assert!(meter.limiter.len() < MAX_KNOWN, "{}", meter.limiter.len());
    }

    #[test]
    fn what_is_off_counts_nothing() {
        assert!(Meter::new("key", "", RateLimit::Off, |_| OTHERS).is_none());
    }
}
