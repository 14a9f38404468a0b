//! Cryptokey routing: which peer an address belongs to. WireGuard paper §2. Longest prefix first, in as many steps as the
//! address has bits at most; is built as a whole and not changed.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::PeerId;

/// The networks behind the peers.
#[derive(Clone, Debug, Default)]
pub struct AllowedIps {
    v4: Tree,
    v6: Tree,
}

impl AllowedIps {
    /// Gives a network to a peer; returns the one that had the very same network before.
    pub fn insert(&mut self, network: IpNet, peer: PeerId) -> Option<PeerId> {
        let (bits, len) = (key(network.addr()), network.prefix_len());
        self.tree(network.addr()).insert(bits & mask(len), len, peer)
    }

    /// Returns the peer that an address belongs to.
    pub fn find(&self, address: IpAddr) -> Option<PeerId> {
        self.longest(address).map(|(peer, _)| peer)
    }

    /// Returns the peer that an address belongs to, and how long the prefix of the network is.
    pub fn longest(&self, address: IpAddr) -> Option<(PeerId, u8)> {
        match address {
            IpAddr::V4(_) => self.v4.find(key(address)),
            IpAddr::V6(_) => self.v6.find(key(address)),
        }
    }

    fn tree(&mut self, address: IpAddr) -> &mut Tree {
        match address {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        }
    }
}

impl FromIterator<(IpNet, PeerId)> for AllowedIps {
    /// Where two peers have the same network, the last one has it.
    fn from_iter<I: IntoIterator<Item = (IpNet, PeerId)>>(networks: I) -> Self {
        let mut allowed = Self::default();
        for (network, peer) in networks {
            allowed.insert(network, peer);
        }
        allowed
    }
}

