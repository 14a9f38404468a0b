//! Network devices by name: index, flags, MTU, driver, LRO. netdevice(7) and Linux `ethtool.h`. Sees the network
//! namespace of the thread that opened it; changes nothing without being asked.

use std::{
    ffi::{CStr, c_char, c_int, c_ulong},
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use self::features::SERVICE_STRIPPING;
use crate::{OpenError, sys, tap::request_for};

mod features;

/// A socket through which devices are asked and set.
pub struct Links {
    socket: OwnedFd,
}

/// What a device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Somebody has set it up.
    pub up: bool,
    /// It is up and has a carrier.
    pub running: bool,
}

/// How many queues a device has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// For frames that it receives.
    pub receiving: u32,
    /// For frames that it sends.
    pub sending: u32,
}

/// Whether received TCP segments are merged by the hardware, which loses what a switch must not lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lro {
    /// They are.
    On,
    /// They are not, or the device cannot.
    Off,
}

/// The tags that hardware may take off received frames, each by a switch of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strippable {
    /// Those of 802.1Q, EtherType 0x8100.
    Customer,
    /// Those of 802.1ad, EtherType 0x88a8.
    Service,
}

/// Whether the hardware takes VLAN tags off received frames and hands them over beside these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stripping {
    /// It does.
    On,
    /// It does not, or cannot.
    Off,
}

impl Links {
    /// Opens a socket in this thread's network namespace.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open() -> io::Result<Self> {
        Ok(Self { socket: sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)? })
    }

    /// Returns the index of a device.
    ///
    /// # Errors
    /// `ENODEV` when there is none of this name.
    pub fn index(&self, device: &str) -> io::Result<u32> {
        let request = self.ask(libc::SIOCGIFINDEX as c_ulong, named(device)?)?;
        // SAFETY: the request fills in this member.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        u32::try_from(index).map_err(|_| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// Returns the name of the device with this index.
    ///
    /// # Errors
    /// `ENODEV` when there is none.
    pub fn name(&self, index: u32) -> io::Result<String> {
        let mut request = blank();
        request.ifr_ifru.ifru_ifindex = index as c_int;
        let request = self.ask(libc::SIOCGIFNAME as c_ulong, request)?;
        Ok(text(&request.ifr_name))
    }

    /// Returns whether a device is up and has a carrier.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn state(&self, device: &str) -> io::Result<State> {
        let flags = self.flags(device)?;
        let has = |flag: c_int| c_int::from(flags) & flag != 0;
        Ok(State { up: has(libc::IFF_UP), running: has(libc::IFF_RUNNING) })
    }

    /// Sets a device up.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_up(&self, device: &str) -> io::Result<()> {
        self.set_flags(device, self.flags(device)? | libc::IFF_UP as libc::c_short)
    }

    /// Sets a device down.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_down(&self, device: &str) -> io::Result<()> {
        self.set_flags(device, self.flags(device)? & !(libc::IFF_UP as libc::c_short))
    }

    /// Returns the MTU of a device in bytes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn mtu(&self, device: &str) -> io::Result<u32> {
        let request = self.ask(libc::SIOCGIFMTU as c_ulong, named(device)?)?;
        // SAFETY: the request fills in this member.
        Ok(unsafe { request.ifr_ifru.ifru_mtu } as u32)
    }

    /// Sets the MTU of a device in bytes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_mtu(&self, device: &str, mtu: u32) -> io::Result<()> {
        let mut request = named(device)?;
        request.ifr_ifru.ifru_mtu =
            c_int::try_from(mtu).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
        self.ask(libc::SIOCSIFMTU as c_ulong, request).map(drop)
    }

    /// Returns the name of a device's driver.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn driver(&self, device: &str) -> io::Result<String> {
        let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], others: [0; 160] };
        self.ethtool(device, &mut info)?;
        Ok(text(&info.driver))
    }

    /// Returns whether a device merges received TCP segments.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn lro(&self, device: &str) -> io::Result<Lro> {
        Ok(if self.ethtool_flags(device)? & ETH_FLAG_LRO != 0 { Lro::On } else { Lro::Off })
    }

    /// Makes a device merge received TCP segments, or not; tells whether that was a change.
    ///
    /// # Errors
    /// What the kernel says, when the device cannot do it.
    pub fn set_lro(&self, device: &str, wanted: Lro) -> io::Result<bool> {
        let flags = self.ethtool_flags(device)?;
        let new = match wanted {
            Lro::On => flags | ETH_FLAG_LRO,
            Lro::Off => flags & !ETH_FLAG_LRO,
        };
        if new != flags {
            self.ethtool(device, &mut Value { command: ETHTOOL_SFLAGS, data: new })?;
        }
        Ok(new != flags)
    }

    /// Returns whether a device strips tags.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn stripping(&self, device: &str, tags: Strippable) -> io::Result<Stripping> {
        let strips = match tags {
            Strippable::Customer => self.ethtool_flags(device)? & ETH_FLAG_RXVLAN != 0,
            Strippable::Service => self.has_feature(device, SERVICE_STRIPPING)?,
        };
        Ok(if strips { Stripping::On } else { Stripping::Off })
    }

    /// Makes a device strip tags, or not.
    ///
    /// # Errors
    /// What the kernel says, when the device cannot do it.
    pub fn set_stripping(
        &self,
        device: &str,
        tags: Strippable,
        wanted: Stripping,
    ) -> io::Result<()> {
        match tags {
            Strippable::Customer => {
                let flags = self.ethtool_flags(device)?;
                let data = match wanted {
                    Stripping::On => flags | ETH_FLAG_RXVLAN,
                    Stripping::Off => flags & !ETH_FLAG_RXVLAN,
                };
                self.ethtool(device, &mut Value { command: ETHTOOL_SFLAGS, data })?;
            }
            Strippable::Service => self.want_feature(device, SERVICE_STRIPPING, wanted)?,
        }
        match self.stripping(device, tags)? {
            now if now == wanted => Ok(()),
            _ => Err(io::Error::from_raw_os_error(libc::EOPNOTSUPP)),
        }
    }

    /// Returns how many queues a device has each way; `None` when its driver does not say.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn queues(&self, device: &str) -> io::Result<Option<Queues>> {
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, most: [0; 4], now: [0; 4] };
        match self.ethtool(device, &mut channels) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
            asked => asked?,
        }
        let [receiving, sending, _, both] = channels.now;
        let (receiving, sending) = (receiving.saturating_add(both), sending.saturating_add(both));
        Ok((receiving > 0 && sending > 0).then_some(Queues { receiving, sending }))
    }

    fn ethtool_flags(&self, device: &str) -> io::Result<u32> {
        let mut value = Value { command: ETHTOOL_GFLAGS, data: 0 };
        self.ethtool(device, &mut value)?;
        Ok(value.data)
    }

    fn ethtool<T: Ethtool>(&self, device: &str, command: &mut T) -> io::Result<()> {
        let mut request = named(device)?;
        request.ifr_ifru.ifru_data = (&raw mut *command).cast();
        self.ask(libc::SIOCETHTOOL as c_ulong, request).map(drop)
    }

    fn flags(&self, device: &str) -> io::Result<libc::c_short> {
        let request = self.ask(libc::SIOCGIFFLAGS as c_ulong, named(device)?)?;
        // SAFETY: the request fills in this member.
        Ok(unsafe { request.ifr_ifru.ifru_flags })
    }

    fn set_flags(&self, device: &str, flags: libc::c_short) -> io::Result<()> {
        let mut request = named(device)?;
        request.ifr_ifru.ifru_flags = flags;
        self.ask(libc::SIOCSIFFLAGS as c_ulong, request).map(drop)
    }

    fn ask(&self, what: c_ulong, mut request: libc::ifreq) -> io::Result<libc::ifreq> {
        // SAFETY: every call of this kind reads and writes one `ifreq`; for SIOCETHTOOL it also points at an
        // `Ethtool` structure, which has the size that its command asks for and outlives the call.
        sys::check(unsafe { libc::ioctl(self.socket.as_raw_fd(), what as _, &raw mut request) })?;
        Ok(request)
    }
}

