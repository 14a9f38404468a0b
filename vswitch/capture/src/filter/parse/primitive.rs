//! Conditions that begin with a word: a protocol, a direction, an address.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
};

use weft_vlan::MacAddr;

use super::{
    super::{
        FilterError,
        test::{Carrier, End, Node, Relation, Test, Value},
        words::{ETHERTYPES, PORTS, PROTOCOLS, named, nearest},
    },
    Parsed, Parser, number,
};
use crate::view::Way;

/// Protocols that have ports.
const WITH_PORTS: &[u8] = &[6, 17, 132];

/// What an address is looked for as.
#[derive(Clone, Copy, Debug)]
pub(super) struct Qualifiers {
    family: Family,
    end: End,
    kind: Kind,
}

/// The protocol in front.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    None,
    Ether,
    Carried(Carrier),
    /// One of IP's, which may have ports.
    Over(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    Ports,
    Proto,
}

impl Parser<'_> {
    pub(super) fn primitive(&mut self) -> Parsed {
        let word = self.peek().unwrap_or_default();
        if !self.next_is_word() {
            return Err(self.wrong("a condition is expected here"));
        }
        match word {
            "vlan" => return self.vlan(),
            "less" | "greater" => return self.length(word),
            "inbound" | "outbound" => {
                self.next += 1;
                let way = if word == "inbound" { Way::In } else { Way::Out };
                return Ok(Node::Test(Test::Way(way)));
            }
            _ => {}
        }
        let begin = self.next;
        let family = self.family();
        let end = self.end();
        let kind = self.kind();
        if self.next == begin && !self.casts_follow() {
            return match self.last {
                Some(last) if is_operand(word) => self.operand(last),
                None if is_address(word) => self.operand(Qualifiers {
                    family: Family::None,
                    end: End::Either,
                    kind: Kind::Host,
                }),
                _ => Err(self.unknown(word)),
            };
        }
        if (end, kind) == (None, None)
            && let Some(node) = self.protocol_alone(family)?
        {
            return Ok(node);
        }
        let kind = kind.unwrap_or(Kind::Host);
        let qualifiers = Qualifiers { family, end: end.unwrap_or(End::Either), kind };
        self.last = Some(qualifiers);
        self.operand(qualifiers)
    }

    fn casts_follow(&self) -> bool {
        matches!(self.peek(), Some("broadcast" | "multicast"))
    }

    fn family(&mut self) -> Family {
        let family = match self.peek() {
            Some("ether") => Family::Ether,
            Some("ip") => Family::Carried(Carrier::Ipv4),
            Some("ip6") => Family::Carried(Carrier::Ipv6),
            Some("arp") => Family::Carried(Carrier::Arp),
            Some("rarp") => Family::Carried(Carrier::Rarp),
            Some(word) => match named(PROTOCOLS, word) {
                Some(number) => Family::Over(number),
                None => return Family::None,
            },
            None => return Family::None,
        };
        self.next += 1;
        family
    }

    fn end(&mut self) -> Option<End> {
        let (first, other) = match self.peek()? {
            "src" => (End::Source, "dst"),
            "dst" => (End::Destination, "src"),
            _ => return None,
        };
        self.next += 1;
        let both = match (self.peek(), self.peek_at(1)) {
            (Some("or" | "||"), Some(second)) if second == other => End::Either,
            (Some("and" | "&&"), Some(second)) if second == other => End::Both,
            _ => return Some(first),
        };
        self.next += 2;
        Some(both)
    }

    fn kind(&mut self) -> Option<Kind> {
        let kind = match self.peek()? {
            "host" => Kind::Host,
            "net" => Kind::Net,
            "port" => Kind::Port,
            "portrange" => Kind::Ports,
            "proto" => Kind::Proto,
            _ => return None,
        };
        self.next += 1;
        Some(kind)
    }

    /// A protocol without an address; `None` when an address follows.
    fn protocol_alone(&mut self, family: Family) -> Parsed<Option<Node>> {
        let shift = self.shift();
        if self.casts_follow() {
            let is_broadcast = self.peek() == Some("broadcast");
            let test = match (family, is_broadcast) {
                (Family::Ether | Family::None, true) => Test::Broadcast,
                (Family::Ether | Family::None, false) => Test::Multicast,
                (Family::Carried(Carrier::Ipv4), false) => Test::Multicast4 { shift },
                (Family::Carried(Carrier::Ipv6), false) => Test::Multicast6 { shift },
                (Family::Carried(Carrier::Ipv4), true) => {
                    return Err(self
                        .wrong("a switch does not know the networks' broadcast addresses")
                        .help("`ether broadcast`, or `dst host` with the address"));
                }
                _ => return Err(self.wrong("this protocol has none")),
            };
            self.next += 1;
            return Ok(Some(Node::Test(test)));
        }
        let operand_follows = self.peek().is_some_and(is_operand);
        let test = match family {
            Family::Carried(carrier) if !operand_follows => {
                Test::EtherType { shift, number: ethertype(carrier) }
            }
            Family::Over(number) if !operand_follows => {
                // These two are of one version of IP each.
                let carrier = match number {
                    58 => Carrier::Ipv6,
                    1 | 2 | 112 => Carrier::Ipv4,
                    _ => Carrier::Any,
                };
                Test::Protocol { shift, carrier, number }
            }
            _ => return Ok(None),
        };
        Ok(Some(Node::Test(test)))
    }

    fn vlan(&mut self) -> Parsed {
        self.next += 1;
        let mut vid = None;
        if let Some(word) = self.peek().filter(|word| self.next_is_word() && !is_joint(word)) {
            let number = number(word).and_then(|number| u16::try_from(number).ok());
            vid = Some(number.filter(|&vid| vid <= 4095).ok_or_else(|| {
                self.wrong("a VID is a number from 0 to 4095")
                    .help("`weftctl capture --vlan` takes names too")
            })?);
            self.next += 1;
        }
        let number = self.tags;
        self.tags += 1;
        Ok(Node::Test(Test::Vlan { number, vid }))
    }

    fn length(&mut self, word: &str) -> Parsed {
        self.next += 1;
        let relation =
            if word == "less" { Relation::LessOrEqual } else { Relation::GreaterOrEqual };
        let Some(right) = self.peek().and_then(number) else {
            return Err(self.wrong(format!("`{word}` is followed by a number of bytes")));
        };
        self.next += 1;
        Ok(Node::Test(Test::Compare { left: Value::Len, relation, right: Value::Number(right) }))
    }

    /// What stands behind the qualifiers.
    fn operand(&mut self, qualifiers: Qualifiers) -> Parsed {
        let Some(word) = self.peek().filter(|_| self.next_is_word()) else {
            let what = match qualifiers.kind {
                Kind::Host => "an address",
                Kind::Net => "a network",
                Kind::Port | Kind::Ports => "a port",
                Kind::Proto => "a protocol",
            };
            return Err(self.wrong(format!("{what} is missing here")));
        };
        let test = match qualifiers.kind {
            Kind::Host => self.host(qualifiers, word)?,
            Kind::Net => self.net(qualifiers, word)?,
            Kind::Port | Kind::Ports => self.ports(qualifiers, word)?,
            Kind::Proto => self.proto(qualifiers, word)?,
        };
        self.next += 1;
        Ok(Node::Test(test))
    }

    fn host(&self, Qualifiers { family, end, .. }: Qualifiers, word: &str) -> Parsed<Test> {
        let shift = self.shift();
        if let Ok(mac) = word.parse::<MacAddr>() {
            return match family {
                Family::Ether => Ok(Test::Mac { end, mac }),
                _ => Err(self.wrong("this is a MAC address").help("write `ether host` before it")),
            };
        }
        let carrier = self.carrier(family, "an address")?;
        if let Ok(address) = word.parse::<Ipv6Addr>() {
            if !matches!(carrier, Carrier::Any | Carrier::Ipv6) {
                return Err(self.wrong("this is an address of IPv6"));
            }
            return Ok(Test::Net6 { shift, end, net: address.into(), mask: u128::MAX });
        }
        let Ok(address) = word.parse::<Ipv4Addr>() else {
            if nearest(word).is_some() {
                return Err(self.unknown(word));
            }
            return Err(self
                .wrong(format!("`{word}` is no address"))
                .help("names of hosts are not looked up: write their addresses"));
        };
        if carrier == Carrier::Ipv6 {
            return Err(self.wrong("this is an address of IPv4"));
        }
        Ok(Test::Net4 { shift, carrier, end, net: address.into(), mask: u32::MAX })
    }

    fn net(&mut self, Qualifiers { family, end, .. }: Qualifiers, word: &str) -> Parsed<Test> {
        let shift = self.shift();
        let carrier = self.carrier(family, "a network")?;
        if let Ok(address) = word.parse::<Ipv6Addr>() {
            if !matches!(carrier, Carrier::Any | Carrier::Ipv6) {
                return Err(self.wrong("this is a network of IPv6"));
            }
            let mask = match self.prefix(128)? {
                None => u128::MAX,
                Some(0) => 0,
                Some(len) => u128::MAX << (128 - len),
            };
            let net = u128::from(address);
            self.no_host_bits(net & !mask == 0)?;
            return Ok(Test::Net6 { shift, end, net, mask });
        }
        let Some((net, own)) = short_net(word).filter(|_| carrier != Carrier::Ipv6) else {
            return Err(self
                .wrong(format!("`{word}` is no network"))
                .help("as in `net 10.0.0.0/8`"));
        };
        let mask = if self.peek_at(1) == Some("mask") {
            self.next += 2;
            match self.peek().and_then(|word| word.parse::<Ipv4Addr>().ok()) {
                Some(mask) => mask.into(),
                None => return Err(self.wrong("a mask is written as an address")),
            }
        } else {
            match self.prefix(32)? {
                None => own,
                Some(0) => 0,
                Some(len) => u32::MAX << (32 - len),
            }
        };
        self.no_host_bits(net & !mask == 0)?;
        Ok(Test::Net4 { shift, carrier, end, net, mask })
    }

    /// `/8`.
    fn prefix(&mut self, most: u32) -> Parsed<Option<u32>> {
        if self.peek_at(1) != Some("/") {
            return Ok(None);
        }
        self.next += 2;
        let len = self.peek().and_then(number).filter(|&len| len <= most);
        len.map(Some).ok_or_else(|| self.wrong(format!("a prefix has a length of 0 to {most}")))
    }

    fn no_host_bits(&self, is_net: bool) -> Parsed<()> {
        if is_net {
            return Ok(());
        }
        Err(self.wrong("the address has bits behind its network's"))
    }

    fn ports(&self, Qualifiers { family, end, kind }: Qualifiers, word: &str) -> Parsed<Test> {
        let ports = match kind {
            Kind::Ports => range(word),
            _ => port(word).map(|port| port..=port),
        };
        let Some(ports) = ports else {
            let error = self.wrong(format!("`{word}` is no port"));
            return Err(match kind {
                Kind::Ports => error.help("as in `portrange 6000-6063`"),
                _ if word.contains('-') => error.help("several are a `portrange`"),
                _ => error.help("a number from 0 to 65535, or a name such as `https` or `domain`"),
            });
        };
        let (carrier, protocols) = match family {
            Family::None => (Carrier::Any, WITH_PORTS),
            Family::Carried(carrier @ (Carrier::Ipv4 | Carrier::Ipv6)) => (carrier, WITH_PORTS),
            Family::Over(number) if WITH_PORTS.contains(&number) => {
                let at = WITH_PORTS.iter().position(|&known| known == number).unwrap_or(0);
                (Carrier::Any, &WITH_PORTS[at..=at])
            }
            _ => {
                return Err(self
                    .wrong("this protocol has no ports")
                    .help("tcp, udp and sctp have"));
            }
        };
        Ok(Test::Ports { shift: self.shift(), carrier, protocols, end, ports })
    }

    fn proto(&self, Qualifiers { family, end, .. }: Qualifiers, word: &str) -> Parsed<Test> {
        let shift = self.shift();
        if end != End::Either {
            return Err(self.wrong("a protocol has no direction"));
        }
        if family == Family::Ether {
            let value = named(ETHERTYPES, word).map(u32::from).or_else(|| number(word));
            let number =
                value.and_then(|number| u16::try_from(number).ok()).filter(|&it| it > 1500);
            return match number {
                Some(number) => Ok(Test::EtherType { shift, number }),
                None => Err(self
                    .wrong(format!("`{word}` is no EtherType"))
                    .help("a number over 1500 as in 0x88cc, or ip, ip6, arp or rarp")),
            };
        }
        let carrier = self.carrier(family, "a protocol")?;
        let value = named(PROTOCOLS, word).map(u32::from).or_else(|| number(word));
        match value.and_then(|number| u8::try_from(number).ok()) {
            Some(number) => Ok(Test::Protocol { shift, carrier, number }),
            None => Err(self
                .wrong(format!("`{word}` is no protocol of IP"))
                .help("a number from 0 to 255, or a name such as tcp or icmp6")),
        }
    }

    fn carrier(&self, family: Family, what: &str) -> Result<Carrier, FilterError> {
        match family {
            Family::None => Ok(Carrier::Any),
            Family::Carried(carrier) => Ok(carrier),
            Family::Ether => Err(self
                .wrong(format!("{what} of IP is no business of Ethernet's"))
                .help("leave `ether` out, or write a MAC address")),
            Family::Over(_) => Err(self
                .wrong(format!("{what} belongs to IP, not to a protocol over it"))
                .help("as in `tcp and host 10.0.0.1`")),
        }
    }
}

