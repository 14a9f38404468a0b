//! Cuts a super-frame into smaller frames that leave undone what it left undone. TCP: RFC 9293 §3.1, at any length;
//! UDP: one datagram a segment, between segments only. Makes the headers; the payload is the caller's, and no
//! checksum over it is computed.

use weft_vlan::{Csum, Ecn, Gso, GsoKind, HEAD_MAX, Offload, TAG_LEN};

use crate::{
    VnetHeader, checksum,
    layers::{CWR, FIN, IPV6_HEADER, IpVersion, Layers, PSH, be16, put16},
};

/// Bytes of headers at most: what is copied of a frame, and the tags that may be pushed.
const HEADERS_MAX: usize = HEAD_MAX + 2 * TAG_LEN;

/// How a frame fits into a room.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nothing is allocated per frame")]
pub enum Fit {
    /// As it is.
    Whole,
    /// In pieces that are frames themselves.
    Pieces(Cut),
    /// In no way that keeps it a frame.
    TooLarge,
}

impl Fit {
    /// Asks how a frame of `len` bytes fits into rooms of `room` bytes, which take a virtio-net header too where the
    /// frame has an offload. `headers` are its first bytes, all headers among them, with `pushed` bytes of tags in
    /// front of what `offload` counts.
    pub fn of(headers: &[u8], len: usize, offload: Offload, pushed: usize, room: usize) -> Self {
        let metadata = if offload == Offload::NONE { 0 } else { VnetHeader::LEN };
        if len + metadata <= room {
            return Self::Whole;
        }
        match Cut::new(headers, len, offload, pushed, room) {
            Some(cut) => Self::Pieces(cut),
            None => Self::TooLarge,
        }
    }
}

/// A super-frame that is being cut.
#[derive(Debug)]
pub struct Cut {
    headers: [u8; HEADERS_MAX],
    headers_len: usize,
    layers: Layers,
    kind: GsoKind,
    pushed: usize,
    /// Bytes of payload in a segment.
    size: usize,
    /// Bytes of payload in a piece: one segment or several.
    step: usize,
    /// Bytes of payload that are still to go.
    left: usize,
    first: bool,
    /// The sum of the pseudo header without its length, and of the IPv4 header without length, identification and
    /// checksum: what is the same for all pieces.
    pseudo: u64,
    ip: u64,
    flags: u8,
}

/// A smaller frame: its headers, behind which so much payload follows, and what to say of it.
#[derive(Debug)]
pub struct Piece<'c> {
    /// The virtio-net header that goes in front of it.
    pub vnet: VnetHeader,
    /// All headers, tags included.
    pub headers: &'c [u8],
    /// Bytes of the super-frame's payload, behind those of the piece before.
    pub payload: usize,
}

impl Cut {
    fn new(bytes: &[u8], len: usize, offload: Offload, pushed: usize, room: usize) -> Option<Self> {
        let Offload { csum: Some(csum), gso: Some(gso) } = offload else { return None };
        let layers = Layers::find(bytes)?;
        let headers_len = layers.headers_end(bytes)?;
        let at = layers.checksum_at();
        let promised = usize::from(csum.start) + pushed == layers.l4
            && usize::from(csum.offset) == at - layers.l4
            && usize::from(gso.header_len) + pushed == headers_len;
        let left = len.checked_sub(headers_len)?;
        let size = usize::from(gso.size);
        if !layers.carry(gso.kind) || !promised || size == 0 {
            return None;
        }
        let fits = room.checked_sub(VnetHeader::LEN + headers_len)?;
        let (size, step) = match fits / size {
            // Another length of a datagram would be another message.
            0 if gso.kind == GsoKind::Udp => return None,
            0 => (fits, fits),
            segments => (size, segments * size),
        };
        if step == 0 || headers_len - layers.l3 + step > usize::from(u16::MAX) {
            return None;
        }
        let mut headers = [0; HEADERS_MAX];
        headers.get_mut(..headers_len)?.copy_from_slice(bytes.get(..headers_len)?);
        let whole = checksum::fold((len - layers.l4) as u64);
        let pseudo = u64::from(be16(&headers, at)?) + u64::from(!whole);
        let mut cut = Self {
            headers,
            headers_len,
            layers,
            kind: gso.kind,
            pushed,
            size,
            step,
            left,
            first: true,
            pseudo,
            ip: 0,
            flags: headers.get(layers.l4 + 13).copied().unwrap_or(0),
        };
        if layers.version == IpVersion::V4 {
            let Layers { l3, l4, .. } = layers;
            let outside = [2, 4, 10].map(|at| u64::from(!word(&headers, l3 + at)));
            cut.ip = u64::from(checksum::sum(&headers[l3..l4])) + outside.iter().sum::<u64>();
        }
        Some(cut)
    }

