//! What the control plane does with addresses on behalf of other hosts: entries on their word, addresses that are
//! frozen because they move too often (RFC 7432 §15.1), and the news of local ones that they are told.

use std::task::{Context, Poll};

use weft_vlan::{MacAddr, VlanId, VlanSet};

use super::{Bulletin, EntryKind, Fdb, Key, Limits, Ticks, release};
use crate::{PortId, Timestamp};

impl Fdb {
    /// Enters an address on another host's word, at the port of the tunnel to it, in place of whatever was known of
    /// it. `false` when its port could give it no room.
    ///
    /// Neither age nor a flush takes it away, but whatever makes room for others does, and a frame from the address
    /// on a local port.
    pub(crate) fn install(
        &self,
        now: Timestamp,
        limits: &Limits,
        vlan: VlanId,
        mac: MacAddr,
        port: PortId,
    ) -> bool {
        self.enter(Ticks::at(now), limits, Key::new(vlan, mac), port, EntryKind::Remote)
    }

    /// Takes back what was installed at a port. `false` when it does not stand there, because it was heard elsewhere
    /// since, installed elsewhere or evicted.
    pub fn withdraw(&self, vlan: VlanId, mac: MacAddr, port: PortId) -> bool {
        let key = Key::new(vlan, mac);
        let mut writer = self.lock();
        let is_meant = |&slot: &usize| {
            self.table
                .slot(slot)
                .read()
                .is_some_and(|(_, value)| value.kind() == EntryKind::Remote && value.port() == port)
        };
        let slot = self.table.find(key, self.table.place(key)).filter(is_meant);
        if let Some(slot) = slot {
            self.clear(&mut writer, slot);
        }
        slot.is_some()
    }

    /// Forgets an address that was learned without a word, so that it is news when it is heard next.
    pub fn doubt(&self, vlan: VlanId, mac: MacAddr) {
        let key = Key::new(vlan, mac);
        let mut writer = self.lock();
        if let Some(slot) = self.table.find(key, self.table.place(key))
            && let Some((_, value)) = self.table.slot(slot).read()
            && value.kind() == EntryKind::Learned
        {
            self.remove(&mut writer, slot);
        }
    }

    /// Freezes an address: from now on it is learned on the port alone where it stands, or nowhere if it is not
    /// known. Installing it goes on as before. Frozen addresses are as many as the caller freezes.
    pub fn freeze(&self, vlan: VlanId, mac: MacAddr) {
        self.lock().frozen.insert(Key::new(vlan, mac));
    }

    /// Lets an address be learned anywhere again.
    pub fn thaw(&self, vlan: VlanId, mac: MacAddr) {
        self.lock().frozen.remove(&Key::new(vlan, mac));
    }

    /// Keeps news of local addresses, and of evicted ones of other hosts, in these VLANs from now on, as many as `limit`, for [`Fdb::poll_news`]; those
    /// of other VLANs no longer. The first bulletin is incomplete.
    pub fn follow(&self, vlans: VlanSet, limit: usize) {
        let mut writer = self.lock();
        writer.desk.follow(vlans, limit);
        release(writer);
    }

    /// Takes the news since the last time, or waits for some. There is one reader.
    pub fn poll_news(&self, context: &mut Context<'_>) -> Poll<Bulletin> {
        self.lock().desk.take(context.waker()).map_or(Poll::Pending, Poll::Ready)
    }
}
