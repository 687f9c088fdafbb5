//! Writes what libvirt shall make of a machine. Pure: values in, text out, through an XML writer that
//! escapes whatever people called it.

use std::io;

use quick_xml::Writer;
use quick_xml::events::BytesText;
use rules::id::MachineId;

use crate::hypervisor::definition::{Boot, Definition, Disk, Link};
use crate::hypervisor::seen::Mark;

/// The namespace of what people call a machine, inside its definition.
pub(super) const MACHINE_NAMESPACE: &str = "urn:millrace:machine:1";
/// The prefix of that namespace.
const MACHINE_PREFIX: &str = "millrace";
/// The namespace of the last operation that was carried out on a machine, inside its definition.
pub(super) const MARK_NAMESPACE: &str = "urn:millrace:mark:1";
/// The prefix of that namespace.
pub(super) const MARK_PREFIX: &str = "millrace-mark";

/// By what machines of a host are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Platform {
    /// libvirt's test driver, which runs nothing.
    Test,
    /// QEMU, its instructions emulated: slow, and works everywhere.
    Qemu,
    /// QEMU on KVM. Never chosen because `/dev/kvm` is there: it can be, and no guest executes a line.
    Kvm,
}

impl Platform {
    /// The type of a domain in libvirt's words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Qemu => "qemu",
            Self::Kvm => "kvm",
        }
    }
}

/// The definition of this machine for this platform, carrying this mark.
///
/// # Errors
/// None that is known: the text is written to memory.
pub fn domain_xml(definition: &Definition, platform: Platform, mark: Mark) -> io::Result<String> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    writer.create_element("domain").with_attribute(("type", platform.as_str())).write_inner_content(|w| {
        text(w, "name", &Definition::host_name(definition.machine))?;
        text(w, "uuid", &definition.machine.to_string())?;
        text(w, "title", &title(&definition.name))?;
        metadata(w, definition, mark)?;
        w.create_element("memory")
            .with_attribute(("unit", "MiB"))
            .write_text_content(BytesText::new(&definition.memory_mib.to_string()))?;
        text(w, "vcpu", &definition.cpus.to_string())?;
        os(w, &definition.boot, platform)?;
        if platform != Platform::Test {
            w.create_element("features").write_inner_content(|w| empty(w, "acpi", &[]))?;
        }
        if platform == Platform::Kvm {
            empty(w, "cpu", &[("mode", "host-model")])?;
        }
        text(w, "on_poweroff", "destroy")?;
        text(w, "on_reboot", "restart")?;
        text(w, "on_crash", "destroy")?;
        w.create_element("devices").write_inner_content(|w| devices(w, definition, platform))?;
        Ok(())
    })?;
    let mut xml = String::from_utf8_lossy(&writer.into_inner()).into_owned();
    xml.push('\n');
    Ok(xml)
}

/// What a mark looks like inside a definition, without its namespace, as libvirt wants it when it is set.
pub(super) fn mark_xml(mark: Mark) -> io::Result<String> {
    let mut writer = Writer::new(Vec::new());
    let (operation, generation) = (mark.operation.to_string(), mark.generation.to_string());
    empty(&mut writer, "mark", &[("operation", &operation), ("generation", &generation)])?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).into_owned())
}

type Out = Writer<Vec<u8>>;

fn text(w: &mut Out, name: &str, content: &str) -> io::Result<()> {
    w.create_element(name).write_text_content(BytesText::new(content)).map(drop)
}

fn empty(w: &mut Out, name: &str, attributes: &[(&str, &str)]) -> io::Result<()> {
    w.create_element(name).with_attributes(attributes.iter().copied()).write_empty().map(drop)
}