const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETH_FLAG_LRO: u32 = 1 << 15;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// A structure that an ethtool command reads and writes.
///
/// # Safety
/// It has the layout and at least the size that the kernel gives the structure of the command in its first member,
/// and any bytes are a value of it.
unsafe trait Ethtool {}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

// SAFETY: it is used with ETHTOOL_GFLAGS and ETHTOOL_SFLAGS, whose structure is two 32-bit integers.
unsafe impl Ethtool for Value {}

/// `struct ethtool_drvinfo`: 196 bytes.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [c_char; 32],
    others: [u8; 160],
}

// SAFETY: it is used with ETHTOOL_GDRVINFO, whose structure is an integer, the driver's name of 32 bytes and 160
// bytes more.
unsafe impl Ethtool for DriverInfo {}

/// `struct ethtool_channels`: receiving, sending, other and combined ones.
#[repr(C)]
struct Channels {
    command: u32,
    most: [u32; 4],
    now: [u32; 4],
}

// SAFETY: it is used with ETHTOOL_GCHANNELS, whose structure is nine 32-bit integers.
unsafe impl Ethtool for Channels {}

fn blank() -> libc::ifreq {
    // SAFETY: all zero is a value of this structure of integers and byte arrays.
    unsafe { std::mem::zeroed() }
}

/// Makes the request that names a device; what cannot be a name is a device that does not exist.
fn named(device: &str) -> io::Result<libc::ifreq> {
    request_for(device).map_err(|_: OpenError| io::Error::from_raw_os_error(libc::ENODEV))
}

fn text(bytes: &[c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|&byte| byte as u8).chain([0]).collect();
    CStr::from_bytes_until_nul(&bytes)
        .map(|text| text.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_found_by_name_and_index() {
        let links = Links::open().unwrap();
        let index = links.index("lo").unwrap();
        assert_eq!(links.name(index).unwrap(), "lo");
        assert!(links.mtu("lo").unwrap() >= 1500);
        assert_eq!(links.lro("lo").unwrap(), Lro::Off);
    }

    #[test]
    fn a_device_that_is_not_there_is_named_so() {
        let links = Links::open().unwrap();
        for name in ["weft-none", "", "a-name-that-is-too-long", "a/b"] {
            assert_eq!(links.index(name).unwrap_err().raw_os_error(), Some(libc::ENODEV), "{name}");
        }
    }
}
