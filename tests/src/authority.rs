//! A certificate authority of a test's own, by the program `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program.
const OPENSSL: &str = "/usr/bin/openssl";

/// An authority, with its key and its certificate in a folder.
#[derive(Debug)]
pub struct Authority(tempfile::TempDir);

/// For what a certificate is good.
#[derive(Debug, Clone, Copy)]
pub enum Purpose {
    /// A server of the name.
    Server,
    /// A client.
    Client,
}

/// Why there is none here; none when there is.
pub fn missing() -> Option<String> {
    (!Path::new(OPENSSL).is_file()).then(|| format!("`{OPENSSL}` is missing"))
}

impl Authority {
    /// Makes an authority.
    ///
    /// # Panics
    /// When `openssl` is not as it should be.
    pub fn new() -> Self {
        let authority = Self(tempfile::tempdir().expect("a folder"));
        let key = authority.at("cakey.pem");
        openssl(
            &["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority"],
            |c| {
                c.args(["-addext", "keyUsage=critical,keyCertSign,cRLSign"])
                    .arg("-keyout")
                    .arg(&key)
                    .arg("-out")
                    .arg(authority.at("cacert.pem"))
            },
        );
        authority
    }

    /// Puts a certificate of this name and its key into a folder, with the authority's, as libvirt names them.
    ///
    /// # Panics
    /// As [`Authority::new`].
    pub fn issue(&self, purpose: Purpose, name: &str, folder: &Path) {
        let (file, usage) = match purpose {
            Purpose::Server => ("server", "serverAuth"),
            Purpose::Client => ("client", "clientAuth"),
        };
        let (request, extensions) = (self.at("request.pem"), self.at("extensions"));
        let told = format!(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature,keyEncipherment\n\
             extendedKeyUsage={usage}\nsubjectAltName=DNS:{name}\n"
        );
        fs::write(&extensions, told).expect("a file");
        openssl(&["req", "-newkey", "rsa:2048", "-nodes", "-subj", &format!("/CN={name}")], |c| {
            c.arg("-keyout").arg(folder.join(format!("{file}key.pem"))).arg("-out").arg(&request)
        });
        openssl(&["x509", "-req", "-days", "2", "-CAcreateserial"], |c| {
            c.arg("-in")
                .arg(&request)
                .arg("-CA")
                .arg(self.at("cacert.pem"))
                .arg("-CAkey")
                .arg(self.at("cakey.pem"))
                .arg("-extfile")
                .arg(&extensions)
                .arg("-out")
                .arg(folder.join(format!("{file}cert.pem")))
        });
        fs::copy(self.at("cacert.pem"), folder.join("cacert.pem")).expect("it was made");
    }

    fn at(&self, part: &str) -> PathBuf {
        self.0.path().join(part)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

fn openssl(arguments: &[&str], more: impl FnOnce(&mut Command) -> &mut Command) {
    let mut command = Command::new(OPENSSL);
    more(command.args(arguments)).stdin(Stdio::null());
    let done = command.output().expect("it starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}