/// A title has one line; the exact name stands in the metadata.
fn title(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn metadata(w: &mut Out, definition: &Definition, mark: Mark) -> io::Result<()> {
    let (operation, generation) = (mark.operation.to_string(), mark.generation.to_string());
    w.create_element("metadata")
        .write_inner_content(|w| {
            empty(
                w,
                "millrace:machine",
                &[(&format!("xmlns:{MACHINE_PREFIX}"), MACHINE_NAMESPACE), ("name", &definition.name)],
            )?;
            empty(
                w,
                "millrace-mark:mark",
                &[
                    (&format!("xmlns:{MARK_PREFIX}"), MARK_NAMESPACE),
                    ("operation", &operation),
                    ("generation", &generation),
                ],
            )
        })
        .map(drop)
}

fn os(w: &mut Out, boot: &Boot, platform: Platform) -> io::Result<()> {
    let kind: &[(&str, &str)] = match platform {
        Platform::Test => &[],
        Platform::Qemu | Platform::Kvm => &[("arch", "x86_64"), ("machine", "q35")],
    };
    w.create_element("os")
        .write_inner_content(|w| {
            w.create_element("type")
                .with_attributes(kind.iter().copied())
                .write_text_content(BytesText::new("hvm"))?;
            match boot {
                Boot::Disk => {
                    empty(w, "boot", &[("dev", "hd")])?;
                    empty(w, "boot", &[("dev", "network")])?;
                }
                Boot::Kernel { kernel, initrd, arguments } => {
                    text(w, "kernel", kernel)?;
                    if let Some(initrd) = initrd {
                        text(w, "initrd", initrd)?;
                    }
                    text(w, "cmdline", arguments)?;
                }
            }
            Ok(())
        })
        .map(drop)
}

fn devices(w: &mut Out, definition: &Definition, platform: Platform) -> io::Result<()> {
    for (disk, letter) in definition.disks.iter().zip('a'..='z') {
        disk_xml(w, disk, &format!("vd{letter}"))?;
    }
    for (link, index) in definition.links.iter().zip(0_u8..) {
        link_xml(w, link, &mac(definition.machine, index))?;
    }
    if platform != Platform::Test {
        w.create_element("serial").with_attribute(("type", "pty")).write_empty()?;
        w.create_element("channel").with_attribute(("type", "unix")).write_inner_content(|w| {
            empty(w, "target", &[("type", "virtio"), ("name", "org.qemu.guest_agent.0")])
        })?;
        empty(w, "memballoon", &[("model", "none")])?;
    }
    Ok(())
}

fn disk_xml(w: &mut Out, disk: &Disk, target: &str) -> io::Result<()> {
    w.create_element("disk")
        .with_attributes([("type", "file"), ("device", "disk")])
        .write_inner_content(|w| {
            empty(w, "driver", &[("name", "qemu"), ("type", disk.format.as_str())])?;
            empty(w, "source", &[("file", &disk.path)])?;
            empty(w, "target", &[("dev", target), ("bus", "virtio")])
        })
        .map(drop)
}

fn link_xml(w: &mut Out, link: &Link, mac: &str) -> io::Result<()> {
    let (kind, name) = match link {
        Link::Network(name) => ("network", name),
        Link::Bridge(name) => ("bridge", name),
    };
    w.create_element("interface")
        .with_attribute(("type", kind))
        .write_inner_content(|w| {
            empty(w, "mac", &[("address", mac)])?;
            empty(w, "source", &[(kind, name)])?;
            empty(w, "model", &[("type", "virtio")])
        })
        .map(drop)
}

/// The address of a network card: made of the machine's id, so that it stays when it is defined again.
fn mac(machine: MachineId, index: u8) -> String {
    let [.., a, b, c] = *machine.0.as_bytes();
    // 52:54:00 is what QEMU's cards begin with. The last byte moves with the card, and wraps.
    format!("52:54:00:{a:02x}:{b:02x}:{:02x}", c.wrapping_add(index))
}

#[cfg(test)]
mod tests {
    use super::super::domain_read::{mark_in, name_in};
    use super::*;
    use crate::hypervisor::definition::DiskFormat;
    use proptest::prelude::*;
    use rules::id::OperationId;
    use uuid::Uuid;

    fn definition(name: &str) -> Definition {
        Definition {
            machine: MachineId(Uuid::from_u128(0x0123_4567_89ab_4def_8123_4567_89ab_cdef)),
            name: name.to_owned(),
            cpus: 2,
            memory_mib: 192,
            boot: Boot::Disk,
            disks: vec![Disk { path: "/pool/a.qcow2".to_owned(), format: DiskFormat::Qcow2 }],
            links: vec![Link::Network("default".to_owned()), Link::Bridge("br0".to_owned())],
        }
    }

    const MARK: Mark = Mark { operation: OperationId(Uuid::from_u128(7)), generation: 3 };

    #[test]
    fn each_platform_has_its_definition() {
        insta::assert_snapshot!("test", domain_xml(&definition("web 1"), Platform::Test, MARK).unwrap());
        insta::assert_snapshot!("qemu", domain_xml(&definition("web 1"), Platform::Qemu, MARK).unwrap());
        let mut kernel = definition("web \"1\" <&> 'x'\nsecond");
        kernel.boot = Boot::Kernel {
            kernel: "/boot/vmlinuz".to_owned(),
            initrd: Some("/boot/initrd".to_owned()),
            arguments: "console=ttyS0 quiet".to_owned(),
        };
        insta::assert_snapshot!("kvm", domain_xml(&kernel, Platform::Kvm, MARK).unwrap());
    }

    proptest! {
        /// Whatever a definition lets through comes back as it was, and nothing of it becomes structure.
        #[test]
        fn hostile_names_come_back(name in "[\\PC\n\r\t<>&\"']{1,60}", path in "/[\\PC<>&\"']{0,40}") {
            let mut definition = definition(&name);
            definition.disks[0].path = path;
            prop_assume!(definition.check().is_ok());
            let xml = domain_xml(&definition, Platform::Qemu, MARK).unwrap();
            prop_assert_eq!(name_in(&xml), Some(name));
            prop_assert_eq!(mark_in(&xml), Some(MARK));
            prop_assert_eq!(super::super::domain_read::targets_in(&xml), vec!["vda".to_owned()]);
        }

        #[test]
        fn marks_come_back(operation: u128, generation: i64) {
            let mark = Mark { operation: OperationId(Uuid::from_u128(operation)), generation };
            prop_assert_eq!(mark_in(&mark_xml(mark).unwrap()), Some(mark));
        }
    }
}
