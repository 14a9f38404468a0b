//! A receiver of one TCP connection at the end of a wire, strict about what the kernel would forgive: each checksum
//! is verified, each segment fits the MSS, each byte is compared.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::{
    Wire,
    frame::{self, Frame, Mac, Neighbour, Segment},
};

const FIN: u8 = 1;
const SYN: u8 = 2;
const ACK: u8 = 16;
const MSS: u16 = 1440;
/// Of a window of 65535: two super-frames, less than a stream port keeps for a slow reader. A sink keeps nothing ahead of
/// a gap, so that what is lost costs the sender its longest timers.
const WINDOW_SCALE: u8 = 1;

/// A host that accepts one TCP connection and swallows what comes.
#[derive(Clone, Copy, Debug)]
pub struct TcpSink {
    /// Its MAC address.
    pub mac: Mac,
    /// Its IP address.
    pub address: IpAddr,
}

/// What a sink has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Swallowed {
    /// Bytes of the stream.
    pub bytes: u32,
    /// Segments that carried them.
    pub segments: u32,
    /// Segments that came twice or ahead of a gap.
    pub out_of_order: u32,
}

impl TcpSink {
    /// Serves one connection until it is closed, and returns what came. `expected` tells the value of each byte.
    ///
    /// # Panics
    /// When a checksum, a length or a byte is wrong, or nothing comes for long.
    #[track_caller]
    pub fn swallow(&self, wire: &mut dyn Wire, expected: impl Fn(u32) -> u8) -> Swallowed {
        let mut swallowed = Swallowed::default();
        let mut first = None;
        loop {
            let deadline = Instant::now() + Duration::from_secs(15);
            let frame = wire
                .receive(deadline)
                .unwrap_or_else(|| panic!("the connection stalls after {swallowed:?}"));
            if self.resolve(wire, &frame) {
                continue;
            }
            let Some(ip) = frame::verified_ip(&frame) else { continue };
            if ip.protocol != frame::TCP || ip.destination != self.address {
                continue;
            }
            let tcp = &ip.payload;
            let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
            let data = &tcp[usize::from(tcp[12] >> 4) * 4..];
            assert!(data.len() <= usize::from(MSS), "a segment of {} bytes", data.len());
            let flags = tcp[13];
            if flags & SYN != 0 {
                first = Some(sequence.wrapping_add(1));
            }
            let Some(first) = first else { continue };
            let at = sequence.wrapping_sub(first);
            if !data.is_empty() && flags & SYN == 0 {
                if at == swallowed.bytes {
                    for (offset, byte) in data.iter().enumerate() {
                        assert_eq!(
                            *byte,
                            expected(at + offset as u32),
                            "byte {} of the stream",
                            at + offset as u32
                        );
                    }
                    swallowed.bytes += data.len() as u32;
                    swallowed.segments += 1;
                } else {
                    swallowed.out_of_order += 1;
                }
            }
            let end = flags & FIN != 0 && at + data.len() as u32 == swallowed.bytes;
            if flags & SYN != 0 || !data.is_empty() || end {
                let next = first.wrapping_add(swallowed.bytes).wrapping_add(u32::from(end));
                self.answer(wire, &frame, &ip, flags, next);
            }
            if end {
                return swallowed;
            }
        }
    }

    fn answer(&self, wire: &mut dyn Wire, frame: &[u8], ip: &frame::Ip, flags: u8, next: u32) {
        let port = |at: usize| u16::from_be_bytes([ip.payload[at], ip.payload[at + 1]]);
        let [high, low] = MSS.to_be_bytes();
        let options = [2, 4, high, low, 1, 3, 3, WINDOW_SCALE];
        let opening = flags & SYN != 0;
        let segment = Segment {
            ports: (port(2), port(0)),
            sequence: if opening { 1000 } else { 1001 },
            acknowledgement: next,
            flags: if opening { SYN | ACK } else { ACK | (flags & FIN) },
            options: if opening { &options } else { &[] },
            payload: &[],
        };
        wire.send(
            &Frame::new(self.mac, source_of(frame))
                .tcp(ip.destination, ip.source, &segment)
                .bytes(),
        );
    }

    /// Answers a question for the sink's own address; tells whether the frame was one.
    fn resolve(&self, wire: &mut dyn Wire, frame: &[u8]) -> bool {
        let Some((ethertype, payload)) = frame::behind_tags(frame) else { return false };
        let asker = source_of(frame);
        match (ethertype, self.address) {
            (frame::ARP, IpAddr::V4(own)) => {
                if payload[7] == 1 && payload[24..28] == own.octets() {
                    let ip = *payload[14..].first_chunk().expect("an ARP packet has a sender");
                    wire.send(
                        &Frame::new(self.mac, asker)
                            .arp(2, (self.mac, own.octets()), (asker, ip))
                            .bytes(),
                    );
                }
                true
            }
            (frame::IPV6, IpAddr::V6(own)) => {
                let Some(ip) = frame::verified_ip(frame) else { return false };
                if ip.protocol != frame::ICMPV6
                    || ip.payload[0] != 135
                    || ip.payload[8..24] != own.octets()
                {
                    return false;
                }
                let answer = Frame::new(self.mac, asker);
                let kind = Neighbour::Advertisement;
                wire.send(
                    &answer
                        .neighbour(kind, self.address, ip.source, self.address, self.mac)
                        .bytes(),
                );
                true
            }
            _ => false,
        }
    }
}

fn source_of(frame: &[u8]) -> Mac {
    *frame[6..].first_chunk().expect("a frame has a source")
}
