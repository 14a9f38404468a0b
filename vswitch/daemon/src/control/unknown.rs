//! Names that nothing has.

use super::state::Control;

/// A name that nothing has, and the one that was probably meant.
#[derive(Debug, thiserror::Error)]
#[error("there is no {kind} `{name}`")]
pub(crate) struct Unknown {
    kind: &'static str,
    name: String,
    near: Option<String>,
}

impl Unknown {
    /// Nothing of this kind has this name, but these names are there.
    pub(super) fn new<'n>(
        kind: &'static str,
        name: &str,
        there: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        let near = weft_config::nearest(name, there).map(str::to_owned);
        Self { kind, name: name.to_owned(), near }
    }

    /// Returns what to do next, where that can be guessed.
    pub(crate) fn help(&self) -> Option<String> {
        self.near.as_ref().map(|near| format!("did you mean `{near}`?"))
    }
}

impl Control {
    /// Nothing is a port of this name.
    pub(super) fn no_port(&self, name: &str) -> Unknown {
        Unknown::new("port", name, self.named_ports().into_iter().map(|(_, name)| name))
    }

    /// Nothing is a peer of this name.
    pub(super) fn no_peer(&self, name: &str) -> Unknown {
        let peers = self.config.vpn.iter().flat_map(|vpn| vpn.peers.keys());
        Unknown::new("peer", name, peers.map(String::as_str))
    }
}
