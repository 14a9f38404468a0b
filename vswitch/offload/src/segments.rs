//! Cuts a super-frame into finished segments. TCP: RFC 9293 §3.1; UDP: one datagram per segment. Works on whole,
//! owned frames with their tags in place; does not merge segments and makes no IP fragments.

use weft_vlan::{BadOffload, Ecn, Gso, GsoKind};

use crate::{
    checksum::{self, sum},
    layers::{CWR, FIN, IPV6_HEADER, IpVersion, Layers, PSH, put16},
};

/// The segments of one super-frame, made one at a time.
#[derive(Debug)]
pub struct Segments<'f> {
    header: &'f [u8],
    payload: std::slice::Chunks<'f, u8>,
    size: usize,
    kind: GsoKind,
    layers: Layers,
    /// The sum of the pseudo header without its length, which is what differs between segments.
    pseudo: u64,
    made: u32,
}

impl<'f> Segments<'f> {
    /// Takes a whole super-frame that has `pushed` bytes of tags in front of what `gso` counts.
    ///
    /// # Errors
    /// [`BadOffload`] when `gso` is not of this frame.
    pub fn new(frame: &'f [u8], gso: Gso, pushed: usize) -> Result<Self, BadOffload> {
        Self::parse(frame, gso, pushed).ok_or(BadOffload)
    }

    fn parse(frame: &'f [u8], gso: Gso, pushed: usize) -> Option<Self> {
        let (header, payload) = frame.split_at_checked(usize::from(gso.header_len) + pushed)?;
        let layers = Layers::find(header)?;
        let size = usize::from(gso.size);
        let longest = header.len() - layers.l3 + size;
        if !layers.carry(gso.kind)
            || layers.headers_end(header)? != header.len()
            || size == 0
            || longest > usize::from(u16::MAX)
        {
            return None;
        }
        // The checksum field holds the pseudo header's sum with the length of the whole super-frame.
        let at = layers.checksum_at();
        let len = checksum::fold((frame.len() - layers.l4) as u64);
        let pseudo = u64::from(u16::from_be_bytes([header[at], header[at + 1]])) + u64::from(!len);
        Some(Self {
            header,
            payload: payload.chunks(size),
            size,
            kind: gso.kind,
            layers,
            pseudo,
            made: 0,
        })
    }

    /// Appends the next segment to `out` and returns its length; `None` behind the last one.
    pub fn next_into(&mut self, out: &mut Vec<u8>) -> Option<usize> {
        let payload = self.payload.next()?;
        let begin = out.len();
        out.extend_from_slice(self.header);
        out.extend_from_slice(payload);
        let segment = &mut out[begin..];
        self.finish_l4(segment);
        self.finish_ip(segment);
        self.made += 1;
        Some(segment.len())
    }

    fn finish_l4(&self, segment: &mut [u8]) {
        let l4 = self.layers.l4;
        let len = segment.len() - l4;
        match self.kind {
            GsoKind::Tcp4 { ecn } | GsoKind::Tcp6 { ecn } => {
                self.finish_tcp(&mut segment[l4..], ecn);
            }
            GsoKind::Udp => put16(segment, l4 + 4, len as u16),
        }
        let at = self.layers.checksum_at();
        put16(segment, at, 0);
        let total = self.pseudo + len as u64 + u64::from(sum(&segment[l4..]));
        segment[at..at + 2].copy_from_slice(&checksum::field(total));
    }

    fn finish_tcp(&self, tcp: &mut [u8], ecn: Ecn) {
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let sequence = sequence.wrapping_add(self.made.wrapping_mul(self.size as u32));
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        if self.payload.len() > 0 {
            tcp[13] &= !(FIN | PSH);
        }
        if self.made > 0 && ecn == Ecn::Marked {
            tcp[13] &= !CWR;
        }
    }

    fn finish_ip(&self, segment: &mut [u8]) {
        let Layers { version, l3, l4, .. } = self.layers;
        match version {
            IpVersion::V4 => {
                let id = u16::from_be_bytes([segment[l3 + 4], segment[l3 + 5]]);
                put16(segment, l3 + 2, (segment.len() - l3) as u16);
                put16(segment, l3 + 4, id.wrapping_add(self.made as u16));
                put16(segment, l3 + 10, 0);
                let checksum = !sum(&segment[l3..l4]);
                put16(segment, l3 + 10, checksum);
            }
            IpVersion::V6 => put16(segment, l3 + 4, (segment.len() - l3 - IPV6_HEADER) as u16),
        }
    }
}

#[cfg(test)]
mod tests;
