//! The Noise tunnel: handshake, session, replay window, timers, fragments. Sans-I/O: time and randomness are
//! arguments, bytes go in and out. Never sees a VLAN or a frame.
