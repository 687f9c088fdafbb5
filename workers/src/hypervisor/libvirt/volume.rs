//! Makes, finds and deletes machines' disks, in a pool that libvirt keeps on the host. Runs where it may block.

use std::collections::BTreeSet;

use quick_xml::Writer;
use quick_xml::events::BytesText;
use rules::id::MachineId;
use rules::machine::Seen;
use virt::connect::Connect;
use virt::error::{Error, ErrorNumber};
use virt::storage_pool::StoragePool;
use virt::storage_vol::StorageVol;

use super::domain::look;
use super::error::{is, mapped};
use crate::hypervisor::definition::{Disk, DiskOrder, owner_of, volumes_of};
use crate::hypervisor::driver::Outcome;
use crate::hypervisor::error::{Fault, HypervisorError};

/// Where a host keeps disks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The pool's name.
    pub(super) pool: String,
    /// The folder that the pool is made of where the host has none of that name, absolute.
    pub(super) folder: String,
}

/// Makes the disk, or finds it.
pub(super) fn create(connect: &Connect, place: &Place, order: DiskOrder) -> Outcome<Disk> {
    let act = "create disk";
    let failed = |error: Error| mapped(act, &error).of(order.machine);
    let pool = ready(connect, place).map_err(failed)?;
    let name = order.volume();
    let volume = match find(&pool, &name).map_err(failed)? {
        Some(volume) => volume,
        None => {
            let xml = volume_xml(&order).map_err(|error| {
                HypervisorError::new(Fault::Other, act).of(order.machine).because(error.to_string())
            })?;
            match StorageVol::create_xml(&pool, &xml, 0) {
                Ok(volume) => volume,
                // What counts is whether it is there now: another call may have made it, or another host that
                // has the same folder, which this one learns only by looking through it anew.
                Err(error) => {
                    pool.refresh(0).map_err(failed)?;
                    find(&pool, &name).map_err(failed)?.ok_or_else(|| failed(error))?
                }
            }
        }
    };
    Ok(Disk { path: volume.path().map_err(failed)?, format: order.format })
}

/// Finds the disk, and never makes it. The pool is looked through anew: with the folder that it is made of, as when
/// that is mounted no more, goes all but what libvirt remembers of it.
pub(super) fn find_made(connect: &Connect, place: &Place, order: DiskOrder) -> Outcome<Disk> {
    let act = "find disk";
    let failed = |error: Error| mapped(act, &error).of(order.machine);
    let missing = |why: String| HypervisorError::new(Fault::NoDisk, act).of(order.machine).because(why);
    let Some(pool) = found(connect, place).map_err(failed)? else {
        let Place { pool, folder } = place;
        return Err(missing(format!(
            "the host has neither a storage pool `{pool}` nor the folder `{folder}`"
        )));
    };
    if let Err(error) = activate(&pool).and_then(|()| pool.refresh(0)) {
        let is_gone = is(&error, ErrorNumber::SystemError);
        return Err(if is_gone { missing(error.message().to_owned()) } else { failed(error) });
    }
    let name = order.volume();
    let volume = find(&pool, &name)
        .map_err(failed)?
        .ok_or_else(|| missing(format!("`{name}` in storage pool `{}`", place.pool)))?;
    Ok(Disk { path: volume.path().map_err(failed)?, format: order.format })
}

/// The machines for which the pool has disks, as far as libvirt knows without looking anew.
pub(super) fn owners(connect: &Connect, place: &Place) -> Outcome<Vec<MachineId>> {
    let read = || -> Result<BTreeSet<MachineId>, Error> {
        let Some(pool) = known(connect, place)? else { return Ok(BTreeSet::new()) };
        if !pool.is_active()? {
            return Ok(BTreeSet::new());
        }
        Ok(pool.list_volumes()?.iter().filter_map(|name| owner_of(name)).collect())
    };
    read().map(Vec::from_iter).map_err(|error| mapped("list disks", &error))
}