/// An address as bits from the top, so that both families have one kind of tree.
fn key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn mask(len: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

/// A binary tree in which each way down with a single turn is one step.
#[derive(Clone, Debug, Default)]
struct Tree {
    /// The root is the first one, once there is any.
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    bits: u128,
    len: u8,
    peer: Option<PeerId>,
    /// Longer prefixes that go on with a zero and with a one.
    children: [Option<u32>; 2],
}

impl Node {
    fn new(bits: u128, len: u8, peer: Option<PeerId>) -> Self {
        Self { bits, len, peer, children: [None; 2] }
    }

    /// Tells whether all of this prefix is at the beginning of these bits.
    fn begins(&self, bits: u128) -> bool {
        (self.bits ^ bits) & mask(self.len) == 0
    }
}

/// Returns the bit behind a prefix of this length.
fn turn(bits: u128, len: u8) -> usize {
    (bits >> (127 - len) & 1) as usize
}

impl Tree {
    fn find(&self, bits: u128) -> Option<(PeerId, u8)> {
        let mut longest = None;
        let mut next = self.nodes.first();
        while let Some(node) = next.filter(|node| node.begins(bits)) {
            longest = node.peer.map(|peer| (peer, node.len)).or(longest);
            if node.len == 128 {
                break;
            }
            next = node.children[turn(bits, node.len)].map(|at| &self.nodes[at as usize]);
        }
        longest
    }

    fn insert(&mut self, bits: u128, len: u8, peer: PeerId) -> Option<PeerId> {
        if self.nodes.is_empty() {
            self.nodes.push(Node::new(0, 0, None));
        }
        let mut at = 0;
        loop {
            let node = self.nodes[at];
            if node.len == len {
                return self.nodes[at].peer.replace(peer);
            }
            let side = turn(bits, node.len);
            let Some(child) = node.children[side] else {
                self.nodes[at].children[side] = Some(self.add(Node::new(bits, len, Some(peer))));
                return None;
            };
            let below = self.nodes[child as usize];
            if below.len <= len && below.begins(bits) {
                at = child as usize;
                continue;
            }
            let common = (((below.bits ^ bits).leading_zeros()) as u8).min(below.len).min(len);
            let mut between = Node::new(bits & mask(common), common, None);
            between.children[turn(below.bits, common)] = Some(child);
            if common == len {
                between.peer = Some(peer);
            } else {
                between.children[turn(bits, common)] =
                    Some(self.add(Node::new(bits, len, Some(peer))));
            }
            self.nodes[at].children[side] = Some(self.add(between));
            return None;
        }
    }

    fn add(&mut self, node: Node) -> u32 {
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn peer(number: u32) -> PeerId {
        PeerId::new(number).unwrap()
    }

    #[test]
    fn the_longest_prefix_has_the_address() {
        let networks = [
            ("0.0.0.0/0", 1),
            ("10.0.0.0/8", 2),
            ("10.10.0.0/16", 3),
            ("10.10.0.201/32", 4),
            ("10.10.0.200/31", 5),
            ("192.168.7.9/24", 6),
            ("fd00::/16", 7),
            ("fd00:1::/64", 8),
            ("fd00:1::5/128", 9),
        ];
        let allowed: AllowedIps =
            networks.iter().map(|&(network, number)| (net(network), peer(number))).collect();
        let table = [
            ("8.8.8.8", Some((1, 0))),
            ("10.1.2.3", Some((2, 8))),
            ("10.10.3.4", Some((3, 16))),
            ("10.10.0.201", Some((4, 32))),
            ("10.10.0.200", Some((5, 31))),
            ("10.10.0.202", Some((3, 16))),
            // Host bits are no part of a network.
            ("192.168.7.200", Some((6, 24))),
            ("fd00:2::1", Some((7, 16))),
            ("fd00:1::1", Some((8, 64))),
            ("fd00:1::5", Some((9, 128))),
            ("2001:db8::1", None),
            ("::", None),
        ];
        for (address, expected) in table {
            let expected = expected.map(|(number, len)| (peer(number), len));
            assert_eq!(allowed.longest(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn the_last_to_be_given_a_network_has_it() {
        let mut allowed = AllowedIps::default();
        assert_eq!(allowed.insert(net("10.0.0.0/8"), peer(1)), None);
        assert_eq!(allowed.insert(net("10.0.0.0/9"), peer(2)), None);
        assert_eq!(allowed.insert(net("10.0.0.0/8"), peer(3)), Some(peer(1)));
        assert_eq!(allowed.find("10.200.0.1".parse().unwrap()), Some(peer(3)));
        assert_eq!(allowed.find("10.2.0.1".parse().unwrap()), Some(peer(2)));
    }

    #[test]
    fn a_family_knows_nothing_of_the_other() {
        let allowed: AllowedIps = [(net("0.0.0.0/0"), peer(1))].into_iter().collect();
        assert_eq!(allowed.find("::1".parse().unwrap()), None);
    }

    /// Addresses that have much in common, so that prefixes lie in each other.
    fn addresses() -> impl Strategy<Value = IpAddr> {
        let bits = vec(0..128u32, 0..4);
        (any::<bool>(), bits).prop_map(|(is_v4, bits)| {
            let address = bits.into_iter().fold(0u128, |address, bit| address | 1 << bit);
            if is_v4 {
                IpAddr::from(((address >> 96) as u32).to_be_bytes())
            } else {
                IpAddr::from(address.to_be_bytes())
            }
        })
    }

    proptest! {
        #[test]
        fn the_tree_is_a_list_searched_from_end_to_end(
            networks in vec((addresses(), 0..=128u8, 0..50u32), 0..60),
            asked in vec(addresses(), 1..40),
        ) {
            let networks: Vec<(IpNet, PeerId)> = networks
                .into_iter()
                .map(|(address, len, number)| {
                    let len = if address.is_ipv4() { len % 33 } else { len };
                    (IpNet::new(address, len).unwrap().trunc(), peer(number))
                })
                .collect();
            let allowed: AllowedIps = networks.iter().copied().collect();
            for address in asked.into_iter().chain(networks.iter().map(|(network, _)| network.addr())) {
                let expected = networks
                    .iter()
                    .filter(|(network, _)| network.contains(&address))
                    .max_by_key(|(network, _)| network.prefix_len())
                    .map(|(network, owner)| (*owner, network.prefix_len()));
                prop_assert_eq!(allowed.longest(address), expected);
            }
        }
    }
}
