//! What ports are called at the moment, and whose frames a client wants.

use std::{collections::BTreeSet, sync::Arc};

use weft_core::PortId;

/// The ports of one moment, for one client.
#[derive(Debug, Default)]
pub(crate) struct Names {
    ports: Vec<Option<Named>>,
}

#[derive(Clone, Debug)]
struct Named {
    name: Arc<str>,
    is_chosen: bool,
}

impl Names {
    /// Names ports; `chosen` are wanted, all of them where it is `None`.
    pub(crate) fn new<'n>(
        ports: impl IntoIterator<Item = (PortId, &'n str)>,
        chosen: Option<&BTreeSet<String>>,
    ) -> Self {
        let mut names = Self::default();
        for (id, name) in ports {
            if names.ports.len() <= id.index() {
                names.ports.resize(id.index() + 1, None);
            }
            let is_chosen = chosen.is_none_or(|chosen| chosen.contains(name));
            names.ports[id.index()] = Some(Named { name: name.into(), is_chosen });
        }
        names
    }

    /// Tells whether a port's frames are wanted.
    #[inline]
    pub(super) fn is_chosen(&self, port: PortId) -> bool {
        matches!(self.ports.get(port.index()), Some(Some(named)) if named.is_chosen)
    }

    /// Returns what a port is called.
    pub(super) fn name(&self, port: PortId) -> Option<&Arc<str>> {
        Some(&self.ports.get(port.index())?.as_ref()?.name)
    }

    /// Returns the ports whose frames are wanted, in the order of their names.
    pub(super) fn chosen(&self) -> Vec<(PortId, &Arc<str>)> {
        let ports = self.ports.iter().enumerate().filter_map(|(index, named)| {
            let named = named.as_ref().filter(|named| named.is_chosen)?;
            Some((PortId::new(u16::try_from(index).ok()?)?, &named.name))
        });
        let mut ports: Vec<_> = ports.collect();
        ports.sort_by_key(|(_, name)| *name);
        ports
    }
}
