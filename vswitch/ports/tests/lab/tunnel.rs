//! A tunnel without a seal: frames of a burst as records, and records as a burst, the way a daemon does both. What stands
//! in front of a frame here is a header of the test's own: the frame's length with its metadata, and the tag.

use weft_core::DropReason;
use weft_offload::{Fit, VnetHeader, ecn::Codepoint};
use weft_ports::{
    Builder, Burst, Job,
    udp::{Batch, Record},
};
use weft_vlan::{Tags, Tci, Tpid, WireTag};
use zerocopy::{FromBytes, IntoBytes};

const LENGTH: usize = 4;
const TAG: usize = 4;
pub(crate) const HEADER: usize = LENGTH + TAG;

/// What travels where a frame has no tag.
pub(crate) const UNTAGGED: WireTag = WireTag::new(Tpid::Dot1Q, Tci::from_bits(1));

/// Lays a frame out in records of so many bytes at most.
pub(crate) fn lay_out(burst: &Burst<'_>, job: &Job, largest: usize, batch: &mut Batch<'_>) {
    let head = &burst.frames()[usize::from(job.frame)].head;
    let tag = job.tags.vlan.unwrap_or(UNTAGGED);
    let job = Job { tags: Tags { vlan: None, ..job.tags }, ..*job };
    let pushed = job.tags.wire_len();
    let Ok(offload) = head.offload() else { return batch.drop_frame(DropReason::BadOffload) };
    let mut reader = burst.reader(&job);
    let len = reader.len();
    match Fit::of(reader.front(), len, offload, pushed, largest - HEADER) {
        // What a daemon would have to fragment goes whole too, where the underlay takes it.
        Fit::Whole | Fit::TooLarge => {
            let vnet = VnetHeader::announce(offload, pushed);
            let (room, whole) = begin_record(batch, tag, vnet, len);
            reader.read(room);
            batch.commit(whole, Codepoint::NotEct);
        }
        Fit::Pieces(mut cut) => {
            let mut behind_headers = false;
            while let Some(piece) = cut.next() {
                if !behind_headers {
                    reader.skip(piece.headers.len());
                    behind_headers = true;
                }
                let len = piece.headers.len() + piece.payload;
                let (room, whole) = begin_record(batch, tag, piece.vnet, len);
                let (headers, payload) = room.split_at_mut(piece.headers.len());
                headers.copy_from_slice(piece.headers);
                assert_eq!(reader.read(payload), piece.payload);
                batch.commit(whole, Codepoint::NotEct);
            }
        }
    }
    batch.frame(len);
}

/// Writes what stands in front of a frame; returns the room for it and the bytes of the whole record.
fn begin_record<'r>(
    batch: &'r mut Batch<'_>,
    tag: WireTag,
    vnet: VnetHeader,
    len: usize,
) -> (&'r mut [u8], usize) {
    let whole = HEADER + VnetHeader::LEN + len;
    let (front, room) = batch.room(whole).split_at_mut(HEADER + VnetHeader::LEN);
    front[..LENGTH].copy_from_slice(&(len as u32).to_le_bytes());
    front[LENGTH..HEADER].copy_from_slice(&tag.to_bytes());
    front[HEADER..].copy_from_slice(vnet.as_bytes());
    (room, whole)
}

/// Adds the frame of a record to a burst.
pub(crate) fn take_in<'b>(record: Record<'b>, builder: &mut Builder<'b>) {
    let bytes: &'b [u8] = record.bytes;
    let (front, frame) = bytes.split_at(HEADER + VnetHeader::LEN);
    assert_eq!(front[..LENGTH], (frame.len() as u32).to_le_bytes());
    let vnet = VnetHeader::read_from_bytes(&front[HEADER..]).unwrap();
    builder.push(frame, WireTag::read(&front[LENGTH..]), Some(&vnet));
}
