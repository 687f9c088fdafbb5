//! A hypervisor host of its own on this machine: a real libvirtd, and QEMU below it, in namespaces. It can be
//! powered off, and its daemon killed, stopped and started again.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// Where Debian puts the daemon.
const DAEMON: &str = "/usr/sbin/libvirtd";
/// How long a host may take to boot or to go.
const LIMIT: Duration = Duration::from_secs(30);

/// A host in namespaces of its own. Powered off when dropped.
#[derive(Debug)]
pub struct HypervisorHost {
    name: String,
    folder: tempfile::TempDir,
    holder: Option<Child>,
    /// What else the daemon is told.
    settings: &'static str,
    /// How it is spoken to from other machines, and at which port of this machine's own loopback.
    afar: Option<(Afar, u16)>,
}

/// How a host is spoken to from other machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afar {
    /// By its daemon, with certificates on both sides.
    Tls,
    /// By its daemon, in clear.
    Tcp,
    /// By a server of ssh before its daemon.
    Ssh,
}

/// Why no such host can be had here; none when it can.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("namespaces need root".to_owned());
    }
    for program in
        [DAEMON, "/usr/bin/qemu-system-x86_64", "/usr/bin/unshare", "/usr/bin/setpriv", "/usr/bin/qemu-img"]
    {
        if !Path::new(program).is_file() {
            return Some(format!("`{program}` is missing; run .ci/guests"));
        }
    }
    let namespaces = ["--mount", "--net", "--uts", "--pid", "--fork", "--mount-proc", "true"];
    let tried = Command::new("unshare").args(namespaces).stderr(Stdio::null()).status();
    if !tried.is_ok_and(|status| status.success()) {
        return Some("this machine lets nobody make namespaces".to_owned());
    }
    None
}

impl HypervisorHost {
    /// Boots a host of this name.
    ///
    /// # Panics
    /// When it does not come up; [`missing`] says what is known to prevent it.
    pub fn boot(name: &str) -> Self {
        Self::set_up(name, None, "", |_| {})
    }

    /// Boots a host of this name whose daemon does one call at a time, and whose guests do not start for as long as
    /// [`HypervisorHost::hold_up`] says: then it hangs, and its connections live.
    ///
    /// # Panics
    /// As [`HypervisorHost::boot`].
    pub fn boot_narrow(name: &str) -> Self {
        let settings = "min_workers = 1\nmax_workers = 1\nprio_workers = 0\n";
        Self::set_up(name, None, settings, |folder| {
            let hooks = folder.join("etc/hooks");
            fs::create_dir_all(&hooks).expect("a folder");
            let held = folder.join("held").display().to_string();
            let hook = hooks.join("qemu");
            fs::write(&hook, format!("#!/bin/sh\nwhile [ -e {held} ]; do sleep 0.1; done\n"))
                .expect("a file");
            fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("it is ours");
        })
    }

    /// Lets no guest of a host that was booted narrow start, or lets them start.
    ///
    /// # Panics
    /// When its folder is gone.
    pub fn hold_up(&self, held: bool) {
        if held {
            fs::write(self.at("held"), "").expect("a file");
        } else {
            fs::remove_file(self.at("held")).expect("it is held up");
        }
    }

    /// Boots a host of this name that is spoken to from other machines too, by what `prepare` puts into the folder it
    /// is given: for TLS the server's certificate and key and the authority's certificate, for ssh its key as
    /// `hostkey` and `authorized_keys`.
    ///
    /// # Panics
    /// As [`HypervisorHost::boot`].
    pub fn boot_afar(name: &str, afar: Afar, prepare: impl FnOnce(&Path)) -> Self {
        let free = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = free.local_addr().expect("it is bound").port();
        drop(free);
        Self::set_up(name, Some((afar, port)), "", prepare)
    }

    fn set_up(
        name: &str,
        afar: Option<(Afar, u16)>,
        settings: &'static str,
        prepare: impl FnOnce(&Path),
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("millrace-host-").tempdir().expect("a folder");
        let mut host = Self { name: name.to_owned(), folder, holder: None, settings, afar };
        prepare(host.folder());
        for part in ["etc", "run", "sock", "varlib", "cache", "log"] {
            fs::create_dir_all(host.at(part)).expect("a folder");
        }
        host.configure();
        host.power_on();
        host
    }

