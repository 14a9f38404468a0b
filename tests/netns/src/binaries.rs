//! Where the programs under test are.

use std::{env, path::PathBuf};

/// Returns the path of a program under test: in `WEFT_BIN_DIR`, else in the build directory of the test itself.
///
/// # Panics
/// When it is not there.
pub(crate) fn binary(name: &str) -> PathBuf {
    let directory = env::var_os("WEFT_BIN_DIR").map_or_else(build_directory, PathBuf::from);
    let path = directory.join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build -p weftd -p weftctl`", path.display());
    path
}

/// Returns the directory of the build's programs: the test's own executable lies in `deps` below it.
pub(crate) fn build_directory() -> PathBuf {
    let own = env::current_exe().expect("the test's own executable has a path");
    own.ancestors().nth(2).expect("a test executable lies in target/PROFILE/deps").to_path_buf()
}
