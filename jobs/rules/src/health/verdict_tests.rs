//! Tests of what readings mean: by properties over everything that can be seen and read, and by cases.

use proptest::prelude::*;

use super::*;
use crate::machine::{Seen, Wanted};

const SEEN: [Seen; 9] = [
    Seen::Unknown,
    Seen::Absent,
    Seen::Running,
    Seen::Blocked,
    Seen::Paused,
    Seen::ShuttingDown,
    Seen::Off,
    Seen::Crashed,
    Seen::Sleeping,
];

fn look() -> impl Strategy<Value = Look> {
    let wanted = prop::sample::select(Wanted::ALL.to_vec());
    (wanted, prop::sample::select(SEEN.to_vec()), any::<bool>(), any::<bool>())
        .prop_map(|(wanted, seen, disk_failed, is_busy)| Look { wanted, seen, disk_failed, is_busy })
}

fn usage() -> impl Strategy<Value = Usage> {
    let memory = prop::option::of((any::<bool>(), any::<u64>(), any::<u64>()).prop_map(|(guest, a, b)| {
        if guest {
            MemoryUse::Guest { used_kib: a, total_kib: b }
        } else {
            MemoryUse::Host { held_kib: a, total_kib: b }
        }
    }));
    let disk = ("[a-z]{1,40}", any::<u64>(), any::<u64>()).prop_map(|(target, allocated, capacity)| {
        DiskUse { target, allocated_bytes: allocated, capacity_bytes: capacity }
    });
    (prop::option::of(any::<f64>()), memory, prop::collection::vec(disk, 0..40))
        .prop_map(|(cpu_percent, memory, disks)| Usage { cpu_percent, memory, disks })
}

fn running() -> Look {
    Look { wanted: Wanted::Running, seen: Seen::Running, disk_failed: false, is_busy: false }
}

proptest! {
    #[test]
    fn whatever_is_read_is_told_shortly_and_nothing_unknown_is_called_bad(look in look(), usage in usage()) {
        for check in Check::ALL {
            let found = judge(check, &look, &usage, &Thresholds::default());
            prop_assert!(!found.detail.is_empty());
            prop_assert!(found.detail.chars().count() <= MAX_DETAIL_CHARS);
            if look.seen == Seen::Unknown {
                prop_assert_eq!(found.verdict, Verdict::Unknown);
            }
            if look.is_busy && !look.disk_failed && matches!(check, Check::Reachable | Check::State) {
                prop_assert!(found.verdict != Verdict::Critical);
            }
        }
    }

    #[test]
    fn more_is_never_better(low in 0.0f64..200.0, more in 0.0f64..200.0, warning in 1u8..=100, above in 0u8..=99) {
        let levels = Levels::new(warning, warning.saturating_add(above).min(100)).unwrap();
        prop_assert!(levels.judge(low) <= levels.judge(low + more));
        prop_assert_eq!(levels.judge(f64::from(warning) - 0.001), Verdict::Healthy);
    }

    #[test]
    fn figures_of_what_is_not_on_say_nothing(usage in usage(), seen in prop::sample::select(SEEN.to_vec())) {
        let look = Look { seen, ..running() };
        for check in [Check::CpuUsage, Check::MemoryUsage] {
            let found = judge(check, &look, &usage, &Thresholds::default()).verdict;
            prop_assert!(is_on(seen) || found == Verdict::Unknown);
        }
    }
}

#[test]
fn levels_that_make_no_sense_are_refused() {
    for (warning, critical) in [(0, 50), (90, 80), (50, 101)] {
        assert_eq!(Levels::new(warning, critical), Err(BadLevels(warning, critical)));
    }
    assert!(Levels::new(100, 100).is_ok());
}

#[test]
fn a_state_is_judged_by_what_it_shall_be() {
    for (wanted, seen, busy, verdict) in [
        (Wanted::Running, Seen::Running, false, Verdict::Healthy),
        (Wanted::Running, Seen::Off, false, Verdict::Critical),
        (Wanted::Running, Seen::Crashed, false, Verdict::Critical),
        (Wanted::Running, Seen::Absent, false, Verdict::Critical),
        (Wanted::Running, Seen::Off, true, Verdict::Unknown),
        (Wanted::Running, Seen::Paused, false, Verdict::Warning),
        (Wanted::Suspended, Seen::Paused, false, Verdict::Healthy),
        (Wanted::Off, Seen::Off, false, Verdict::Healthy),
        (Wanted::Off, Seen::Running, false, Verdict::Warning),
    ] {
        let look = Look { wanted, seen, disk_failed: false, is_busy: busy };
        let found = judge(Check::State, &look, &Usage::default(), &Thresholds::default());
        assert_eq!(found.verdict, verdict, "{look:?}: {}", found.detail);
    }
    let failed = Look { seen: Seen::Paused, disk_failed: true, ..running() };
    for check in [Check::State, Check::DiskSpace] {
        let found = judge(check, &failed, &Usage::default(), &Thresholds::default());
        assert_eq!(found.verdict, Verdict::Critical, "{check}");
    }
}

#[test]
fn figures_are_judged_by_their_levels() {
    let judged = |check, usage: &Usage| judge(check, &running(), usage, &Thresholds::default());
    for (percent, verdict) in [
        (79.9, Verdict::Healthy),
        (80.0, Verdict::Warning),
        (90.0, Verdict::Critical),
        (f64::NAN, Verdict::Unknown),
    ] {
        let usage = Usage { cpu_percent: Some(percent), ..Usage::default() };
        assert_eq!(judged(Check::CpuUsage, &usage).verdict, verdict, "{percent}");
    }
    let guest =
        |used_kib| Usage { memory: Some(MemoryUse::Guest { used_kib, total_kib: 100 }), ..Usage::default() };
    assert_eq!(judged(Check::MemoryUsage, &guest(84)).verdict, Verdict::Healthy);
    assert_eq!(judged(Check::MemoryUsage, &guest(96)).verdict, Verdict::Critical);
    // All of its memory touched once is how every guest ends up, and no fault.
    let held =
        |held_kib| Usage { memory: Some(MemoryUse::Host { held_kib, total_kib: 100 }), ..Usage::default() };
    assert_eq!(judged(Check::MemoryUsage, &held(110)).verdict, Verdict::Healthy);
    assert_eq!(judged(Check::MemoryUsage, &held(200)).verdict, Verdict::Warning);
    let disk = |target: &str, allocated_bytes| DiskUse {
        target: target.into(),
        allocated_bytes,
        capacity_bytes: 100,
    };
    let usage = Usage { disks: vec![disk("vda", 10), disk("vdb", 90)], ..Usage::default() };
    let found = judged(Check::DiskSpace, &usage);
    assert_eq!(found.verdict, Verdict::Warning);
    assert_eq!(found.detail, "`vda` is written to 10.0 %, `vdb` is written to 90.0 %");
    for check in [Check::CpuUsage, Check::MemoryUsage, Check::DiskSpace] {
        assert_eq!(judged(check, &Usage::default()).verdict, Verdict::Unknown, "{check}");
    }
}
