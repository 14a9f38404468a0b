//! Merges TCP segments that follow each other in one flow into the super-frame that they were, or could have been, cut
//! from. RFC 9293 §3.1; IPv4 identification: RFC 6864 §4. Only what has left its checksum undone is merged, since
//! nothing else can be without reading the payload. Sees heads alone; the caller strings the payloads together.

use weft_vlan::{Ecn, Gso, GsoKind, Head};

use crate::{
    VnetHeader, checksum,
    layers::{ACK, CWR, FIN, IPV6_HEADER, IpVersion, Layers, PSH, RST, SYN, TCP, URG, be16, put16},
};

/// Bytes that the length field of either IP can say.
const IP_MAX: usize = u16::MAX as usize;

/// A super-frame that grows.
#[derive(Debug)]
pub struct Merge {
    first: Segment,
    /// Bytes of payload in all.
    payload: usize,
    /// Segments that the payload makes.
    segments: usize,
    /// FIN and PSH of any segment.
    flags: u8,
}

/// What is read from one head.
#[derive(Debug)]
struct Segment {
    layers: Layers,
    headers_len: usize,
    payload: usize,
    /// Bytes of payload in a segment of it, itself one or several.
    size: usize,
    /// How the segments of a super-frame have CWR.
    cut: Option<Ecn>,
    sequence: u32,
    flags: u8,
    /// The sum of the pseudo header without its length.
    pseudo: u16,
}

impl Merge {
    /// Begins with a frame; `None` when nothing can follow it.
    pub fn begin(head: &Head) -> Option<Self> {
        let first = Segment::read(head)?;
        let segments = first.payload.div_ceil(first.size);
        // Where every segment has CWR, none that follows would look like it.
        let cwr_on_all = first.flags & CWR != 0 && first.cut == Some(Ecn::Unmarked);
        let merge = Self { payload: first.payload, segments, flags: first.flags, first };
        (merge.is_open() && !cwr_on_all).then_some(merge)
    }

    /// Tells whether another segment can follow.
    pub fn is_open(&self) -> bool {
        self.payload.is_multiple_of(self.first.size)
            && self.flags & (FIN | PSH) == 0
            && self.segments < VnetHeader::MAX_SEGMENTS
    }

    /// Takes the next frame where it follows what `first` began; returns the bytes of its headers, behind which its
    /// payload is to be strung to the others.
    pub fn take(&mut self, first: &Head, next: &Head) -> Option<usize> {
        if !self.is_open() || first.tag() != next.tag() {
            return None;
        }
        let segment = Segment::read(next)?;
        if !self.has_headers_of(first.bytes(), &segment, next.bytes()) {
            return None;
        }
        let sequence = self.first.sequence.wrapping_add(self.payload as u32);
        let size = self.first.size;
        let in_size = match segment.cut {
            Some(_) => segment.size == size,
            None => segment.payload <= size,
        };
        let payload = self.payload + segment.payload;
        let segments = self.segments + segment.payload.div_ceil(size);
        let Layers { version, l3, .. } = self.first.layers;
        let uncounted = if version == IpVersion::V6 { IPV6_HEADER } else { 0 };
        if segment.sequence != sequence
            || !in_size
            || segments > VnetHeader::MAX_SEGMENTS
            || self.first.headers_len - l3 - uncounted + payload > IP_MAX
        {
            return None;
        }
        (self.payload, self.segments) = (payload, segments);
        self.flags |= segment.flags & (FIN | PSH);
        Some(segment.headers_len)
    }

    /// Makes the first head that of the whole.
    pub fn finish(self, head: &mut Head) {
        let Segment { layers, headers_len, payload, size, flags, pseudo, .. } = self.first;
        if self.payload == payload {
            return;
        }
        let ecn = if flags & CWR == 0 { Ecn::Unmarked } else { Ecn::Marked };
        let kind = match layers.version {
            IpVersion::V4 => GsoKind::Tcp4 { ecn },
            IpVersion::V6 => GsoKind::Tcp6 { ecn },
        };
        let Layers { version, l3, l4, .. } = layers;
        let bytes = head.bytes_mut();
        let len = headers_len - l3 + self.payload;
        match version {
            IpVersion::V4 => {
                put16(bytes, l3 + 2, len as u16);
                put16(bytes, l3 + 10, 0);
                let checksum = !checksum::sum(&bytes[l3..l4]);
                put16(bytes, l3 + 10, checksum);
            }
            IpVersion::V6 => put16(bytes, l3 + 4, (len - IPV6_HEADER) as u16),
        }
        bytes[l4 + 13] |= self.flags;
        let l4_len = headers_len - l4 + self.payload;
        let promise = checksum::fold(u64::from(pseudo) + l4_len as u64);
        put16(bytes, layers.checksum_at(), promise);
        head.lengthen(self.payload - payload);
        let gso = Gso { kind, size: size as u16, header_len: headers_len as u16 };
        let offload = head.offload().map(|mut offload| {
            offload.gso = Some(gso);
            offload
        });
        head.set_offload(offload);
    }

