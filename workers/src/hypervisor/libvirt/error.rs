//! What an error of libvirt means.

use virt::enumutil::Enum;
use virt::error::{Error, ErrorNumber};

use crate::hypervisor::error::{Fault, HypervisorError, Origin};

/// The most characters of libvirt's own words that are kept: QEMU's last output can be part of them.
const REASON_CHARS: usize = 600;

/// Words of QEMU and libvirt by which a cause is known that has no code of its own.
const LOCKED: [&str; 2] = ["Failed to get \"write\" lock", "Failed to get shared \"write\" lock"];
const EXHAUSTED: [&str; 3] =
    ["Cannot allocate memory", "cannot set up guest memory", "No space left on device"];

/// The error of this act.
pub(super) fn mapped(act: &'static str, error: &Error) -> HypervisorError {
    let message = error.message();
    let origin = Origin { code: error.code().to_raw(), domain: error.domain().to_raw() };
    let reason: String = message.trim().chars().take(REASON_CHARS).collect();
    HypervisorError { origin: Some(origin), ..HypervisorError::new(fault(error), act).because(reason) }
}

fn fault(error: &Error) -> Fault {
    let message = error.message();
    if LOCKED.iter().any(|words| message.contains(words)) {
        return Fault::Locked;
    }
    if EXHAUSTED.iter().any(|words| message.contains(words)) {
        return Fault::Exhausted;
    }
    let Enum::Known(code) = error.code() else { return Fault::Other };
    match code {
        ErrorNumber::NoDomain => Fault::NoMachine,
        ErrorNumber::NoDomainSnapshot
        | ErrorNumber::NoStoragePool
        | ErrorNumber::NoStorageVolume
        | ErrorNumber::NoNetwork => Fault::NoThing,
        ErrorNumber::NoSupport
        | ErrorNumber::OperationUnsupported
        | ErrorNumber::ArgumentUnsupported
        | ErrorNumber::ConfigUnsupported => Fault::Unsupported,
        ErrorNumber::XmlError
        | ErrorNumber::XmlDetail
        | ErrorNumber::XmlInvalidSchema
        | ErrorNumber::InvalidArg => Fault::Refused,
        ErrorNumber::OperationDenied | ErrorNumber::AccessDenied | ErrorNumber::AuthFailed => Fault::Denied,
        ErrorNumber::ResourceBusy | ErrorNumber::OperationTimeout => Fault::Busy,
        ErrorNumber::NoMemory => Fault::Exhausted,
        ErrorNumber::NoConnect | ErrorNumber::InvalidConn | ErrorNumber::Rpc => Fault::Unreachable,
        // libvirt has over a hundred; what is not told apart may go away by itself.
        _ => Fault::Other,
    }
}

/// Whether the error has this code.
pub(super) fn is(error: &Error, code: ErrorNumber) -> bool {
    error.code() == Enum::Known(code)
}
