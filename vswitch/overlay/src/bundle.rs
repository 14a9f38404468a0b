//! Bundles: the frames of one segment that share a record, `docs/overlay.md`. Written into and read out of a
//! buffer in place; nothing is allocated. Checks the form alone: what the frames hold and whether the peer may
//! send them is judged by others.
//!
//! ```text
//! segment id u32, then 1 to 64 frames:
//!   length and form u32      bits 0–23 bytes of the frame, 24 DEI, 25–27 PCP, 28–30 zero,
//!                            31 a virtio-net header precedes the frame
//!   virtio-net header        10 bytes, where bit 31 is set
//!   frame                    untagged; tags of the payload in band
//! zero bytes up to the end, or none
//! ```
//!
//! Integers are little-endian. Sixteen bits would be too few for a length: a super-frame of 65 535 bytes of IP
//! has an Ethernet header and payload tags in front.

use weft_vlan::Priority;

use crate::SegmentId;

/// Frames that a bundle holds at most.
pub const FRAMES_MAX: usize = 64;
/// Bytes in front of a bundle's first frame.
pub const BUNDLE_HEADER: usize = 4;
/// Bytes in front of each frame, and of its virtio-net header where there is one.
pub const FRAME_HEADER: usize = 4;
/// Bytes of a virtio-net header. virtio 1.2 §5.1.6, without `num_buffers`.
pub const VNET_HEADER: usize = 10;
/// Bytes that a frame has at most.
pub const FRAME_MAX: usize = 0xff_ffff;

const PRIORITY_AT: u32 = 24;
const UNUSED: u32 = 0b111 << 28;
const HAS_VNET: u32 = 1 << 31;

/// What makes a payload no bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BundleError {
    /// It ends within the bundle's own header.
    #[error("the bundle is cut short")]
    Short,
    /// Its segment id is none.
    #[error("the bundle names no segment")]
    BadSegment,
    /// It holds no frame.
    #[error("the bundle holds no frame")]
    Empty,
    /// A frame's length leads behind the end.
    #[error("a frame's length leads behind the bundle's end")]
    BadLength,
    /// A frame is announced in a form that has no meaning.
    #[error("a frame has an unknown form")]
    BadForm,
    /// It holds more than [`FRAMES_MAX`] frames.
    #[error("the bundle holds too many frames")]
    TooMany,
    /// Something other than zero follows the last frame.
    #[error("what follows the last frame is not zero")]
    BadPadding,
}

impl BundleError {
    /// Returns the name that counters show.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Short => "bundle-short",
            Self::BadSegment => "bundle-segment",
            Self::Empty => "bundle-empty",
            Self::BadLength => "bundle-length",
            Self::BadForm => "bundle-form",
            Self::TooMany => "bundle-too-many",
            Self::BadPadding => "bundle-padding",
        }
    }
}

/// A checked bundle.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a> {
    segment: SegmentId,
    count: usize,
    /// The frames with their headers, to the end of the last.
    frames: &'a [u8],
}

/// One frame of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The priority of the tag that travels beside the frame.
    pub priority: Priority,
    /// The virtio-net header; what it says is not checked. Its offsets count from the untagged frame.
    pub vnet: Option<&'a [u8; VNET_HEADER]>,
    /// The frame, untagged and never empty.
    pub bytes: &'a [u8],
}

/// Reads a bundle. All of its lengths are right when this returns.
///
/// # Errors
/// [`BundleError`] names what is wrong; no frame of the payload may be used then.
pub fn frames(payload: &[u8]) -> Result<Bundle<'_>, BundleError> {
    let (segment, behind) = payload.split_first_chunk().ok_or(BundleError::Short)?;
    let segment = SegmentId::new(u32::from_le_bytes(*segment)).ok_or(BundleError::BadSegment)?;
    let mut rest = behind;
    let mut count = 0;
    while let Some((_, next)) = split_frame(rest)? {
        count += 1;
        if count > FRAMES_MAX {
            return Err(BundleError::TooMany);
        }
        rest = next;
    }
    if count == 0 {
        return Err(BundleError::Empty);
    }
    if rest.iter().any(|&byte| byte != 0) {
        return Err(BundleError::BadPadding);
    }
    Ok(Bundle { segment, count, frames: &behind[..behind.len() - rest.len()] })
}