    /// Tells whether another head has the headers that the next segment must have, but for its sequence number.
    fn has_headers_of(&self, first: &[u8], segment: &Segment, next: &[u8]) -> bool {
        let ours = &self.first;
        let Layers { version, l3, l4, .. } = ours.layers;
        if segment.layers != ours.layers || segment.headers_len != ours.headers_len {
            return false;
        }
        let same = |from: usize, to: usize| first[from..to] == next[from..to];
        let same_ip = match version {
            IpVersion::V4 => {
                // An atomic packet's identification says nothing.
                let atomic = first[l3 + 6] & 0x40 != 0;
                let id = be16(first, l3 + 4).map(|id| id.wrapping_add(self.segments as u16));
                (atomic || be16(next, l3 + 4) == id)
                    && same(l3, l3 + 2)
                    && same(l3 + 6, l3 + 10)
                    && same(l3 + 12, l4)
            }
            IpVersion::V6 => same(l3, l3 + 4) && same(l3 + 6, l4),
        };
        // CWR stands on the first segment alone.
        let unlike = (first[l4 + 13] & !CWR ^ segment.flags) & !(FIN | PSH);
        same_ip
            && unlike == 0
            && same(0, l3)
            && same(l4, l4 + 4)
            && same(l4 + 8, l4 + 13)
            && same(l4 + 14, l4 + 16)
            && same(l4 + 18, ours.headers_len)
            && segment.pseudo == ours.pseudo
    }
}

impl Segment {
    fn read(head: &Head) -> Option<Self> {
        let offload = head.offload().ok()?;
        let csum = offload.csum?;
        let bytes = head.bytes();
        let layers = Layers::find(bytes)?;
        let headers_len = layers.headers_end(bytes)?;
        let Layers { version, l3, l4, protocol } = layers;
        let payload = head.untagged_len().checked_sub(headers_len)?;
        let len = head.untagged_len() - l3;
        let said = match version {
            IpVersion::V4 => usize::from(be16(bytes, l3 + 2)?),
            IpVersion::V6 => usize::from(be16(bytes, l3 + 4)?) + IPV6_HEADER,
        };
        let flags = *bytes.get(l4 + 13)?;
        if protocol != TCP
            || usize::from(csum.start) != l4
            || l4 + usize::from(csum.offset) != layers.checksum_at()
            || payload == 0
            || payload > IP_MAX
            || said != len
            || version == IpVersion::V4 && checksum::sum(&bytes[l3..l4]) != 0xffff
            || flags & (SYN | RST | URG | ACK) != ACK
        {
            return None;
        }
        let sequence = u32::from_be_bytes(*bytes.get(l4 + 4..)?.first_chunk()?);
        let l4_len = checksum::fold((headers_len - l4 + payload) as u64);
        let promise = be16(bytes, layers.checksum_at())?;
        // Of the two zeros always the same.
        let pseudo = match checksum::fold(u64::from(promise) + u64::from(!l4_len)) {
            0xffff => 0,
            pseudo => pseudo,
        };
        let (size, cut) = match offload.gso {
            Some(Gso { kind: GsoKind::Tcp4 { ecn } | GsoKind::Tcp6 { ecn }, size, .. }) => {
                (usize::from(size), Some(ecn))
            }
            Some(_) => return None,
            None => (payload, None),
        };
        (size > 0).then_some(Self {
            layers,
            headers_len,
            payload,
            size,
            cut,
            sequence,
            flags,
            pseudo,
        })
    }
}

#[cfg(test)]
mod tests;
