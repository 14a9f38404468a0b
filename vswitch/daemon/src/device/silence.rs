//! Keeps the host's stack from hearing a device: a clsact qdisc whose ingress filter drops every frame.
//! cls_bpf with classic BPF, as `tc filter add dev D ingress prio 1 bpf da bytecode '1,6 0 0 2'` makes it:
//! no loaded program, no CAP_BPF, works in a user namespace. tc-bpf(8), tc(8).
//!
//! Packet sockets are served before the ingress hook, so a port still sees the frames. The filter belongs
//! to the device, not to the process: it stays when the daemon is killed.

use netlink_packet_route::{
    RouteNetlinkMessage,
    tc::{
        TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption, TcU32OptionFlags,
    },
};
use rtnetlink::packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_EXCL};
use rustix::io::Errno;

use super::netlink::{Failure, Netlink};

/// First of all: no other filter may redirect or accept before the drop.
const PRIORITY: u16 = 1;
const ETH_P_ALL: u16 = 3;
const KIND: &str = "bpf";
const TCA_BPF_OPS_LEN: u16 = 4;
const TCA_BPF_OPS: u16 = 5;
/// The upper half of every handle that weft gives a filter, "we"; the lower half tells claims apart.
const HANDLE_FAMILY: u32 = 0x7765_0000;

/// A `struct sock_filter`, `BPF_RET | BPF_K` with the result `TC_ACT_SHOT`. <linux/filter.h>.
fn drop_everything() -> [u8; 8] {
    const BPF_RET_K: u16 = 6;
    const TC_ACT_SHOT: u32 = 2;
    let [code0, code1] = BPF_RET_K.to_ne_bytes();
    let [k0, k1, k2, k3] = TC_ACT_SHOT.to_ne_bytes();
    [code0, code1, 0, 0, k0, k1, k2, k3]
}

/// A filter of somebody on the way into a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) kind: String,
    pub(super) priority: u16,
    pub(super) protocol: u16,
    pub(super) chain: u32,
    /// Zero where it stands for its priority as a whole.
    pub(super) handle: u32,
}

impl Filter {
    /// Tells whether this is the drop that a claim made under that handle.
    pub(super) fn is_drop(&self, handle: u32) -> bool {
        self.kind == KIND && self.priority == PRIORITY && self.handle == handle
    }

    /// Tells whether the drop cannot stand beside this filter: a priority holds one kind and protocol.
    pub(super) fn is_in_the_way(&self) -> bool {
        self.chain == 0
            && self.priority == PRIORITY
            && (self.kind != KIND || self.protocol != ETH_P_ALL)
    }
}

/// Makes a handle for the drop of one claim.
pub(super) fn new_handle() -> Result<u32, getrandom::Error> {
    Ok(HANDLE_FAMILY | (getrandom::u32()? & 0xffff))
}

