//! Real hypervisors: libvirt's daemon and QEMU's guests, in namespaces, powered off, killed and stopped.

#[cfg(feature = "libvirt")]
mod afar;
#[cfg(feature = "libvirt")]
mod daemon;
#[cfg(feature = "libvirt")]
mod faulted;
#[cfg(feature = "libvirt")]
mod guest;
#[cfg(feature = "libvirt")]
mod halting;
#[cfg(feature = "libvirt")]
pub(crate) mod pipeline;
#[cfg(feature = "libvirt")]
mod stage;
#[cfg(feature = "libvirt")]
mod table;
#[cfg(feature = "libvirt")]
mod two_hosts;
#[cfg(feature = "libvirt")]
mod witness;
