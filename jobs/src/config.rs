//! Reads settings from the environment and reports every fault at once.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

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

    /// Yes or no, with a default.
    pub fn flag(&mut self, name: &str, default: bool) -> bool {
        match self.text(name).as_deref() {
            None => default,
            Some("true") => true,
            Some("false") => false,
            Some(other) => {
                self.fault(format!("`{name}` is `{other}`; it must be `true` or `false`"));
                default
            }
        }
    }

    /// A number within a range, with a default.
    pub fn number<T>(&mut self, name: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        let Some(text) = self.text(name) else { return default };
        // Why a text is no number is said by the range, not in the words of the one who parsed it.
        match text.parse() {
            Ok(value) if range.contains(&value) => value,
            Ok(_) | Err(_) => {
                let (least, most) = (range.start(), range.end());
                self.fault(format!("`{name}` is `{text}`; it must be a number between {least} and {most}"));
                default
            }
        }
    }

    /// A duration in seconds within a range, with a default.
    pub fn seconds(&mut self, name: &str, default: u64, range: RangeInclusive<u64>) -> Duration {
        Duration::from_secs(self.number(name, default, range))
    }

    /// Notes a fault that the caller found, once: several roles in one process read some of the same variables.
    pub fn fault(&mut self, fault: impl Into<String>) {
        let fault = fault.into();
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
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
        if let Err(reason) = check_url(url.expose_secret()) {
            reader.fault(format!("`DATABASE_URL` {reason}; write it as postgres://user@host/database"));
        }
        let connections = reader.number("DATABASE_CONNECTIONS", DATABASE_CONNECTIONS, 2..=500);
        Self { url, connections }
    }
}

/// What is wrong with the form of a database's URL. Never repeats it: it may hold a password.
fn check_url(url: &str) -> Result<(), String> {
    if url.is_empty() {
        // That it is not set has been told.
        return Ok(());
    }
    let Some((scheme, rest)) = url.split_once("://") else { return Err("is no URL".into()) };
    if !matches!(scheme, "postgres" | "postgresql") {
        return Err("names another server than Postgres".into());
    }
    if rest.trim_matches('/').is_empty() {
        return Err("names neither a host nor a database".into());
    }
    PgConnectOptions::from_str(url).map(|_| ()).map_err(|reason| format!("cannot be read: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_is_told_at_once() {
        let look_up = |name: &str| match name {
            "PORT" => Some("99999999".into()),
            "SLOTS" => Some("0".into()),
            "KVM" => Some("1".into()),
            _ => None,
        };
        let mut reader = Reader::new(&look_up);
        let url = reader.required("DATABASE_URL", "to reach Postgres");
        let port: u16 = reader.number("PORT", 4000, 1..=65535);
        let slots: u32 = reader.number("SLOTS", 8, 1..=100);
        let kvm = reader.flag("KVM", true);
        assert_eq!((url.as_str(), port, slots, kvm), ("", 4000, 8, true));
        let faults = reader.finish().unwrap_err().to_string();
        assert_eq!(
            faults,
            "the configuration has 4 fault(s):\n  \
             - `DATABASE_URL` is not set; it is needed to reach Postgres\n  \
             - `PORT` is `99999999`; it must be a number between 1 and 65535\n  \
             - `SLOTS` is `0`; it must be a number between 1 and 100\n  \
             - `KVM` is `1`; it must be `true` or `false`"
        );
    }

    #[test]
    fn a_url_that_leads_to_no_postgres_is_a_fault_and_is_not_repeated() {
        let told = |url: &str| {
            let look_up = |name: &str| (name == "DATABASE_URL").then(|| url.to_owned());
            let mut reader = Reader::new(&look_up);
            DatabaseConfig::read(&mut reader);
            reader.finish().err().map(|faults| faults.to_string())
        };
        for wrong in [
            "nonsense-hunter2",
            "mysql://u:hunter2@h/d",
            "postgres://",
            "postgres:///",
            "postgres://u:hunter2@h:port/d",
            "postgres://u:hunter2@h/d?sslmode=perhaps",
        ] {
            let told = told(wrong).unwrap_or_else(|| panic!("`{wrong}` is taken"));
            assert!(told.contains("`DATABASE_URL`") && !told.contains("hunter2"), "{wrong}: {told}");
        }
        for right in ["postgres://u@h/d", "postgresql://h", "postgres:///d?host=/run/x&port=5432"] {
            assert_eq!(told(right), None, "{right}");
        }
    }
}
