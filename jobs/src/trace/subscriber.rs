//! Where log lines go and in which form: stderr, readable for people or JSON for programs.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::fmt::format::FmtSpan;
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use super::pool_wait::PoolWait;
use crate::config::Reader;
use crate::{Error, Result};

/// What is logged unless `LOG` says otherwise: our own doings, and of others only what is wrong.
const DEFAULT_FILTER: &str =
    "info,sqlx=warn,hyper=warn,hyper_util=warn,apalis=warn,apalis_core=warn,tower_http=warn";

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line to read, in colour where a terminal shows it.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("it must be `text` or `json`"),
        }
    }
}

/// How to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The form of a line.
    pub format: LogFormat,
    /// Which lines: levels by target, as `info,sqlx=warn`.
    pub filter: String,
}

impl LogConfig {
    /// Reads `LOG_FORMAT` (`text` or `json`) and `LOG` (levels by target).
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let format = reader.parsed("LOG_FORMAT", LogFormat::Text);
        let filter = reader.text("LOG").unwrap_or_else(|| DEFAULT_FILTER.into());
        if let Err(reason) = EnvFilter::try_new(&filter) {
            reader
                .fault(format!("`LOG` is `{filter}`: {reason}; write levels by target, as `info,sqlx=warn`"));
            return Self { format, filter: DEFAULT_FILTER.into() };
        }
        Self { format, filter }
    }
}

/// Begins to log in this process, to stderr, so that stdout stays for what a command prints.
///
/// # Errors
/// Invalid for a filter that cannot be read; Internal when logging began before.
pub fn init(config: &LogConfig) -> Result<()> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|reason| Error::invalid(format!("`LOG` cannot be read: {reason}")))?;
    let lines = layer().with_span_events(FmtSpan::NONE).with_writer(std::io::stderr);
    let waits = tracing_subscriber::registry().with(PoolWait.with_filter(PoolWait::filter()));
    let begun = match config.format {
        LogFormat::Text => {
            let lines = lines.with_ansi(std::io::stderr().is_terminal());
            waits.with(lines.with_filter(filter)).try_init()
        }
        // Fields at the top of the object and the spans beside them: `job.id` is found in one place.
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(true);
            waits.with(lines.with_filter(filter)).try_init()
        }
    };
    begun.map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &'static str, format: &'static str) -> (LogConfig, Option<String>) {
        let look_up = move |name: &str| match name {
            "LOG" => Some(log.to_owned()),
            "LOG_FORMAT" => Some(format.to_owned()),
            _ => None,
        };
        let mut reader = Reader::new(&look_up);
        let config = LogConfig::read(&mut reader);
        (config, reader.finish().err().map(|f| f.to_string()))
    }

    #[test]
    fn settings_are_read_and_faults_named() {
        let (config, faults) = read("", "");
        assert_eq!((config.format, config.filter.as_str(), faults), (LogFormat::Text, DEFAULT_FILTER, None));
        let (config, faults) = read("debug", "json");
        assert_eq!((config.format, config.filter.as_str(), faults), (LogFormat::Json, "debug", None));
        let faults = read("sqlx=loud", "xml").1.unwrap();
        assert!(faults.contains("`LOG_FORMAT` is `xml`: it must be `text` or `json`"), "{faults}");
        assert!(faults.contains("`LOG` is `sqlx=loud`"), "{faults}");
    }
}
