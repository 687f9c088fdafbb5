//! What can be typed of hosts and of machines.

use clap::{Args, Subcommand};
use rules::id::{MachineId, TenantId};

use crate::argument;
use crate::command::Output;

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Every host with its state and what it has
    List {
        #[command(flatten)]
        output: Output,
    },
    /// One host: who holds it, how its hypervisor answers, what it has
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Drain a host: what runs goes on, nothing more is started and no machine placed there
    Drain {
        /// Its name
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Let a drained host go on
    Resume {
        /// Its name
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Accept that another hypervisor answers under a host's name: from then on it is the host's own
    Accept {
        /// Its name
        name: String,
        /// By what the hypervisor says who it is that shall be its own, as `host show` tells; '' for one that says nothing
        #[arg(long, value_name = "ID")]
        identity: String,
        #[command(flatten)]
        output: Output,
    },
    /// Remove a host that carries no machine and that no worker serves
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        output: Output,
    },
}

/// Something that is asked of a machine.
#[derive(Debug, Args)]
pub(crate) struct Asked {
    /// Its id
    #[arg(value_parser = argument::machine)]
    pub(crate) id: MachineId,
    /// Wait until it is done, and fail if it fails
    #[arg(long)]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Machine {
    /// The machines that are not destroyed, oldest first
    List {
        /// Only this tenant's, by id
        #[arg(long, value_parser = argument::tenant)]
        tenant: Option<TenantId>,
        /// Only those on this host, by name
        #[arg(long)]
        host: Option<String>,
        /// Only those after this id, which continues a list
        #[arg(long, value_parser = argument::machine)]
        after: Option<MachineId>,
        /// How many, at most 100
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(i64).range(1..=100))]
        limit: i64,
        #[command(flatten)]
        output: Output,
    },
    /// One machine: what it shall be, what it was seen to be, what was asked of it last
    Show {
        /// Its id
        #[arg(value_parser = argument::machine)]
        id: MachineId,
        #[command(flatten)]
        output: Output,
    },
    /// Why what was asked of a machine has not begun
    Why {
        /// Its id
        #[arg(value_parser = argument::machine)]
        id: MachineId,
        #[command(flatten)]
        output: Output,
    },
    /// How a machine is, and what each of its checks found last
    Health {
        /// Its id
        #[arg(value_parser = argument::machine)]
        id: MachineId,
        #[command(flatten)]
        output: Output,
    },
    /// Start a machine that is off; one that is held still goes on
    Start(Asked),
    /// Ask a machine's guest to switch itself off, and switch it off when it has not within a minute
    Stop(Asked),
    /// Switch a machine off as by pulling its plug
    ForceStop(Asked),
    /// Switch a machine off as `stop` does, and start it
    Restart(Asked),
    /// Press a machine's reset button
    Reset(Asked),
    /// Hold a machine still, in memory
    Suspend(Asked),
    /// Let a machine go on that is held still
    Resume(Asked),
    /// Switch a machine off and remove it with its disks and snapshots; there is no way back
    Destroy {
        /// Really do it
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// Put a machine that is off on another host, with all that waits for it; its disks are not copied
    Move {
        /// Its id
        #[arg(value_parser = argument::machine)]
        id: MachineId,
        /// The host that shall carry it, by name
        #[arg(long)]
        host: String,
        /// Vouch that its present host has no power. With one that has, the machine would run twice
        #[arg(long)]
        host_has_no_power: bool,
        #[command(flatten)]
        output: Output,
    },
}

impl Host {
    /// How its result is shown.
    pub(crate) const fn output(&self) -> &Output {
        match self {
            Self::List { output }
            | Self::Show { output, .. }
            | Self::Drain { output, .. }
            | Self::Resume { output, .. }
            | Self::Accept { output, .. }
            | Self::Remove { output, .. } => output,
        }
    }
}

impl Machine {
    /// How its result is shown.
    pub(crate) const fn output(&self) -> &Output {
        match self {
            Self::List { output, .. }
            | Self::Show { output, .. }
            | Self::Why { output, .. }
            | Self::Health { output, .. }
            | Self::Move { output, .. } => output,
            Self::Start(asked)
            | Self::Stop(asked)
            | Self::ForceStop(asked)
            | Self::Restart(asked)
            | Self::Reset(asked)
            | Self::Suspend(asked)
            | Self::Resume(asked)
            | Self::Destroy { asked, .. } => &asked.output,
        }
    }
}
