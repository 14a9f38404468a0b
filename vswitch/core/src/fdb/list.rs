//! Doubly linked lists through one array: each number below the array's length stands in one list at most.

/// The oldest and the youngest of a list, as number plus one, so that untouched memory says "none".
pub(super) type Ends = [u32; 2];

/// The list without members.
pub(super) const EMPTY: Ends = [0; 2];

/// Who stands before and behind each member.
pub(super) struct Links(Vec<Ends>);

impl Links {
    /// Makes the links of numbers below `count`, of which none is in a list.
    pub(super) fn new(count: usize) -> Self {
        Self(vec![EMPTY; count])
    }

    /// Makes a number that is in no list the youngest.
    pub(super) fn push(&mut self, ends: &mut Ends, number: usize) {
        let link = number as u32 + 1;
        self.0[number] = [ends[1], 0];
        match position(ends[1]) {
            Some(before) => self.0[before][1] = link,
            None => ends[0] = link,
        }
        ends[1] = link;
    }

    /// Takes a number out of its list.
    pub(super) fn remove(&mut self, ends: &mut Ends, number: usize) {
        let [older, younger] = self.0[number];
        match position(older) {
            Some(before) => self.0[before][1] = younger,
            None => ends[0] = younger,
        }
        match position(younger) {
            Some(after) => self.0[after][0] = older,
            None => ends[1] = older,
        }
    }

    /// Returns the members, oldest first.
    pub(super) fn iter(&self, ends: Ends) -> impl Iterator<Item = usize> {
        std::iter::successors(position(ends[0]), |&number| position(self.0[number][1]))
    }
}

fn position(link: u32) -> Option<usize> {
    (link as usize).checked_sub(1)
}
