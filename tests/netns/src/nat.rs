//! A network address translator on the path: datagrams of a site leave it under its own address and a port of its
//! choice, and answers come back through that port alone. It can forget its mapping in mid-stream.
//!
//! ```text
//!   site a ── 10.99.0.200:51900 (towards a) ─ nat ─ 10.99.0.200:random (towards the far end) ── site b
//! ```
//!
//! A second one on the same path is 10.99.0.201, and so on; over IPv6 they are fd99::200, fd99::201.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::Namespace;

const TOWARDS_SITE: u16 = 51_900;
/// How often a thread looks whether it is to end, or the mapping is another.
const GLANCE: Duration = Duration::from_millis(20);

/// The translator. It ends with its owner.
#[derive(Debug)]
pub struct Nat {
    space: Namespace,
    address: IpAddr,
    mapping: Arc<Mutex<Arc<UdpSocket>>>,
    /// Where the site was heard last.
    site: Arc<Mutex<Option<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Nat {
    /// Puts a translator of this number onto a path, through which whoever sends to it reaches `far`.
    #[track_caller]
    pub(crate) fn open(path: &Namespace, number: u8, far: SocketAddr) -> Self {
        let space = Namespace::new();
        let link = format!("to-nat{number}");
        path.run(&format!("ip link add {link} type veth peer name under netns {}", space.path()));
        path.run(&format!("ip link set {link} master bridge up"));
        let (address, len): (IpAddr, u8) = if far.is_ipv4() {
            (Ipv4Addr::new(10, 99, 0, 200 + number).into(), 24)
        } else {
            space.run("sysctl -qw net.ipv6.conf.under.disable_ipv6=0");
            (Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, 0x200 + u16::from(number)).into(), 64)
        };
        space.run(&format!("ip addr add {address}/{len} dev under nodad"));
        space.run("ip link set under up");
        let inside = Arc::new(bind(&space, (address, TOWARDS_SITE)));
        let mapping = Arc::new(Mutex::new(Arc::new(bind(&space, (address, 0)))));
        let (stop, site) =
            (Arc::<AtomicBool>::default(), Arc::<Mutex<Option<SocketAddr>>>::default());
        let (towards, known, outside, stopped) =
            (inside.clone(), site.clone(), mapping.clone(), stop.clone());
        let out = thread::spawn(move || {
            relay(
                &stopped,
                || towards.clone(),
                |bytes, from| {
                    *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
                    let _ = current(&outside).send_to(bytes, far);
                },
            );
        });
        let (known, outside, stopped) = (site.clone(), mapping.clone(), stop.clone());
        let back = thread::spawn(move || {
            relay(
                &stopped,
                || current(&outside),
                |bytes, from| {
                    let site = *known.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(site) = site.filter(|_| from == far) {
                        let _ = inside.send_to(bytes, site);
                    }
                },
            );
        });
        Self { space, address, mapping, site, stop, threads: vec![out, back] }
    }

    /// Has what comes from the far end reach this site before it has said anything, as through a port that was opened.
    pub fn open_to(&self, site: SocketAddr) {
        *self.site.lock().unwrap_or_else(PoisonError::into_inner) = Some(site);
    }

    /// Returns where the site behind it sends to.
    pub fn inside(&self) -> SocketAddr {
        (self.address, TOWARDS_SITE).into()
    }

    /// Returns where the far end sees the site.
    ///
    /// # Panics
    /// When the kernel does not know.
    pub fn outside(&self) -> SocketAddr {
        current(&self.mapping).local_addr().expect("a bound socket has an address")
    }

    /// Forgets the mapping: the site leaves by another port from now on, and what is sent to the old one is lost.
    pub fn forget(&self) {
        let next = Arc::new(bind(&self.space, (self.address, 0)));
        *self.mapping.lock().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn bind(space: &Namespace, to: (IpAddr, u16)) -> UdpSocket {
    let socket = space.enter(|| UdpSocket::bind(to)).expect("a port is free");
    socket.set_read_timeout(Some(GLANCE)).expect("a read can have an end");
    socket
}

fn current(mapping: &Mutex<Arc<UdpSocket>>) -> Arc<UdpSocket> {
    mapping.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Hands on what a socket receives until it is told to stop.
fn relay(stop: &AtomicBool, from: impl Fn() -> Arc<UdpSocket>, to: impl Fn(&[u8], SocketAddr)) {
    let mut bytes = vec![0; 65_536];
    while !stop.load(Relaxed) {
        match from().recv_from(&mut bytes) {
            Ok((len, sender)) => to(&bytes[..len], sender),
            // Nothing came, or an answer of ICMP's, or the process was stopped for a while.
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::WouldBlock
                        | ErrorKind::TimedOut
                        | ErrorKind::ConnectionRefused
                        | ErrorKind::Interrupted
                ),
                "{error}"
            ),
        }
    }
}
