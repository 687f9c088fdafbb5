//! The address of a hypervisor: which schemes there are, and what is refused.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// The longest address, in bytes.
pub const MAX_URI_BYTES: usize = 1024;

/// The drivers that are known, each with the transports behind its name's `+`.
const DRIVERS: [&str; 2] = ["test", "qemu"];
const TRANSPORTS: [&str; 4] = ["unix", "tls", "tcp", "ssh"];

/// The address of a hypervisor, such as `test:///default`, `qemu:///system`, `qemu+unix:///system?socket=…`
/// or `qemu+tls://host/system`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostUri(String);

/// Why a text is no such address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadUri {
    /// Not an address at all.
    #[error(
        "it is no address of a hypervisor; write one such as `test:///default`, `qemu:///system` or \
         `qemu+tls://host/system`, with at most {MAX_URI_BYTES} characters and no spaces"
    )]
    Form,
    /// A scheme that nobody serves.
    #[error(
        "`{0}` is no scheme of a hypervisor; there are test and qemu, each also with +unix, +tls, +tcp and +ssh"
    )]
    Scheme(String),
    /// A password would be shown wherever the address is.
    #[error("an address holds no password; use a certificate, a key or a socket")]
    Password,
}

impl HostUri {
    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address as a process opens it that nobody sits before: ssh would ask for a password where there is a terminal,
    /// and hold the connection up for as long. `no_tty` of its own is left as it is.
    pub fn unattended(&self) -> Cow<'_, str> {
        let (address, query) = self.0.split_once('?').unwrap_or((&self.0, ""));
        let scheme = address.split("://").next().unwrap_or_default();
        if !scheme.ends_with("+ssh") || query.split('&').any(|pair| pair.starts_with("no_tty=")) {
            return Cow::Borrowed(&self.0);
        }
        let more = if query.is_empty() { "" } else { "&" };
        Cow::Owned(format!("{address}?{query}{more}no_tty=1"))
    }

    /// Whether its machines last only as long as the process that is connected: libvirt's in-process
    /// driver.
    pub fn lives_in_process(&self) -> bool {
        self.0.starts_with("test:")
    }
}

impl FromStr for HostUri {
    type Err = BadUri;

    fn from_str(text: &str) -> Result<Self, BadUri> {
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'<' | b'>' | b'\\' | b'`');
        if text.is_empty() || text.len() > MAX_URI_BYTES || !text.bytes().all(plain) {
            return Err(BadUri::Form);
        }
        let (scheme, rest) = text.split_once("://").ok_or(BadUri::Form)?;
        let (driver, transport) = match scheme.split_once('+') {
            Some((driver, transport)) => (driver, Some(transport)),
            None => (scheme, None),
        };
        if !DRIVERS.contains(&driver) || transport.is_some_and(|t| !TRANSPORTS.contains(&t)) {
            return Err(BadUri::Scheme(scheme.chars().take(32).collect()));
        }
        let (authority, path) = rest.split_once('/').ok_or(BadUri::Form)?;
        if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
            return Err(BadUri::Password);
        }
        if path.is_empty() {
            return Err(BadUri::Form);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for HostUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssh_asks_nobody() {
        for (address, opened) in [
            ("qemu+ssh://root@host/system", "qemu+ssh://root@host/system?no_tty=1"),
            ("qemu+ssh://host/system?", "qemu+ssh://host/system?no_tty=1"),
            ("qemu+ssh://host/system?keyfile=/k", "qemu+ssh://host/system?keyfile=/k&no_tty=1"),
            ("qemu+ssh://host/system?no_tty=0", "qemu+ssh://host/system?no_tty=0"),
            ("qemu+tls://host/system", "qemu+tls://host/system"),
            ("test:///default", "test:///default"),
        ] {
            assert_eq!(address.parse::<HostUri>().unwrap().unattended(), opened);
        }
    }

    #[test]
    fn known_schemes_are_taken_and_others_told() {
        for good in [
            "test:///default",
            "test:///tmp/node.xml",
            "test+unix:///default?socket=/run/x",
            "qemu:///system",
            "qemu+unix:///system?socket=/run/libvirt/libvirt-sock",
            "qemu+tls://host.example:16514/system",
            "qemu+ssh://root@host/system",
        ] {
            assert_eq!(good.parse::<HostUri>().unwrap().as_str(), good);
        }
        for bad in ["", "qemu", "qemu:/system", "qemu:// /system", "qemu:///", "qemu:///a\nb", "qemu:///\"x"]
        {
            assert_eq!(bad.parse::<HostUri>(), Err(BadUri::Form), "{bad:?}");
        }
        assert_eq!("http://host/x".parse::<HostUri>(), Err(BadUri::Scheme("http".into())));
        assert_eq!("qemu+ftp://host/x".parse::<HostUri>(), Err(BadUri::Scheme("qemu+ftp".into())));
        assert_eq!("qemu+tls://me:secret@host/system".parse::<HostUri>(), Err(BadUri::Password));
        assert!("test:///default".parse::<HostUri>().unwrap().lives_in_process());
        assert!(!"test+unix:///default?socket=/s".parse::<HostUri>().unwrap().lives_in_process());
    }
}