fn ethertype(carrier: Carrier) -> u16 {
    match carrier {
        Carrier::Any | Carrier::Ipv4 => 0x0800,
        Carrier::Ipv6 => 0x86dd,
        Carrier::Arp => 0x0806,
        Carrier::Rarp => 0x8035,
    }
}

/// Tells whether a word can stand behind qualifiers: everything else that filters know begins with other letters.
fn is_operand(word: &str) -> bool {
    is_address(word)
        || word.bytes().next().is_some_and(|first| first.is_ascii_digit())
        || port(word).is_some()
}

fn is_joint(word: &str) -> bool {
    matches!(word, "and" | "or")
}

fn is_address(word: &str) -> bool {
    word.parse::<std::net::IpAddr>().is_ok() || word.parse::<MacAddr>().is_ok()
}

fn port(word: &str) -> Option<u16> {
    named(PORTS, word).or_else(|| number(word).and_then(|number| number.try_into().ok()))
}

fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let Some((first, last)) = word.split_once('-') else {
        return port(word).map(|port| port..=port);
    };
    let (first, last) = (port(first)?, port(last)?);
    Some(first.min(last)..=first.max(last))
}

/// Reads a network that is written with as many bytes as count, as in `10` or `192.168.3`.
fn short_net(word: &str) -> Option<(u32, u32)> {
    let bytes: Vec<u8> = word.split('.').map(|byte| byte.parse().ok()).collect::<Option<_>>()?;
    let len = bytes.len();
    if len > 4 {
        return None;
    }
    let mut address = [0; 4];
    address[..len].copy_from_slice(&bytes);
    Some((u32::from_be_bytes(address), u32::MAX << (32 - 8 * len)))
}