    fn configure(&self) {
        let sock = self.at("sock");
        let id = uuid::Uuid::new_v4();
        let base = self.folder.path().display();
        let doors = match self.afar {
            Some((Afar::Tls, port)) => format!(
                "listen_tls = 1\nlisten_tcp = 0\nauth_tls = \"none\"\nlisten_addr = \"127.0.0.1\"\ntls_port = \"{port}\"\n\
                 key_file = \"{base}/serverkey.pem\"\ncert_file = \"{base}/servercert.pem\"\nca_file = \"{base}/cacert.pem\"\n"
            ),
            Some((Afar::Tcp, port)) => format!(
                "listen_tls = 0\nlisten_tcp = 1\nauth_tcp = \"none\"\nlisten_addr = \"127.0.0.1\"\ntcp_port = \"{port}\"\n"
            ),
            Some((Afar::Ssh, _)) | None => String::new(),
        };
        fs::write(
            self.at("etc/libvirtd.conf"),
            format!(
                "unix_sock_dir = \"{}\"\nauth_unix_ro = \"none\"\nauth_unix_rw = \"none\"\n\
                 unix_sock_rw_perms = \"0700\"\nlog_outputs = \"3:stderr\"\nhost_uuid = \"{id}\"\n{doors}{}",
                sock.display(),
                self.settings
            ),
        )
        .expect("a file");
        fs::write(
            self.at("etc/qemu.conf"),
            "user = \"root\"\ngroup = \"root\"\ndynamic_ownership = 0\nremember_owner = 0\n\
             security_driver = \"none\"\nstdio_handler = \"file\"\ncgroup_controllers = []\nnamespaces = []\n",
        )
        .expect("a file");
        let (listen, server) = match self.afar {
            Some((Afar::Tls | Afar::Tcp, _)) => ("--listen", String::new()),
            // Whoever comes in is root, with a home in this folder, and finds the daemon where it always is.
            Some((Afar::Ssh, port)) => (
                "",
                format!(
                    "mkdir -p -m 700 {base}/home/.ssh; cp {base}/authorized_keys {base}/home/.ssh/\n\
                     sed 's#^root:.*#root:x:0:0:root:{base}/home:/bin/sh#' /etc/passwd >{base}/passwd\n\
                     mount --bind {base}/passwd /etc/passwd; ln -s {base}/sock/libvirt-sock /run/libvirt/\n\
                     dropbear -F -E -s -p 127.0.0.1:{port} -r {base}/hostkey -P {base}/run/dropbear.pid \
                     >>{base}/dropbear.log 2>&1 &\n"
                ),
            ),
            None => ("", String::new()),
        };
        // As process 1 of its namespace the shell reaps: unreaped, a dead QEMU looks alive to libvirt.
        fs::write(
            self.at("init.sh"),
            format!(
                "mount --make-rprivate /\n\
                 mkdir -p /etc/libvirt /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt\n\
                 mount --bind {base}/etc /etc/libvirt; mount --bind {base}/run /run/libvirt\n\
                 mount --bind {base}/varlib /var/lib/libvirt; mount --bind {base}/cache /var/cache/libvirt\n\
                 mount --bind {base}/log /var/log/libvirt\n\
                 hostname {name}; ip link set lo up 2>/dev/null\n\
                 daemon() {{ {DAEMON} -p {base}/run/libvirtd.pid {listen} >>{base}/libvirtd.log 2>&1 & }}\n\
                 trap daemon USR1\n\
                 daemon\n{server}\
                 while :; do sleep 3600 & wait -n; done\n",
                name = self.name
            ),
        )
        .expect("a file");
    }

    fn at(&self, part: &str) -> PathBuf {
        self.folder.path().join(part)
    }

    /// The folder that this host and the tests share.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The address of its QEMU.
    pub fn qemu(&self) -> String {
        format!("qemu+unix:///system?socket={}", self.socket().display())
    }

    /// The address of its QEMU from another machine, which calls it so, with this behind its `?`.
    ///
    /// # Panics
    /// When nobody comes to it from there.
    pub fn qemu_afar(&self, name: &str, query: &str) -> String {
        let (afar, port) = self.afar.expect("it was booted so");
        let transport = match afar {
            Afar::Tls => "tls",
            Afar::Tcp => "tcp",
            Afar::Ssh => "ssh",
        };
        format!("qemu+{transport}://{name}:{port}/system?{query}")
    }

