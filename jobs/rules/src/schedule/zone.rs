//! Finds time zones by name, in the database of zones that the executable carries.

use jiff::tz::{TimeZone, db};

use super::ZONE_BYTES_MAX;
use crate::nearest::nearest;

/// The most characters of a wrong name that a message repeats.
const SHOWN_CHARS: usize = ZONE_BYTES_MAX;

/// The zone of that name.
///
/// # Errors
/// The reason and the remedy: the nearest name, where one is near.
pub(super) fn zone(name: &str) -> Result<TimeZone, String> {
    let found = (name.len() <= ZONE_BYTES_MAX).then(|| db().get(name).ok()).flatten();
    found.ok_or_else(|| {
        let shown: String = name.chars().take(SHOWN_CHARS).collect();
        let names: Vec<_> = db().available().collect();
        let remedy = match nearest(name, names.iter().map(|zone| zone.as_str())) {
            Some(near) => format!("`{near}` is the nearest name that there is"),
            None => "take a name of the IANA database, such as `UTC` or `Europe/Berlin`".into(),
        };
        format!("is `{shown}`, which is no time zone; {remedy}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_that_does_not_exist_is_told_its_nearest() {
        assert!(zone("Europe/Berlin").is_ok() && zone("UTC").is_ok());
        for (wrong, near) in [("Europe/Berln", "Europe/Berlin"), ("Amerika/New_York", "America/New_York")] {
            let told = zone(wrong).unwrap_err();
            assert!(told.contains(&format!("`{near}`")) && told.contains(wrong), "{told}");
        }
        for wrong in ["", "Mars/Olympus_Mons", "../../etc/passwd", &"x".repeat(100_000), "Europe/Berlin\0"] {
            let told = zone(wrong).unwrap_err();
            assert!(told.contains("no time zone") && told.len() < 300, "{told}");
        }
    }
}
