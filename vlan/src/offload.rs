//! Work on a frame that its sender left to others: an unfinished checksum, segmentation.
//! The meaning is virtio 1.2 §5.1.6, the form is our own: offsets count from the untagged frame,
//! every value has been checked against the frame's head. Reading and writing the wire form of
//! virtio-net headers is the business of the `offload` crate.

/// What is left to do on a frame before it may go to a receiver that promises nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    /// The checksum that is unfinished; always present when `gso` is.
    pub csum: Option<Csum>,
    /// How to cut the frame into segments.
    pub gso: Option<Gso>,
}

impl Offload {
    /// A finished frame.
    pub const NONE: Self = Self { csum: None, gso: None };
}

/// An unfinished Internet checksum: the sum from `start` to the frame's end belongs at `start + offset`,
/// where the pseudo header's sum already stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csum {
    /// First byte that is summed, in bytes from the start of the untagged frame.
    pub start: u16,
    /// Where the sum goes, in bytes from `start`.
    pub offset: u16,
}

/// A frame that stands for several segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// What is cut.
    pub kind: GsoKind,
    /// Bytes of layer-4 payload in each segment but the last; never 0.
    pub size: u16,
    /// Bytes of all headers, Ethernet to layer 4, in the untagged frame.
    pub header_len: u16,
}

/// The protocol whose payload is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GsoKind {
    /// TCP over IPv4.
    Tcp4 {
        /// The first segment alone keeps CWR.
        ecn: Ecn,
    },
    /// TCP over IPv6.
    Tcp6 {
        /// The first segment alone keeps CWR.
        ecn: Ecn,
    },
    /// UDP over either, each segment a datagram of its own (USO).
    Udp,
}

/// Whether the sender marked the super-frame as carrying CWR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// VIRTIO_NET_HDR_GSO_ECN was set.
    Marked,
    /// It was not.
    Unmarked,
}

/// Virtio-net metadata that does not fit its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("virtio-net metadata does not fit the frame")]
pub struct BadOffload;
