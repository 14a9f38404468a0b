//! The names that filters know. pcap-filter(7).

/// What may stand first in a condition, for who misspells it.
pub(super) const KEYWORDS: &[&str] = &[
    "and",
    "or",
    "not",
    "host",
    "src",
    "dst",
    "net",
    "mask",
    "port",
    "portrange",
    "ether",
    "ip",
    "ip6",
    "arp",
    "rarp",
    "tcp",
    "udp",
    "sctp",
    "icmp",
    "icmp6",
    "igmp",
    "esp",
    "ah",
    "pim",
    "vrrp",
    "proto",
    "broadcast",
    "multicast",
    "vlan",
    "less",
    "greater",
    "len",
    "inbound",
    "outbound",
];

/// What pcap knows on other links, or in ways that a switch cannot follow.
pub(super) const ELSEWHERE: &[&str] = &[
    "gateway",
    "wlan",
    "mpls",
    "pppoed",
    "pppoes",
    "geneve",
    "vxlan",
    "ifname",
    "on",
    "rulenum",
    "rnr",
    "reason",
    "action",
    "rset",
    "ruleset",
    "srnr",
    "subrulenum",
    "type",
    "subtype",
    "dir",
    "decnet",
    "llc",
    "iso",
    "atalk",
    "aarp",
    "stp",
    "ipx",
    "netbeui",
    "lat",
    "moprc",
    "mopdl",
    "tr",
    "fddi",
    "ppp",
    "slip",
    "protochain",
    "link",
];

/// IP's protocols.
pub(super) const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("tcp", 6),
    ("udp", 17),
    ("esp", 50),
    ("ah", 51),
    ("icmp6", 58),
    ("pim", 103),
    ("vrrp", 112),
    ("sctp", 132),
];

/// EtherTypes.
pub(super) const ETHERTYPES: &[(&str, u16)] =
    &[("ip", 0x0800), ("arp", 0x0806), ("rarp", 0x8035), ("ip6", 0x86dd)];

/// Ports that are asked for by name most.
pub(super) const PORTS: &[(&str, u16)] = &[
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("bootps", 67),
    ("bootpc", 68),
    ("tftp", 69),
    ("http", 80),
    ("ntp", 123),
    ("snmp", 161),
    ("bgp", 179),
    ("imap", 143),
    ("ldap", 389),
    ("https", 443),
    ("syslog", 514),
    ("dhcpv6-client", 546),
    ("dhcpv6-server", 547),
    ("imaps", 993),
    ("nfs", 2049),
    ("mysql", 3306),
    ("postgresql", 5432),
    ("sip", 5060),
    ("mdns", 5353),
];

/// Numbers in comparisons.
pub(super) const NUMBERS: &[(&str, u32)] = &[
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-multicastlistenerreportv2", 143),
];

/// Returns what a name stands for.
pub(super) fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|&(_, value)| value)
}

/// Returns the keyword that a word was probably meant to be.
pub(super) fn nearest(word: &str) -> Option<&'static str> {
    if word.len() > 20 {
        return None;
    }
    let word = word.to_ascii_lowercase();
    KEYWORDS
        .iter()
        .map(|keyword| (strsim::damerau_levenshtein(&word, keyword), *keyword))
        .filter(|&(distance, keyword)| distance <= (keyword.len() / 3).max(1))
        .min()
        .map(|(_, keyword)| keyword)
}
