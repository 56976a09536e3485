//! Devices that change while the machine runs: how large a disk is, and whether a card has a link.

use std::sync::Arc;

use devices::backend::block::SECTOR;

use super::{Machine, RunState};
use crate::board::virt;
use crate::config::{DriveConfig, VirtioConfig, VirtioKind};

impl Machine {
    /// The disk whose image a drive is.
    pub fn disk_of(&self, drive: &DriveConfig) -> Option<&VirtioConfig> {
        let uses = |v: &&VirtioConfig| matches!(&v.kind, VirtioKind::Block(b) if b.drive == drive.id);
        self.config.virtio.iter().find(uses)
    }

    /// Changes something of the device in a slot while it stands still, as the harts do.
    fn with_device_stopped<R>(&mut self, slot: u8, change: impl FnOnce() -> R) -> R {
        let base = virt::map::virtio(slot).base;
        let device = self.board.bus.iter().find(|(at, _)| *at == base).map(|(_, device)| Arc::clone(device));
        self.with_harts_stopped(|machine| {
            // In a machine that stands, devices do.
            let device = device.filter(|_| machine.run_state == RunState::Running);
            device.iter().for_each(|device| device.pause());
            let changed = change();
            device.iter().for_each(|device| device.resume());
            changed
        })
    }

    /// Makes a drive's image so many bytes long; its disk tells the guest. `id` is the drive's.
    ///
    /// # Errors
    /// There is no such drive, or it cannot be.
    pub fn resize_drive(&mut self, id: &str, size: u64) -> Result<(), String> {
        if !size.is_multiple_of(SECTOR) {
            return Err(format!("size {size} is not a multiple of {SECTOR} bytes"));
        }
        let drive = self.config.drives.iter().find(|drive| drive.id == id);
        let drive = drive.ok_or_else(|| format!("there is no drive '{id}'"))?;
        let refused = |why: &str| Err(format!("drive '{id}' cannot be resized: {why}"));
        let Some(slot) = self.disk_of(drive).map(|disk| disk.slot) else {
            return refused("it is no disk's");
        };
        if drive.readonly {
            return refused("it is read-only");
        }
        if self.is_moving() {
            return refused("the machine is being moved");
        }
        if matches!(self.run_state, RunState::InMigrate | RunState::PostMigrate) {
            return refused("the guest is not here, and its image may be another program's");
        }
        if let Some(why) = self.is_kept_still() {
            return refused(&why);
        }
        let image = self.kept.disks.iter().find(|disk| disk.id == id).map(|disk| disk.image.clone());
        let image = image.expect("what a disk writes to is kept");
        match self.with_device_stopped(slot, || image.resize(size)) {
            Ok(()) => Ok(()),
            Err(error) => refused(&error.to_string()),
        }
    }

    /// Whether a card's link is meant to be up. `id` is the card's.
    pub fn link_is_up(&self, id: &str) -> bool {
        self.kept.links.get(id).is_none_or(|link| link.is_up())
    }

    /// Pulls a card's cable out, or puts it back: the guest is told. `name` is the card's, or its network's.
    ///
    /// # Errors
    /// There is no such card.
    pub fn set_link(&mut self, name: &str, up: bool) -> Result<(), String> {
        let is_it = |v: &&VirtioConfig| matches!(&v.kind, VirtioKind::Net(card) if v.id == name || card.netdev == name);
        let card = self.config.virtio.iter().find(is_it);
        let card = card.and_then(|v| Some((v.slot, Arc::clone(self.kept.links.get(&v.id)?))));
        let (slot, link) = card.ok_or_else(|| format!("Device '{name}' not found"))?;
        if let Some(why) = self.is_held() {
            return Err(format!("the link of '{name}' stays as it is: {why}"));
        }
        if link.is_up() != up {
            self.with_device_stopped(slot, || link.set(up));
        }
        Ok(())
    }
}