/// Takes the first frame off; `None` where the frames end.
#[inline]
fn split_frame(rest: &[u8]) -> Result<Option<(Frame<'_>, &[u8])>, BundleError> {
    // Less than a header may be padding: whether it is zero is judged at the end.
    let Some((word, rest)) = rest.split_first_chunk::<FRAME_HEADER>() else { return Ok(None) };
    let word = u32::from_le_bytes(*word);
    if word == 0 {
        return Ok(None);
    }
    if word & UNUSED != 0 {
        return Err(BundleError::BadForm);
    }
    let (vnet, rest) = if word & HAS_VNET == 0 {
        (None, rest)
    } else {
        let (vnet, rest) = rest.split_first_chunk().ok_or(BundleError::BadLength)?;
        (Some(vnet), rest)
    };
    let len = word as usize & FRAME_MAX;
    let (bytes, rest) =
        rest.split_at_checked(len).filter(|_| len > 0).ok_or(BundleError::BadLength)?;
    let [.., form] = word.to_le_bytes();
    let priority = Priority::new(form >> 1, form);
    Ok(Some((Frame { priority, vnet, bytes }, rest)))
}

impl<'a> Bundle<'a> {
    /// Returns the segment that all of the frames belong to.
    pub fn segment(&self) -> SegmentId {
        self.segment
    }

    /// Returns the number of frames, 1 to [`FRAMES_MAX`].
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the frames in the order in which they were put in.
    pub fn iter(&self) -> Frames<'a> {
        Frames { rest: self.frames }
    }
}

impl<'a> IntoIterator for Bundle<'a> {
    type Item = Frame<'a>;
    type IntoIter = Frames<'a>;

    fn into_iter(self) -> Frames<'a> {
        self.iter()
    }
}

/// The frames of a [`Bundle`].
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    #[inline]
    fn next(&mut self) -> Option<Frame<'a>> {
        let (frame, rest) = split_frame(self.rest).ok().flatten()?;
        self.rest = rest;
        Some(frame)
    }
}

/// Returns the bytes that a frame takes in a bundle, what stands in front of it included.
pub const fn size_in_bundle(frame_len: usize, vnet: Option<&[u8; VNET_HEADER]>) -> usize {
    let vnet_len = if vnet.is_some() { VNET_HEADER } else { 0 };
    FRAME_HEADER + vnet_len + frame_len
}

/// Writes a bundle into a buffer.
#[derive(Debug)]
pub struct BundleWriter<'a> {
    buffer: &'a mut [u8],
    len: usize,
    count: usize,
}

impl<'a> BundleWriter<'a> {
    /// Begins a bundle of one segment; `None` where the buffer has no room for its header.
    pub fn new(buffer: &'a mut [u8], segment: SegmentId) -> Option<Self> {
        *buffer.first_chunk_mut()? = segment.get().to_le_bytes();
        Some(Self { buffer, len: BUNDLE_HEADER, count: 0 })
    }

    /// Makes room for a frame of `frame_len` bytes and returns where it is to be written, whole. The offsets of a
    /// virtio-net header count from the untagged frame. `None`, and the bundle as it was, where the buffer or the bundle is full, or where a frame cannot have that length.
    #[inline]
    pub fn push(
        &mut self,
        frame_len: usize,
        priority: Priority,
        vnet: Option<&[u8; VNET_HEADER]>,
    ) -> Option<&mut [u8]> {
        if frame_len == 0 || frame_len > FRAME_MAX || self.count == FRAMES_MAX {
            return None;
        }
        let size = size_in_bundle(frame_len, vnet);
        let place = self.buffer.get_mut(self.len..)?.get_mut(..size)?;
        let form = u32::from(priority.pcp() << 1 | priority.dei()) << PRIORITY_AT;
        let (word, place) = place.split_first_chunk_mut::<FRAME_HEADER>()?;
        *word = (frame_len as u32 | form).to_le_bytes();
        let place = match vnet {
            None => place,
            Some(header) => {
                *word = (frame_len as u32 | form | HAS_VNET).to_le_bytes();
                let (vnet, place) = place.split_first_chunk_mut()?;
                *vnet = *header;
                place
            }
        };
        self.len += size;
        self.count += 1;
        Some(place)
    }

    /// Returns the number of frames.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the bytes written, the bundle's header included. They are a bundle once there is a frame.
    pub fn written(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests;
