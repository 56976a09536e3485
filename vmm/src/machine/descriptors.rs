//! What monitors were handed to move the machine with: `getfd`, `closefd`, and `fd:NAME` as a place.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use devices::chardev::Chardev;

use super::Machine;
use crate::snapshot::{Channel, Descriptor};

#[derive(Default)]
pub(super) struct Descriptors {
    /// Where the command came from that is being done.
    speaker: Option<Arc<Chardev>>,
    named: BTreeMap<String, OwnedFd>,
}

impl Machine {
    /// Does something for who speaks at a character device, and may have handed something over there.
    pub fn for_speaker<R>(&mut self, chardev: &Arc<Chardev>, f: impl FnOnce(&mut Self) -> R) -> R {
        self.descriptors.speaker = Some(Arc::clone(chardev));
        let result = f(self);
        self.descriptors.speaker = None;
        result
    }

    /// Gives the descriptor that came with the command a name; an earlier one of that name is closed.
    ///
    /// # Errors
    /// None came, or the name could be a number.
    pub fn name_descriptor(&mut self, name: &str) -> Result<(), String> {
        let came = self.descriptors.speaker.as_ref().and_then(|chardev| chardev.take_descriptor());
        let fd = came.ok_or("No file descriptor supplied via SCM_RIGHTS")?;
        if name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("Parameter 'fdname' expects a name not starting with a digit".into());
        }
        self.descriptors.named.insert(name.to_owned(), fd);
        Ok(())
    }

    /// Closes it.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn close_descriptor(&mut self, name: &str) -> Result<(), String> {
        let closed = self.descriptors.named.remove(name).map(drop);
        closed.ok_or_else(|| format!("File descriptor named '{name}' not found"))
    }

    /// A place that a monitor names; a descriptor is used up.
    ///
    /// # Errors
    /// It is none, or there is no such descriptor.
    pub fn place(&mut self, text: &str) -> Result<Channel, String> {
        let Some(name) = text.strip_prefix("fd:") else { return Channel::parse(text) };
        let fd = self.descriptors.named.remove(name);
        let fd = fd.ok_or_else(|| format!("File descriptor named '{name}' has not been found"))?;
        Ok(Channel::Fd(Descriptor::new(name.to_owned(), fd)))
    }
}