    /// Returns the bytes of payload in each piece but the last.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Makes the next piece; `None` behind the last one.
    #[expect(clippy::should_implement_trait, reason = "a piece borrows the headers from the cut")]
    pub fn next(&mut self) -> Option<Piece<'_>> {
        if self.left == 0 {
            return None;
        }
        let payload = self.step.min(self.left);
        self.left -= payload;
        self.put_ip(payload);
        match self.kind {
            GsoKind::Tcp4 { ecn } | GsoKind::Tcp6 { ecn } => self.put_tcp(ecn),
            GsoKind::Udp => {
                let len = self.headers_len - self.layers.l4 + payload;
                put16(&mut self.headers, self.layers.l4 + 4, len as u16);
            }
        }
        let len = self.headers_len - self.layers.l4 + payload;
        let promise = checksum::fold(self.pseudo + len as u64);
        put16(&mut self.headers, self.layers.checksum_at(), promise);
        let vnet = self.announce(payload);
        self.first = false;
        Some(Piece { vnet, headers: &self.headers[..self.headers_len], payload })
    }

    fn put_ip(&mut self, payload: usize) {
        let Layers { version, l3, .. } = self.layers;
        let len = self.headers_len - l3 + payload;
        match version {
            IpVersion::V4 => {
                let passed = if self.first { 0 } else { self.step / self.size };
                let id = word(&self.headers, l3 + 4).wrapping_add(passed as u16);
                let checksum = !checksum::fold(self.ip + len as u64 + u64::from(id));
                put16(&mut self.headers, l3 + 2, len as u16);
                put16(&mut self.headers, l3 + 4, id);
                put16(&mut self.headers, l3 + 10, checksum);
            }
            IpVersion::V6 => put16(&mut self.headers, l3 + 4, (len - IPV6_HEADER) as u16),
        }
    }

    fn put_tcp(&mut self, ecn: Ecn) {
        let tcp = &mut self.headers[self.layers.l4..];
        tcp[13] = self.flags;
        if self.left > 0 {
            tcp[13] &= !(FIN | PSH);
        }
        if !self.first {
            let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
            tcp[4..8].copy_from_slice(&sequence.wrapping_add(self.step as u32).to_be_bytes());
            if ecn == Ecn::Marked {
                tcp[13] &= !CWR;
            }
        }
    }

    fn announce(&self, payload: usize) -> VnetHeader {
        let l4 = self.layers.l4;
        let csum = Csum {
            start: (l4 - self.pushed) as u16,
            offset: (self.layers.checksum_at() - l4) as u16,
        };
        let kind = match self.kind {
            GsoKind::Tcp4 { .. } if !self.first => GsoKind::Tcp4 { ecn: Ecn::Unmarked },
            GsoKind::Tcp6 { .. } if !self.first => GsoKind::Tcp6 { ecn: Ecn::Unmarked },
            kind => kind,
        };
        let gso = (payload > self.size).then_some(Gso {
            kind,
            size: self.size as u16,
            header_len: (self.headers_len - self.pushed) as u16,
        });
        VnetHeader::announce(Offload { csum: Some(csum), gso }, self.pushed)
    }
}

/// Reads a word of headers that are known to be there.
fn word(headers: &[u8; HEADERS_MAX], at: usize) -> u16 {
    u16::from_be_bytes([headers[at], headers[at + 1]])
}

#[cfg(test)]
mod tests;
