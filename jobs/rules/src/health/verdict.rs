//! What a reading means.

use super::{Check, is_on};
use crate::machine::{Seen, Wanted};

/// The longest explanation of a finding, in characters.
pub const MAX_DETAIL_CHARS: usize = 500;

/// By how much the host may hold more memory for a machine than it was promised before that is a warning, in
/// percent: what emulates it needs some for itself.
const HELD_PERCENT: f64 = 150.0;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// All is well.
    Healthy,
    /// It will not be for long.
    Warning,
    /// It is not.
    Critical,
    /// Nobody knows.
    Unknown,
}

/// A verdict and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, for people; at most [`MAX_DETAIL_CHARS`].
    pub detail: String,
}

/// From which percentages on something is a warning, and critical. 1 to 100 each, the second not lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Levels {
    warning: u8,
    critical: u8,
}

/// Levels that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a warning from {0} % and critical from {1} %: both must be 1 to 100, the second not lower")]
pub struct BadLevels(pub u8, pub u8);

/// The levels of every figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Of processor time used.
    pub cpu: Levels,
    /// Of memory used.
    pub memory: Levels,
    /// Of disks written.
    pub disk: Levels,
}

/// What was seen of a machine when it was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// What it shall be.
    pub wanted: Wanted,
    /// What it is.
    pub seen: Seen,
    /// Whether it stands still because a disk of its failed.
    pub disk_failed: bool,
    /// Whether an operation on it is waiting or under way: what differs then is about to change.
    pub is_busy: bool,
}

/// Memory that is used, and of how much, in KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryUse {
    /// As the guest tells.
    Guest {
        /// What it uses.
        used_kib: u64,
        /// What it has.
        total_kib: u64,
    },
    /// As the host sees it: what it holds for the machine. That only grows, and says little of the guest.
    Host {
        /// What the host holds for it.
        held_kib: u64,
        /// What it may use.
        total_kib: u64,
    },
}

/// One disk of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskUse {
    /// The disk as the guest knows it.
    pub target: String,
    /// What was written to, in bytes.
    pub allocated_bytes: u64,
    /// What may be written to, in bytes.
    pub capacity_bytes: u64,
}

/// What a machine uses, as far as its host tells.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Usage {
    /// Of the time of all its processors, in percent.
    pub cpu_percent: Option<f64>,
    /// Of its memory.
    pub memory: Option<MemoryUse>,
    /// Of its disks; none where the host does not say, or it has none.
    pub disks: Vec<DiskUse>,
}

impl Verdict {
    /// Every verdict, the best first.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Warning, Self::Critical, Self::Unknown];

    /// The name in the database, on the wire and for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The verdict of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.as_str() == name)
    }
}

impl Finding {
    /// A finding whose explanation is kept short.
    pub fn new(verdict: Verdict, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL_CHARS) {
            detail.truncate(end);
        }
        Self { verdict, detail }
    }
}

impl Levels {
    /// Levels in percent.
    ///
    /// # Errors
    /// [`BadLevels`] unless both are 1 to 100 and the second is not lower than the first.
    pub const fn new(warning: u8, critical: u8) -> Result<Self, BadLevels> {
        if warning == 0 || critical > 100 || warning > critical {
            return Err(BadLevels(warning, critical));
        }
        Ok(Self { warning, critical })
    }

    /// From which percentage on it is a warning.
    pub const fn warning(self) -> u8 {
        self.warning
    }

    /// From which percentage on it is critical.
    pub const fn critical(self) -> u8 {
        self.critical
    }

    /// What a percentage means; one that is no number means nothing.
    pub fn judge(self, percent: f64) -> Verdict {
        if percent.is_nan() {
            Verdict::Unknown
        } else if percent >= f64::from(self.critical) {
            Verdict::Critical
        } else if percent >= f64::from(self.warning) {
            Verdict::Warning
        } else {
            Verdict::Healthy
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            cpu: Levels { warning: 80, critical: 90 },
            memory: Levels { warning: 85, critical: 95 },
            disk: Levels { warning: 85, critical: 95 },
        }
    }
}

