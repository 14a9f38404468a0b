//! The overlays of several hosts and the network between them, on a clock of their own.

mod answers;
mod convergence;
mod freezes;
mod hostile;
mod mesh;
mod random;
mod segments;
