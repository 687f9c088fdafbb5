//! What each kind of node does, and how its failure is met.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::condition::{Condition, Test};
use super::limits::{MAX_DELAY_MS, MAX_OUTPUT_BYTES, MAX_UNTIL_DAYS};
use super::order::Ordered;
use super::schema::Schema;
use super::template::{Missing, Room, Template, Unfilled, text_of};
use crate::access::Permission;

/// A time or a number of milliseconds as a template gives it, in bytes.
const MAX_TIME_BYTES: usize = 1_000;

/// The handle of nodes with one way out: start and delay.
pub const OUTPUT: &str = "output";

/// The handle of a script that succeeded.
pub const SUCCESS: &str = "success";

/// The handle of a node that failed, where its policy is to continue.
pub const ERROR: &str = "error";

/// What a node does.
#[derive(Debug)]
pub enum Task {
    /// Takes the run's input.
    Start(Option<Schema>),
    /// Runs a script.
    Script(Script),
    /// Chooses a way.
    Condition(Condition),
    /// Waits.
    Delay(Delay),
    /// Has something done to a machine, or a machine checked, and waits for the end of that.
    Order(Box<OrderTask>),
    /// Ends its path, and says what comes out.
    End(End),
}

/// A script node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The source.
    pub code: String,
    /// The name of its result in `ctx`.
    pub output_variable: String,
}

/// A node that orders something and waits for it.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderTask {
    /// What it orders.
    pub ordered: Ordered,
    /// The name of what came of it in `ctx`.
    pub output_variable: String,
}

/// A delay node.
#[derive(Debug, Clone, PartialEq)]
pub enum Delay {
    /// For this many milliseconds.
    Fixed(u64),
    /// For as many milliseconds as this says.
    Dynamic(Template),
    /// Until the time, in RFC 3339, that this says.
    Until(Template),
}

/// An end node.
#[derive(Debug, Clone, PartialEq)]
pub struct End {
    /// Whether reaching it is a failure of the run.
    pub fails: bool,
    /// Names and values of what comes out.
    pub parameters: Vec<(String, Template)>,
}

/// How a node is tried and what its failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Seconds that one attempt may take.
    pub timeout_s: u64,
    /// Further attempts after the first.
    pub retries: u16,
    /// Seconds between two attempts.
    pub retry_delay_s: u64,
    /// What happens when the last attempt has failed.
    pub on_failure: OnFailure,
}

/// What the failure of a node means for its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The run fails.
    FailRun,
    /// The run goes on by the node's handle [`ERROR`].
    Continue,
}

/// When a node with several edges into it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// When each edge is taken or dead, and one is taken.
    All,
    /// When the first edge is taken; later ones change nothing.
    Any,
}

impl Task {
    /// The name in definitions.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Script(_) => "script",
            Self::Condition(_) => "condition",
            Self::Delay(_) => "delay",
            Self::Order(order) => order.ordered.kind(),
            Self::End(_) => "end",
        }
    }

    /// The handles that an edge may leave by, [`ERROR`] aside.
    pub fn handles(&self) -> Vec<&str> {
        match self {
            Self::Start(_) | Self::Delay(_) => vec![OUTPUT],
            Self::Script(_) | Self::Order(_) => vec![SUCCESS],
            // A branch of a draft whose id could not be read has none.
            Self::Condition(c) => {
                let branches = c.branches.iter().map(|b| b.id.as_str()).filter(|id| !id.is_empty());
                branches.chain([c.default.as_str()]).collect()
            }
            Self::End(_) => Vec::new(),
        }
    }

    /// The handle of an edge that names none.
    pub const fn main_handle(&self) -> Option<&'static str> {
        match self {
            Self::Start(_) | Self::Delay(_) => Some(OUTPUT),
            Self::Script(_) | Self::Order(_) => Some(SUCCESS),
            Self::Condition(_) | Self::End(_) => None,
        }
    }

    /// Whether it can fail and be tried again.
    pub const fn can_fail(&self) -> bool {
        match self {
            Self::Start(_) | Self::End(_) => false,
            Self::Script(_) | Self::Condition(_) | Self::Delay(_) | Self::Order(_) => true,
        }
    }

    /// The name under which its output stands in `ctx`.
    pub fn output_variable(&self) -> Option<&str> {
        match self {
            Self::Script(script) => Some(&script.output_variable),
            Self::Order(order) => Some(&order.output_variable),
            Self::Start(_) | Self::Condition(_) | Self::Delay(_) | Self::End(_) => None,
        }
    }

    /// What it needs of whoever saved the workflow; none for a task that touches nothing outside its run.
    pub fn needs(&self) -> Option<Permission> {
        match self {
            Self::Order(order) => Some(order.ordered.needs()),
            Self::Start(_) | Self::Script(_) | Self::Condition(_) | Self::Delay(_) | Self::End(_) => None,
        }
    }

    /// Every template in it, with the field that holds it.
    pub fn templates(&self) -> Vec<(String, &Template)> {
        match self {
            Self::Start(_) | Self::Script(_) | Self::Delay(Delay::Fixed(_)) => Vec::new(),
            Self::Delay(Delay::Dynamic(t)) => vec![("config.delayVariable".into(), t)],
            Self::Delay(Delay::Until(t)) => vec![("config.untilTime".into(), t)],
            Self::Order(order) => order.ordered.templates(),
            Self::End(end) => end
                .parameters
                .iter()
                .enumerate()
                .map(|(at, (_, t))| (format!("config.outputParameters[{at}].sourceVariable"), t))
                .collect(),
            Self::Condition(condition) => {
                let mut found = Vec::new();
                for (b, branch) in condition.branches.iter().enumerate() {
                    for (c, test) in branch.tests.iter().enumerate() {
                        if let Test::Compare { left, right, .. } = test {
                            let at = format!("config.branches[{b}].conditions[{c}]");
                            found.push((format!("{at}.leftValue"), left));
                            found.push((format!("{at}.rightValue"), right));
                        }
                    }
                }
                found
            }
        }
    }
}

