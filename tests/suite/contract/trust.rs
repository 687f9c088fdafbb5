//! What is asked of a host only goes to whoever is trusted, whatever was asked before.

use rules::machine::Seen;
use workers::hypervisor::{Class, DiskFormat, DiskOrder, Fault, Trust};

use super::hosts::{all, machine, mark};

#[tokio::test]
async fn who_is_not_trusted_is_asked_for_nothing() {
    for host in all() {
        let driver = &host.driver;
        let definition = machine();
        let id = definition.machine;
        let order = DiskOrder { machine: id, slot: 0, size_mib: 1, format: DiskFormat::Raw };
        for whom in [Trust::Nobody, Trust::Own(Some("another".to_owned()))] {
            driver.trust(whom.clone());
            let refused = [
                driver.define(&definition, mark(1)).await.map(drop).unwrap_err(),
                driver.look(id).await.map(drop).unwrap_err(),
                driver.list().await.map(drop).unwrap_err(),
                driver.create_disk(order).await.map(drop).unwrap_err(),
                driver.delete_disks(id).await.unwrap_err(),
                driver.figures(id).await.map(drop).unwrap_err(),
            ];
            for error in refused {
                let told = (error.fault, error.class());
                assert_eq!(told, (Fault::Unrecognised, Class::HostLost), "{} {whom:?}: {error}", host.name);
            }
            assert_eq!(driver.report().await.unwrap().identity, None, "{}: it says who it is", host.name);
        }
        driver.trust(Trust::Own(None));
        assert_eq!(driver.look(id).await.unwrap().state, Seen::Absent, "{}: nothing was done", host.name);
        assert_eq!(driver.define(&definition, mark(1)).await.unwrap().state, Seen::Off, "{}", host.name);
        driver.undefine(id, mark(2)).await.unwrap();
    }
}
