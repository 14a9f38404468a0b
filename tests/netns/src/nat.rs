//! A network address translator on the path: datagrams of a site leave it under its own address and a port of its
//! choice, and answers come back through that port alone. It can forget its mapping in mid-stream.
//!
//! ```text
//!   site a ── 10.99.0.200:51900 (towards a) ─ nat ─ 10.99.0.200:random (towards the far end) ── site b
//! ```

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::Namespace;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 200);
const TOWARDS_SITE: u16 = 51_900;
/// How often a thread looks whether it is to end, or the mapping is another.
const GLANCE: Duration = Duration::from_millis(20);

/// The translator. It ends with its owner.
#[derive(Debug)]
pub struct Nat {
    space: Namespace,
    mapping: Arc<Mutex<Arc<UdpSocket>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Nat {
    /// Puts a translator onto a path, through which whoever sends to it reaches `far`.
    #[track_caller]
    pub(crate) fn open(path: &Namespace, far: SocketAddr) -> Self {
        let space = Namespace::new();
        path.run(&format!("ip link add to-nat type veth peer name under netns {}", space.path()));
        path.run("ip link set to-nat master bridge up");
        space.run(&format!("ip addr add {ADDRESS}/24 dev under"));
        space.run("ip link set under up");
        let inside = Arc::new(bind(&space, TOWARDS_SITE));
        let mapping = Arc::new(Mutex::new(Arc::new(bind(&space, 0))));
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
        let (outside, stopped) = (mapping.clone(), stop.clone());
        let back = thread::spawn(move || {
            relay(
                &stopped,
                || current(&outside),
                |bytes, from| {
                    let site = *site.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(site) = site.filter(|_| from == far) {
                        let _ = inside.send_to(bytes, site);
                    }
                },
            );
        });
        Self { space, mapping, stop, threads: vec![out, back] }
    }

    /// Returns where the site behind it sends to.
    pub fn inside(&self) -> SocketAddr {
        (ADDRESS, TOWARDS_SITE).into()
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
        let next = Arc::new(bind(&self.space, 0));
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

fn bind(space: &Namespace, port: u16) -> UdpSocket {
    let socket = space.enter(|| UdpSocket::bind((ADDRESS, port))).expect("a port is free");
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
            // Nothing came, or an answer of ICMP's.
            Err(error) => assert!(
                matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
                ),
                "{error}"
            ),
        }
    }
}