/// Deletes all disks that were made for the machine.
pub(super) fn delete(connect: &Connect, place: &Place, machine: MachineId) -> Outcome<()> {
    let act = "delete disks";
    let failed = |error: Error| mapped(act, &error).of(machine);
    let state = look(connect, machine)?.state;
    if state != Seen::Absent {
        return Err(HypervisorError::new(Fault::WrongState(state), act).of(machine));
    }
    let Some(pool) = found(connect, place).map_err(failed)? else { return Ok(()) };
    activate(&pool).map_err(failed)?;
    let prefix = volumes_of(machine);
    let of_machine = || -> Result<Vec<String>, Error> {
        Ok(pool.list_volumes()?.into_iter().filter(|name| name.starts_with(&prefix)).collect())
    };
    let mut names = of_machine().map_err(failed)?;
    if names.is_empty() {
        // Made by another host that has the same folder, perhaps.
        pool.refresh(0).map_err(failed)?;
        names = of_machine().map_err(failed)?;
    }
    for name in names {
        if let Some(volume) = find(&pool, &name).map_err(failed)?
            && let Err(error) = volume.delete(0)
            && find(&pool, &name).map_err(failed)?.is_some()
        {
            return Err(failed(error));
        }
    }
    Ok(())
}

fn known(connect: &Connect, place: &Place) -> Result<Option<StoragePool>, Error> {
    match connect.lookup_storage_pool_by_name(&place.pool) {
        Ok(pool) => Ok(Some(pool)),
        Err(error) if is(&error, ErrorNumber::NoStoragePool) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The pool where the host has it, or made of its folder where that is there: disks that another host made are on a
/// host that never made one. None where neither is; a folder is not made for looking into it.
fn found(connect: &Connect, place: &Place) -> Result<Option<StoragePool>, Error> {
    if let Some(pool) = known(connect, place)? {
        return Ok(Some(pool));
    }
    let pool = match connect.define_storage_pool_xml(&pool_xml(place), 0) {
        Ok(pool) => pool,
        // Another call may have been first.
        Err(error) => return known(connect, place)?.map(Some).ok_or(error),
    };
    match activate(&pool) {
        Ok(()) => pool.set_autostart(true).map(|_| Some(pool)),
        Err(error) => {
            pool.undefine()?;
            if is(&error, ErrorNumber::SystemError) { Ok(None) } else { Err(error) }
        }
    }
}

/// The pool, made and started where it is not.
fn ready(connect: &Connect, place: &Place) -> Result<StoragePool, Error> {
    let pool = match known(connect, place)? {
        Some(pool) => pool,
        None => match connect.define_storage_pool_xml(&pool_xml(place), 0) {
            Ok(pool) => {
                // The folder may be there already.
                if let Err(error) = pool.build(0) {
                    tracing::debug!(%error, pool = place.pool, "the pool's folder was not built");
                }
                pool.set_autostart(true)?;
                pool
            }
            // Another call may have been first.
            Err(error) => known(connect, place)?.ok_or(error)?,
        },
    };
    activate(&pool)?;
    Ok(pool)
}

fn activate(pool: &StoragePool) -> Result<(), Error> {
    if !pool.is_active()?
        && let Err(error) = pool.create(0)
        && !pool.is_active()?
    {
        return Err(error);
    }
    Ok(())
}

fn find(pool: &StoragePool, name: &str) -> Result<Option<StorageVol>, Error> {
    match pool.lookup_storage_vol_by_name(name) {
        Ok(volume) => Ok(Some(volume)),
        Err(error) if is(&error, ErrorNumber::NoStorageVolume) => Ok(None),
        Err(error) => Err(error),
    }
}

fn volume_xml(order: &DiskOrder) -> std::io::Result<String> {
    let mut writer = Writer::new(Vec::new());
    writer.create_element("volume").write_inner_content(|w| {
        w.create_element("name").write_text_content(BytesText::new(&order.volume()))?;
        w.create_element("capacity")
            .with_attribute(("unit", "MiB"))
            .write_text_content(BytesText::new(&order.size_mib.to_string()))?;
        // Space is taken as the guest writes.
        w.create_element("allocation").write_text_content(BytesText::new("0"))?;
        w.create_element("target").write_inner_content(|w| {
            w.create_element("format").with_attribute(("type", order.format.as_str())).write_empty().map(drop)
        })?;
        Ok(())
    })?;
    Ok(String::from_utf8_lossy(&writer.into_inner()).into_owned())
}

fn pool_xml(place: &Place) -> String {
    let name = quick_xml::escape::escape(&place.pool);
    let folder = quick_xml::escape::escape(&place.folder);
    format!("<pool type='dir'><name>{name}</name><target><path>{folder}</path></target></pool>")
}