impl Policy {
    /// What is said of an attempt that did not come to its end in time.
    pub fn timed_out(&self) -> String {
        format!("timed out after {} s", self.timeout_s)
    }
}

impl Delay {
    /// When the wait is over, counted from `now`.
    ///
    /// # Errors
    /// Why the context says no such time.
    pub fn due(&self, ctx: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
        let root = |name: &str| (name == "ctx").then_some(ctx);
        match self {
            Self::Fixed(ms) => after(now, *ms),
            Self::Dynamic(template) => {
                let value = template.fill(&root, MAX_TIME_BYTES).map_err(|e| e.to_string())?;
                after(now, milliseconds(&value)?)
            }
            Self::Until(template) => {
                let value = template.fill(&root, MAX_TIME_BYTES).map_err(|e| e.to_string())?;
                let time = moment(&value)?;
                if time - now > TimeDelta::days(MAX_UNTIL_DAYS) {
                    return Err(format!("the time to wait for is more than {MAX_UNTIL_DAYS} days ahead"));
                }
                Ok(time)
            }
        }
    }
}

/// A value as milliseconds to wait.
///
/// # Errors
/// Why it is no such number.
pub(super) fn milliseconds(value: &Value) -> Result<u64, String> {
    let ms = match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_f64(),
    };
    let in_range = ms.filter(|ms| (0.0..=MAX_DELAY_MS as f64).contains(ms));
    in_range.map(|ms| ms as u64).ok_or_else(|| {
        format!("the delay is {}, not a number of milliseconds from 0 to {MAX_DELAY_MS}", brief(value))
    })
}

/// A value as the time to wait for.
///
/// # Errors
/// Why it is none.
pub(super) fn moment(value: &Value) -> Result<DateTime<Utc>, String> {
    let told = || {
        format!(
            "the time to wait for is {}, not a time in RFC 3339 such as 2030-01-31T08:00:00Z",
            brief(value)
        )
    };
    let time = DateTime::parse_from_rfc3339(text_of(value).trim()).map_err(|_| told())?;
    Ok(time.to_utc())
}

impl End {
    /// What comes out.
    ///
    /// # Errors
    /// The first parameter, by its name, that leads to nothing, or with which the output has more than
    /// [`MAX_OUTPUT_BYTES`].
    pub fn output(&self, ctx: &Value) -> Result<Map<String, Value>, String> {
        let root = |name: &str| (name == "ctx").then_some(ctx);
        let mut room = Room::of(MAX_OUTPUT_BYTES);
        let mut fill = |template: &Template| template.fill_in(&root, Missing::Refused, &mut room);
        let filled = self.parameters.iter().map(|(name, template)| match fill(template) {
            Ok(value) => Ok((name.clone(), value)),
            Err(Unfilled::TooLarge(most)) => Err(format!(
                "the output has more than {most} bytes, which are kept at most, once `{name}` is in it"
            )),
            Err(nothing @ Unfilled::Nothing(..)) => Err(format!("the output parameter `{name}`: {nothing}")),
        });
        filled.collect()
    }
}

fn after(now: DateTime<Utc>, ms: u64) -> Result<DateTime<Utc>, String> {
    i64::try_from(ms)
        .ok()
        .and_then(|ms| now.checked_add_signed(TimeDelta::milliseconds(ms)))
        .ok_or_else(|| format!("{ms} ms from now is no time"))
}

fn brief(value: &Value) -> String {
    format!("`{}`", text_of(value).chars().take(60).collect::<String>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn delays_say_when_they_are_over() {
        let now = DateTime::parse_from_rfc3339("2026-01-31T08:00:00Z").unwrap().to_utc();
        let ctx = json!({"input": {"ms": 1500, "text": "250", "bad": "soon", "neg": -1, "big": 1e12, "at": "2026-02-01T00:00:00+01:00", "far": "2099-01-01T00:00:00Z"}});
        let t = |text: &str| Template::read(&json!(text), &["ctx"]).unwrap();
        let due = |delay: Delay| delay.due(&ctx, now).map(|at| at.to_rfc3339());
        assert_eq!(due(Delay::Fixed(90_000)).unwrap(), "2026-01-31T08:01:30+00:00");
        assert_eq!(due(Delay::Dynamic(t("{{ctx.input.ms}}"))).unwrap(), "2026-01-31T08:00:01.500+00:00");
        assert_eq!(due(Delay::Dynamic(t("{{ctx.input.text}}"))).unwrap(), "2026-01-31T08:00:00.250+00:00");
        assert_eq!(due(Delay::Until(t("{{ctx.input.at}}"))).unwrap(), "2026-01-31T23:00:00+00:00");
        for bad in ["bad", "neg", "big", "none"] {
            assert!(due(Delay::Dynamic(t(&format!("{{{{ctx.input.{bad}}}}}")))).is_err(), "{bad}");
        }
        for bad in ["bad", "far", "none"] {
            assert!(due(Delay::Until(t(&format!("{{{{ctx.input.{bad}}}}}")))).is_err(), "{bad}");
        }
    }
}
