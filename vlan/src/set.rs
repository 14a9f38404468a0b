//! A set of VLANs: the member set of a trunk.

use std::fmt;

use crate::VlanId;

/// Any of the 4094 VLANs, one bit each.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanSet(Box<[u64; 64]>);

impl VlanSet {
    /// Makes the empty set.
    pub fn new() -> Self {
        Self(Box::new([0; 64]))
    }

    /// Makes the set of all VLANs, 1 to 4094.
    pub fn all() -> Self {
        (1..=4094).filter_map(VlanId::new).collect()
    }

    /// Adds a VLAN.
    pub fn insert(&mut self, vlan: VlanId) {
        self.0[usize::from(vlan.get() >> 6)] |= 1 << (vlan.get() & 63);
    }

    /// Takes a VLAN away.
    pub fn remove(&mut self, vlan: VlanId) {
        self.0[usize::from(vlan.get() >> 6)] &= !(1 << (vlan.get() & 63));
    }

    /// Tells whether the VLAN is in the set.
    pub fn contains(&self, vlan: VlanId) -> bool {
        self.0[usize::from(vlan.get() >> 6)] & 1 << (vlan.get() & 63) != 0
    }

    /// Tells whether no VLAN is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    /// Returns the number of VLANs in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Returns the VLANs in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = VlanId> {
        (1..=4094).filter_map(VlanId::new).filter(|&vlan| self.contains(vlan))
    }

    /// Returns the set as ascending ranges, both ends included.
    pub fn ranges(&self) -> Vec<(VlanId, VlanId)> {
        let mut ranges: Vec<(VlanId, VlanId)> = Vec::new();
        for vlan in self.iter() {
            match ranges.last_mut() {
                Some((_, last)) if last.get() + 1 == vlan.get() => *last = vlan,
                _ => ranges.push((vlan, vlan)),
            }
        }
        ranges
    }
}

impl Default for VlanSet {
    fn default() -> Self {
        Self::new()
    }
}

impl FromIterator<VlanId> for VlanSet {
    fn from_iter<I: IntoIterator<Item = VlanId>>(vlans: I) -> Self {
        let mut set = Self::new();
        for vlan in vlans {
            set.insert(vlan);
        }
        set
    }
}

/// Writes `10, 20, 100-199`.
impl fmt::Display for VlanSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, (first, last)) in self.ranges().into_iter().enumerate() {
            let separator = if position == 0 { "" } else { ", " };
            if first == last {
                write!(out, "{separator}{first}")?;
            } else {
                write!(out, "{separator}{first}-{last}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for VlanSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_neighbours_only() {
        let set: VlanSet =
            [20, 10, 100, 101, 102, 4094].into_iter().filter_map(VlanId::new).collect();
        assert_eq!(set.to_string(), "10, 20, 100-102, 4094");
        assert_eq!(set.len(), 6);
        assert!(!set.contains(VlanId::new(11).unwrap()));
        assert_eq!(VlanSet::all().to_string(), "1-4094");
        assert!(VlanSet::new().is_empty());
    }
}
