//! How full the disks of a machine are, judged by whoever asks.

use async_graphql::SimpleObject;
use chrono::{DateTime, Utc};
use jobs::health::store::CheckView;
use rules::health::{DiskUse, Levels, disk_space};
use serde::Deserialize;

use super::health_view::HealthVerdict;
use crate::error::Fault;

/// How full the disks of a machine are.
#[derive(SimpleObject)]
pub(super) struct VmDiskSpace {
    /// What the worst of them means.
    verdict: HealthVerdict,
    /// Why.
    detail: String,
    /// Each of them.
    disks: Vec<VmDisk>,
    /// When they were read; none before the first time.
    checked_at: Option<DateTime<Utc>>,
}

/// How full one disk is.
#[derive(SimpleObject)]
pub(super) struct VmDisk {
    /// The disk as the guest knows it.
    target: String,
    /// How much of it was written to, in MiB.
    allocated_mib: i64,
    /// How much may be, in MiB.
    capacity_mib: i64,
}

/// What a check of the disks kept of them.
#[derive(Deserialize)]
struct Figures {
    #[serde(default)]
    disks: Vec<Read>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    target: String,
    allocated_bytes: u64,
    capacity_bytes: u64,
}

impl VmDiskSpace {
    /// What the last check read, judged by these levels. Of a machine that was off then, or of which its host told nothing,
    /// what the check found stands.
    pub(super) fn judged(check: Option<CheckView>, levels: Levels) -> Result<Self, Fault> {
        let unchecked = || "it was not checked yet".to_owned();
        let Some(check) = check else {
            let (verdict, disks) = (HealthVerdict::Unknown, Vec::new());
            return Ok(Self { verdict, detail: unchecked(), disks, checked_at: None });
        };
        let read = match check.figures {
            Some(figures) => serde_json::from_value::<Figures>(figures).map_err(jobs::Error::internal)?.disks,
            None => Vec::new(),
        };
        let disks: Vec<DiskUse> = read
            .iter()
            .map(|disk| DiskUse {
                target: disk.target.clone(),
                allocated_bytes: disk.allocated_bytes,
                capacity_bytes: disk.capacity_bytes,
            })
            .collect();
        let (verdict, detail) = if disks.is_empty() {
            (HealthVerdict::Unknown, check.detail.unwrap_or_else(unchecked))
        } else {
            let found = disk_space(&disks, levels);
            (found.verdict.into(), found.detail)
        };
        let disks = read.into_iter().map(|disk| VmDisk {
            target: disk.target,
            allocated_mib: mib(disk.allocated_bytes),
            capacity_mib: mib(disk.capacity_bytes),
        });
        Ok(Self { verdict, detail, disks: disks.collect(), checked_at: check.checked_at })
    }
}

/// Of a number that GraphQL cannot carry.
fn mib(bytes: u64) -> i64 {
    i64::try_from(bytes / (1_024 * 1_024)).unwrap_or(i64::MAX)
}