    /// The address of libvirt's test driver behind its daemon.
    pub fn test_driver(&self) -> String {
        format!("test+unix:///default?socket={}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.at("sock/libvirt-sock")
    }

    /// Boots the host after [`HypervisorHost::power_off`].
    ///
    /// # Panics
    /// When it does not come up.
    pub fn power_on(&mut self) {
        for part in ["run", "sock"] {
            fs::remove_dir_all(self.at(part)).expect("it is there");
            fs::create_dir(self.at(part)).expect("a folder");
        }
        // What listens for the tests stays in their network.
        let apart = if self.afar.is_some() { "--mount" } else { "--net" };
        // With the thread of the test goes the host, should nobody be left to drop it.
        let holder = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "unshare", apart])
            .args(["--mount", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", "bash"])
            .arg(self.at("init.sh"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare starts");
        self.holder = Some(holder);
        self.wait_for_daemon();
    }

    /// Takes the power: the daemon and all guests are gone at once.
    ///
    /// # Panics
    /// When it is off already.
    pub fn power_off(&mut self) {
        let mut holder = self.holder.take().expect("it is on");
        holder.kill().expect("it is ours");
        holder.wait().expect("it ends");
        wait::until_blocking(LIMIT, "the host is gone", || self.processes("").is_empty());
    }

    /// Kills the daemon; guests go on.
    pub fn kill_daemon(&self) {
        self.signal_daemon(Signal::KILL);
        wait::until_blocking(LIMIT, "the daemon is gone", || self.daemon().is_none());
    }

    /// Ends the daemon as its service would; guests go on.
    pub fn end_daemon(&self) {
        self.signal_daemon(Signal::TERM);
        wait::until_blocking(LIMIT, "the daemon ends", || self.daemon().is_none());
    }

    /// Stops the daemon, so that it hangs.
    pub fn stop_daemon(&self) {
        self.signal_daemon(Signal::STOP);
    }

    /// Lets a stopped daemon go on.
    pub fn continue_daemon(&self) {
        self.signal_daemon(Signal::CONT);
    }

    /// Starts the daemon again.
    ///
    /// # Panics
    /// When the host is off.
    pub fn start_daemon(&self) {
        let init = self.processes("init.sh");
        let shell = init.iter().filter(|(_, command)| command.starts_with("bash")).map(|(pid, _)| *pid);
        shell.for_each(|pid| kill_process(pid, Signal::USR1).expect("it is ours"));
        self.wait_for_daemon();
    }

    /// How often QEMU was started for this machine, by its log.
    ///
    /// # Panics
    /// When no guest was ever started here.
    pub fn starts(&self, machine: uuid::Uuid) -> usize {
        let logs = fs::read_dir(self.at("log/qemu")).expect("QEMU has a log").flatten();
        let of_machine = logs.filter(|log| log.file_name().to_string_lossy().contains(&machine.to_string()));
        let texts = of_machine.map(|log| fs::read(log.path()).expect("it is ours"));
        texts.map(|text| String::from_utf8_lossy(&text).matches("starting up").count()).sum()
    }

    /// Kills the guest of this machine, as a fault of QEMU would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_guest(&self, machine: uuid::Uuid) {
        let id = machine.to_string();
        let guests = self.processes(&id);
        assert!(!guests.is_empty(), "no guest of {id}");
        guests.iter().for_each(|(pid, _)| kill_process(*pid, Signal::KILL).expect("it is ours"));
    }

    fn signal_daemon(&self, signal: Signal) {
        kill_process(self.daemon().expect("the daemon runs"), signal).expect("it is ours");
    }

    fn daemon(&self) -> Option<Pid> {
        let mark = format!("{DAEMON}\0-p\0");
        self.processes("libvirtd.pid")
            .iter()
            .find(|(_, command)| command.starts_with(&mark))
            .map(|(pid, _)| *pid)
    }

    fn wait_for_daemon(&self) {
        wait::until_blocking(LIMIT, "the daemon listens", || UnixStream::connect(self.socket()).is_ok());
    }

    /// The processes of this host whose command lines hold this text too, as the machine numbers them.
    fn processes(&self, text: &str) -> Vec<(Pid, String)> {
        let base = self.folder.path().display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Some(pid) =
                entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
            else {
                continue;
            };
            let Ok(command) = fs::read(entry.path().join("cmdline")) else { continue };
            let command = String::from_utf8_lossy(&command).into_owned();
            if command.contains(&base) && command.contains(text) {
                found.push((pid, command));
            }
        }
        found
    }
}

impl Drop for HypervisorHost {
    fn drop(&mut self) {
        if let Some(mut holder) = self.holder.take() {
            // The folder goes next, and nothing may be left in it.
            drop(holder.kill());
            drop(holder.wait());
        }
    }
}
