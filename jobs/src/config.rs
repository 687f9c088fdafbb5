//! Reads settings from the environment and reports every fault at once.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;

/// Reads variables and gathers what is wrong with them, so that one start tells all of it.
pub struct Reader<'a> {
    look_up: &'a dyn Fn(&str) -> Option<String>,
    faults: Vec<String>,
}

/// Every fault of a configuration, one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<String>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} fault(s):", self.0.len())?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  - {fault}"))
    }
}

impl std::error::Error for Faults {}

impl<'a> Reader<'a> {
    /// A reader over a look-up, which is `|name| std::env::var(name).ok()` save in tests.
    pub fn new(look_up: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { look_up, faults: Vec::new() }
    }

    /// The text of a variable, if it is set and not blank.
    pub fn text(&mut self, name: &str) -> Option<String> {
        (self.look_up)(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty())
    }

    /// The text of a variable that must be set; `why` completes "it is needed …".
    pub fn required(&mut self, name: &str, why: &str) -> String {
        self.text(name).unwrap_or_else(|| {
            self.fault(format!("`{name}` is not set; it is needed {why}"));
            String::new()
        })
    }

    /// A secret that must be set.
    pub fn secret(&mut self, name: &str, why: &str) -> SecretString {
        self.required(name, why).into()
    }

    /// A value of any parsed kind, with a default.
    pub fn parsed<T: FromStr>(&mut self, name: &str, default: T) -> T
    where
        T::Err: fmt::Display,
    {
        match self.text(name).map(|text| (text.parse(), text)) {
            None => default,
            Some((Ok(value), _)) => value,
            Some((Err(reason), text)) => {
                self.fault(format!("`{name}` is `{text}`: {reason}"));
                default
            }
        }
    }

    /// A number within a range, with a default.
    pub fn number<T>(&mut self, name: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
        T::Err: fmt::Display,
    {
        let value = self.parsed(name, default);
        if range.contains(&value) {
            return value;
        }
        self.fault(format!("`{name}` is {value}; it must lie between {} and {}", range.start(), range.end()));
        default
    }

    /// A duration in seconds within a range, with a default.
    pub fn seconds(&mut self, name: &str, default: u64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(name, default, range))
    }

    /// Notes a fault that the caller found.
    pub fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// All faults, when there is one.
    pub fn finish(self) -> Result<(), Faults> {
        if self.faults.is_empty() { Ok(()) } else { Err(Faults(self.faults)) }
    }
}

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// A Postgres URL. `sslmode` and the other options are sqlx's.
    pub url: SecretString,
    /// The most connections that one process keeps in its pool, besides the few of its own that listen
    /// and claim.
    pub connections: u32,
}

/// The default of [`DatabaseConfig::connections`].
pub const DATABASE_CONNECTIONS: u32 = 16;

impl DatabaseConfig {
    /// Reads `DATABASE_URL` and `DATABASE_CONNECTIONS`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader.secret("DATABASE_URL", "to reach Postgres, as postgres://user@host/database");
        let connections = reader.number("DATABASE_CONNECTIONS", DATABASE_CONNECTIONS, 2..=500);
        Self { url, connections }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_at_once() {
        let look_up = |name: &str| match name {
            "PORT" => Some("99999999".into()),
            "SLOTS" => Some("0".into()),
            _ => None,
        };
        let mut reader = Reader::new(&look_up);
        let url = reader.required("DATABASE_URL", "to reach Postgres");
        let port: u16 = reader.number("PORT", 4000, 1..=65535);
        let slots: u32 = reader.number("SLOTS", 8, 1..=100);
        assert_eq!((url.as_str(), port, slots), ("", 4000, 8));
        let faults = reader.finish().unwrap_err().to_string();
        assert_eq!(
            faults,
            "the configuration has 3 fault(s):\n  \
             - `DATABASE_URL` is not set; it is needed to reach Postgres\n  \
             - `PORT` is `99999999`: number too large to fit in target type\n  \
             - `SLOTS` is 0; it must lie between 1 and 100"
        );
    }
}
