//! Cuts IPv4 packets that are too large for a tunnel and may be cut. RFC 791 §3.2, as a router does.

use weft_offload::sum;

use crate::packet::{IPV4_HEADER, Packet, be16, put16};

const MORE: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
/// What offsets count.
const UNIT: usize = 8;

/// Hands out the fragments of a packet, which may be one itself, in rooms of `mtu` bytes. Options stay in the first one
/// alone but for those that are to be copied, of which there are none that anyone uses: a packet with options is not cut.
/// `false` when it cannot be.
pub(crate) fn cut(
    bytes: &[u8],
    packet: &Packet,
    mtu: usize,
    mut each: impl FnMut(&[u8], &[u8]),
) -> bool {
    let room = mtu.saturating_sub(IPV4_HEADER) / UNIT * UNIT;
    if !packet.may_be_cut || packet.payload != IPV4_HEADER || room == 0 {
        return false;
    }
    let mut header = [0; IPV4_HEADER];
    header.copy_from_slice(&bytes[..IPV4_HEADER]);
    let word = be16(&header, 6);
    let payload = &bytes[IPV4_HEADER..packet.len];
    if usize::from(word & OFFSET) + payload.len() / UNIT > usize::from(OFFSET) {
        return false;
    }
    for (at, piece) in payload.chunks(room).enumerate() {
        let is_last = (at + 1) * room >= payload.len();
        let more = if is_last { word & MORE } else { MORE };
        let offset = (word & OFFSET) + (at * room / UNIT) as u16;
        put16(&mut header, 2, (IPV4_HEADER + piece.len()) as u16);
        put16(&mut header, 6, more | offset);
        put16(&mut header, 10, 0);
        let checksum = !sum(&header);
        put16(&mut header, 10, checksum);
        each(&header, piece);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        packet::Part,
        test::{ip, udp},
    };

    /// Puts fragments together again.
    fn whole(fragments: &[Vec<u8>]) -> Vec<u8> {
        let mut payload = vec![];
        for fragment in fragments {
            let read = Packet::read(fragment).unwrap();
            let offset = usize::from(be16(fragment, 6) & OFFSET) * UNIT;
            assert_eq!(offset, payload.len());
            payload.extend(&fragment[IPV4_HEADER..read.len]);
        }
        payload
    }

    fn fragments(packet: &[u8], mtu: usize) -> Option<Vec<Vec<u8>>> {
        let mut all = vec![];
        let read = Packet::read(packet).unwrap();
        cut(packet, &read, mtu, |header, piece| all.push([header, piece].concat())).then_some(all)
    }

    fn cuttable(len: usize) -> Vec<u8> {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let mut packet = udp("10.10.0.5", "10.10.0.201", &payload);
        packet[6] = 0;
        ip::fixed(packet)
    }

    #[test]
    fn fragments_fit_and_make_the_packet_again() {
        for len in [1, 8, 1400, 2000, 8000, 60_000] {
            let packet = cuttable(len);
            let all = fragments(&packet, 1420).unwrap();
            assert!(all.iter().all(|fragment| fragment.len() <= 1420));
            assert_eq!(whole(&all), &packet[IPV4_HEADER..]);
            let (last, before) = all.split_last().unwrap();
            assert!(before.iter().all(|fragment| be16(fragment, 6) & MORE != 0));
            assert_eq!(be16(last, 6) & MORE, 0);
        }
    }

    #[test]
    fn a_fragment_in_the_middle_stays_one() {
        let packet = cuttable(4000);
        let outer = fragments(&packet, 2000).unwrap();
        let inner: Vec<_> = outer.iter().flat_map(|outer| fragments(outer, 700).unwrap()).collect();
        assert_eq!(whole(&inner), &packet[IPV4_HEADER..]);
        let parts: Vec<_> = inner.iter().map(|packet| Packet::read(packet).unwrap().part).collect();
        assert_eq!(parts[0], Part::First);
        assert!(parts[1..].iter().all(|part| *part == Part::Later));
    }

    #[test]
    fn what_may_not_be_cut_is_not() {
        assert_eq!(fragments(&udp("10.10.0.5", "10.10.0.201", &[0; 2000]), 1420), None);
        assert_eq!(fragments(&udp("fd00::5", "fd00::201", &[0; 2000]), 1420), None);
        assert_eq!(fragments(&cuttable(2000), 27), None);
    }
}