/// What a check finds in what was seen and read.
pub fn judge(check: Check, look: &Look, usage: &Usage, thresholds: &Thresholds) -> Finding {
    match check {
        Check::Reachable => reachable(look),
        Check::State => state(look),
        Check::CpuUsage | Check::MemoryUsage | Check::DiskSpace if !is_on(look.seen) => {
            Finding::new(Verdict::Unknown, format!("it is {}, and uses nothing", look.seen))
        }
        Check::CpuUsage => cpu(usage, thresholds.cpu),
        Check::MemoryUsage => memory(usage, thresholds.memory),
        Check::DiskSpace if look.disk_failed => {
            Finding::new(Verdict::Critical, "a disk of its failed, and it stands still")
        }
        Check::DiskSpace => disk_space(&usage.disks, thresholds.disk),
    }
}

fn reachable(look: &Look) -> Finding {
    match look.seen {
        Seen::Unknown => Finding::new(Verdict::Unknown, "its host does not say in which state it is"),
        Seen::Absent if look.is_busy => {
            Finding::new(Verdict::Unknown, "its host does not know it yet, and an operation is under way")
        }
        Seen::Absent => Finding::new(Verdict::Critical, "its host answers and does not know it"),
        Seen::Running
        | Seen::Blocked
        | Seen::Paused
        | Seen::ShuttingDown
        | Seen::Off
        | Seen::Crashed
        | Seen::Sleeping => Finding::new(Verdict::Healthy, "its host answers for it"),
    }
}

fn state(look: &Look) -> Finding {
    let (wanted, seen) = (look.wanted, look.seen);
    if seen == Seen::Unknown {
        return Finding::new(Verdict::Unknown, "its host does not say in which state it is");
    }
    if look.disk_failed {
        return Finding::new(Verdict::Critical, format!("it is {seen}: a disk of its failed"));
    }
    if wanted.is_met_by(seen) {
        return Finding::new(Verdict::Healthy, format!("it is {seen}, as it shall be"));
    }
    if look.is_busy {
        let told = format!("it is {seen}, shall be {wanted}, and an operation is under way");
        return Finding::new(Verdict::Unknown, told);
    }
    let verdict = match seen {
        // Neither lost nor as wanted: whoever holds it still, or waits for its guest, knows of it.
        Seen::Paused | Seen::ShuttingDown | Seen::Running | Seen::Blocked | Seen::Sleeping => {
            Verdict::Warning
        }
        Seen::Unknown | Seen::Absent | Seen::Off | Seen::Crashed => Verdict::Critical,
    };
    Finding::new(verdict, format!("it is {seen} and shall be {wanted}"))
}

fn cpu(usage: &Usage, levels: Levels) -> Finding {
    match usage.cpu_percent.filter(|percent| percent.is_finite()) {
        Some(percent) => {
            Finding::new(levels.judge(percent), format!("it uses {percent:.1} % of its processors"))
        }
        None => Finding::new(Verdict::Unknown, "its host does not tell how much processor time it uses"),
    }
}

fn memory(usage: &Usage, levels: Levels) -> Finding {
    match usage.memory {
        Some(MemoryUse::Guest { used_kib, total_kib }) if total_kib > 0 => {
            let percent = percent_of(used_kib, total_kib);
            Finding::new(levels.judge(percent), format!("its guest uses {percent:.1} % of its memory"))
        }
        Some(MemoryUse::Host { held_kib, total_kib }) if total_kib > 0 => {
            let percent = percent_of(held_kib, total_kib);
            let verdict = if percent > HELD_PERCENT { Verdict::Warning } else { Verdict::Healthy };
            let told = format!("its guest does not tell; the host holds {percent:.1} % of its memory for it");
            Finding::new(verdict, told)
        }
        Some(MemoryUse::Guest { .. } | MemoryUse::Host { .. }) | None => {
            Finding::new(Verdict::Unknown, "its host does not tell how much memory it uses")
        }
    }
}

/// How full a machine's disks are, as far as they were written to: the worst speaks for all.
pub fn disk_space(disks: &[DiskUse], levels: Levels) -> Finding {
    let known: Vec<(&str, f64)> = disks
        .iter()
        .filter(|disk| disk.capacity_bytes > 0)
        .map(|disk| (disk.target.as_str(), percent_of(disk.allocated_bytes, disk.capacity_bytes)))
        .collect();
    let Some(worst) = known.iter().map(|(_, percent)| levels.judge(*percent)).max() else {
        return Finding::new(Verdict::Unknown, "it has no disk of which its host tells how full it is");
    };
    let told: Vec<String> =
        known.iter().map(|(target, percent)| format!("`{target}` is written to {percent:.1} %")).collect();
    Finding::new(worst, told.join(", "))
}

fn percent_of(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64 * 100.0
}
