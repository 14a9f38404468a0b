//! The kernel's side of a `tap` port without the kernel's stack: frames as they are, sent by `pnet`'s datalink and
//! heard by `tcpdump`, since `pnet` loses VLAN tags on the way in.

use pnet::datalink::{self, Channel, DataLinkSender};

use crate::{Host, Process};

/// A host's card, for frames of the test's own.
pub struct KernelEnd {
    sender: Box<dyn DataLinkSender>,
    capture: Process,
}

impl KernelEnd {
    /// Takes the card of a host; hears frames of this EtherType, behind tags too.
    ///
    /// # Panics
    /// When the card is down.
    #[track_caller]
    pub fn open(host: &Host, ethertype: u16) -> Self {
        let filter = format!("ether proto {ethertype} or vlan or ether proto 0x88a8");
        let capture = Process::start_line(
            host.space(),
            &format!("tcpdump -i eth0 -Q in -n -e -l -xx {filter}"),
        );
        capture.wait_for("listening on");
        let sender = host.space().enter(|| {
            let card = datalink::interfaces()
                .into_iter()
                .find(|card| card.name == "eth0")
                .expect("a host has eth0");
            match datalink::channel(&card, datalink::Config::default()) {
                Ok(Channel::Ethernet(sender, _)) => sender,
                Ok(_) => panic!("eth0 is no Ethernet card"),
                Err(error) => panic!("eth0 cannot be opened: {error}"),
            }
        });
        Self { sender, capture }
    }

    /// Sends a frame.
    ///
    /// # Panics
    /// When the kernel refuses it.
    #[track_caller]
    pub fn send(&mut self, frame: &[u8]) {
        let sent = self.sender.send_to(frame, None).expect("a packet socket sends");
        if let Err(error) = sent {
            panic!("the kernel takes no frame of {} bytes: {error}", frame.len());
        }
    }

    /// Waits until the capture has a line with this text, and returns all it has so far.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn heard(&self, text: &str) -> String {
        self.capture.wait_for(text);
        self.capture.said()
    }
}