impl Netlink {
    /// Returns the kind of the qdisc that holds a device's ingress filters: "clsact" or "ingress".
    pub(super) async fn ingress_qdisc(&self, index: u32) -> Result<Option<String>, Failure> {
        let query = TcMessage::with_index(index.cast_signed());
        let answers = self.dump(RouteNetlinkMessage::GetQueueDiscipline(query)).await?;
        Ok(answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewQueueDiscipline(qdisc)
                if qdisc.header.index == index.cast_signed()
                    && qdisc.header.parent == TcHandle::CLSACT =>
            {
                kind(&qdisc.attributes)
            }
            _ => None,
        }))
    }

    /// Returns the filters on the way into a device.
    pub(super) async fn ingress_filters(&self, index: u32) -> Result<Vec<Filter>, Failure> {
        self.filters(index, TcHandle::MIN_INGRESS).await
    }

    /// Returns the filters on the way out of a device, those of its clsact qdisc.
    pub(super) async fn egress_filters(&self, index: u32) -> Result<Vec<Filter>, Failure> {
        self.filters(index, TcHandle::MIN_EGRESS).await
    }

    async fn filters(&self, index: u32, hook: u16) -> Result<Vec<Filter>, Failure> {
        let mut query = TcMessage::with_index(index.cast_signed());
        query.header.parent = TcHandle { minor: hook, ..TcHandle::CLSACT };
        let answers = self.dump(RouteNetlinkMessage::GetTrafficFilter(query)).await?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewTrafficFilter(filter) => Some(Filter {
                    kind: kind(&filter.attributes)?,
                    priority: (filter.header.info >> 16) as u16,
                    protocol: u16::from_be(filter.header.info as u16),
                    chain: chain(&filter.attributes),
                    handle: filter.header.handle.into(),
                }),
                _ => None,
            })
            .collect())
    }

    /// Gives a device a clsact qdisc.
    pub(super) async fn add_clsact(&self, index: u32) -> Result<(), Failure> {
        let change = RouteNetlinkMessage::NewQueueDiscipline(clsact(index));
        match self.tell(change, NLM_F_CREATE | NLM_F_EXCL).await {
            // Someone else was faster; the filter can stand in theirs.
            Err(failure) if failure.is(Errno::EXIST) => Ok(()),
            other => other,
        }
    }

    /// Removes a device's clsact qdisc, with every filter in it.
    pub(super) async fn remove_clsact(&self, index: u32) -> Result<(), Failure> {
        gone_is_fine(self.tell(RouteNetlinkMessage::DelQueueDiscipline(clsact(index)), 0).await)
    }

    /// Adds the filter that drops everything on the way into the host's stack.
    pub(super) async fn add_drop(&self, index: u32, handle: u32) -> Result<(), Failure> {
        let program = drop_everything();
        let instructions = (program.len() / 8) as u16;
        let mut message = drop_filter(index, handle);
        message.attributes.push(TcAttribute::Options(vec![
            TcOption::Bpf(other(TCA_BPF_OPS_LEN, &instructions.to_ne_bytes())),
            TcOption::Bpf(other(TCA_BPF_OPS, &program)),
            TcOption::Bpf(TcFilterBpfOption::Flags(TcBpfFlags::DirectAction)),
            // In hardware it would drop the frames before the port sees them.
            TcOption::Bpf(TcFilterBpfOption::FlagsGeneric(TcU32OptionFlags::SkipHw)),
        ]));
        self.tell(RouteNetlinkMessage::NewTrafficFilter(message), NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Removes the drop that was made under that handle.
    pub(super) async fn remove_drop(&self, index: u32, handle: u32) -> Result<(), Failure> {
        let message = drop_filter(index, handle);
        gone_is_fine(self.tell(RouteNetlinkMessage::DelTrafficFilter(message), 0).await)
    }
}

fn gone_is_fine(result: Result<(), Failure>) -> Result<(), Failure> {
    match result {
        Err(failure) if failure.is(Errno::NOENT) || failure.is(Errno::NODEV) => Ok(()),
        other => other,
    }
}

fn clsact(index: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: TcHandle::CLSACT.major, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    message
}

fn drop_filter(index: u32, handle: u32) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = TcHandle { minor: TcHandle::MIN_INGRESS, ..TcHandle::CLSACT };
    message.header.handle = handle.into();
    message.header.info = u32::from(PRIORITY) << 16 | u32::from(ETH_P_ALL.to_be());
    message.attributes.push(TcAttribute::Kind(KIND.into()));
    message
}

fn other(kind: u16, value: &[u8]) -> TcFilterBpfOption {
    TcFilterBpfOption::Other(DefaultNla::new(kind, value.to_vec()))
}

fn chain(attributes: &[TcAttribute]) -> u32 {
    let chain = attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Chain(chain) => Some(*chain),
        _ => None,
    });
    chain.unwrap_or(0)
}

fn kind(attributes: &[TcAttribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Kind(kind) => Some(kind.clone()),
        _ => None,
    })
}
