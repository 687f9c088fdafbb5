//! Reads what a check looks at, and has it judged.

use std::time::{Duration, Instant};

use jobs::health::report::{Previous, Task};
use rules::health::{Check, DiskUse, Finding, Look, MemoryUse, Thresholds, Usage, Verdict, is_on, judge};
use rules::id::MachineId;
use rules::machine::Seen;
use serde_json::{Value, json};

use crate::hypervisor::{Figures, Hypervisor, HypervisorError, Observed, Reason};

/// How long a processor is watched when nothing was read lately that could be compared with.
const WATCHED: Duration = Duration::from_millis(500);

/// The youngest and the oldest reading with which one is compared: a shorter time says little, and over a longer
/// one a busy hour does not show.
const COMPARED: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_secs(15 * 60);

/// Where processor time stands among the figures.
const CPU_TIME: &str = "cpuTimeNs";

/// What a check found, and what it read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    pub(super) finding: Finding,
    pub(super) figures: Value,
}

impl Reading {
    /// A finding of nothing that was read.
    pub(super) fn without_figures(finding: Finding) -> Self {
        Self { finding, figures: json!({}) }
    }
}

/// Reads what the check looks at, and judges it. A host that does not answer makes it unknown.
pub(super) async fn read(
    host: &dyn Hypervisor,
    machine: MachineId,
    check: Check,
    task: &Task,
    thresholds: &Thresholds,
) -> Reading {
    let asked = Instant::now();
    let seen = match host.look(machine).await {
        Ok(seen) => seen,
        Err(error) => return unheard(&error),
    };
    let look = look(&seen, task);
    let (usage, figures) = match check {
        Check::Reachable => (Usage::default(), json!({ "answeredMs": whole_ms(asked.elapsed()) })),
        Check::State => {
            let reason = (seen.reason != Reason::Unknown).then(|| seen.reason.as_str());
            let figures =
                json!({ "wanted": look.wanted.as_str(), "seen": look.seen.as_str(), "reason": reason });
            (Usage::default(), figures)
        }
        Check::CpuUsage | Check::MemoryUsage | Check::DiskSpace if !is_on(look.seen) => {
            (Usage::default(), json!({}))
        }
        Check::CpuUsage => match cpu(host, machine, task.previous.as_ref()).await {
            Ok(read) => read,
            Err(error) => return unheard(&error),
        },
        Check::MemoryUsage | Check::DiskSpace => match host.figures(machine).await {
            Ok(figures) if check == Check::MemoryUsage => memory(&figures),
            Ok(figures) => disks(&figures),
            Err(error) => return unheard(&error),
        },
    };
    Reading { finding: judge(check, &look, &usage, thresholds), figures }
}

fn look(seen: &Observed, task: &Task) -> Look {
    Look {
        wanted: task.wanted,
        seen: seen.state,
        disk_failed: seen.state == Seen::Paused && seen.reason == Reason::DiskError,
        is_busy: task.is_busy,
    }
}

fn unheard(error: &HypervisorError) -> Reading {
    Reading::without_figures(Finding::new(Verdict::Unknown, format!("its host does not answer: {error}")))
}

/// How much of its processors it used: since the last reading where that is of use, else for a moment from now.
async fn cpu(
    host: &dyn Hypervisor,
    machine: MachineId,
    previous: Option<&Previous>,
) -> Result<(Usage, Value), HypervisorError> {
    let first = host.figures(machine).await?;
    let before = previous
        .filter(|before| COMPARED.contains(&before.age))
        .and_then(|before| Some((before.figures.get(CPU_TIME)?.as_u64()?, before.age)))
        // Less than before: it was switched off and on since.
        .filter(|(time_ns, _)| *time_ns <= first.cpu_time_ns);
    let (used_ns, over, last) = match before {
        Some((time_ns, age)) => (first.cpu_time_ns - time_ns, age, first),
        None => {
            let watched = Instant::now();
            tokio::time::sleep(WATCHED).await;
            let last = host.figures(machine).await?;
            (last.cpu_time_ns.saturating_sub(first.cpu_time_ns), watched.elapsed(), last)
        }
    };
    let whole = over.as_secs_f64() * f64::from(last.cpus.max(1));
    // Two clocks are involved, the host's and ours: a little over a hundred is a hundred.
    let percent = (Duration::from_nanos(used_ns).as_secs_f64() / whole * 100.0).min(100.0);
    let figures = json!({
        "percent": rounded(percent), "cpus": last.cpus, "overMs": whole_ms(over), CPU_TIME: last.cpu_time_ns
    });
    Ok((Usage { cpu_percent: Some(percent), ..Usage::default() }, figures))
}

fn memory(figures: &Figures) -> (Usage, Value) {
    let memory = match (figures.guest_kib, figures.resident_kib) {
        (Some((used_kib, total_kib)), _) => Some(MemoryUse::Guest { used_kib, total_kib }),
        (None, Some(held_kib)) => Some(MemoryUse::Host { held_kib, total_kib: figures.memory_kib }),
        (None, None) => None,
    };
    let guest = figures.guest_kib.map(|(used, total)| json!({ "usedKib": used, "totalKib": total }));
    let told = json!({ "memoryKib": figures.memory_kib, "heldKib": figures.resident_kib, "guest": guest });
    (Usage { memory, ..Usage::default() }, told)
}

fn disks(figures: &Figures) -> (Usage, Value) {
    let disks: Vec<DiskUse> = figures
        .disks
        .iter()
        .map(|disk| DiskUse {
            target: disk.target.clone(),
            allocated_bytes: disk.allocated_bytes,
            capacity_bytes: disk.capacity_bytes,
        })
        .collect();
    let told: Vec<Value> = figures
        .disks
        .iter()
        .map(|disk| {
            json!({
                "target": disk.target, "capacityBytes": disk.capacity_bytes, "allocatedBytes": disk.allocated_bytes,
                "readBytes": disk.read_bytes, "writtenBytes": disk.written_bytes
            })
        })
        .collect();
    (Usage { disks, ..Usage::default() }, json!({ "disks": told }))
}

fn rounded(percent: f64) -> f64 {
    (percent * 10.0).round() / 10.0
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
