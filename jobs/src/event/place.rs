//! Compares what two snapshots show.

use rules::event::Snapshot;

/// The transactions that were not over: all from the second number on, and those listed.
fn parts(snapshot: &Snapshot) -> (u64, Vec<u64>) {
    let mut parts = snapshot.as_str().split(':').skip(1);
    let xmax = parts.next().and_then(|xmax| xmax.parse().ok()).unwrap_or_default();
    let between = parts.next().unwrap_or_default();
    (xmax, between.split(',').filter_map(|xid| xid.parse().ok()).collect())
}

/// Whether all that the second snapshot shows is visible in the first.
pub fn shows_all(place: &Snapshot, shown: &Snapshot) -> bool {
    let ((xmax, under_way), (shown_xmax, hidden)) = (parts(place), parts(shown));
    xmax >= shown_xmax && under_way.iter().all(|xid| *xid >= shown_xmax || hidden.contains(xid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_moment_shows_all_of_an_earlier_one_and_not_the_other_way_round() {
        let shows = |place: &str, shown: &str| shows_all(&place.parse().unwrap(), &shown.parse().unwrap());
        for (later, earlier) in [
            ("12:12:", "10:10:"),
            ("10:20:10,15", "10:18:10,15"),
            ("10:20:10", "10:20:10,15"),
            ("10:22:10,21", "10:20:10"),
        ] {
            assert!(shows(later, earlier) && shows(later, later), "{later} {earlier}");
            assert!(!shows(earlier, later), "{earlier} {later}");
        }
    }
}
