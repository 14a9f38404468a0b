//! Finds a function of the running kernel that programs may call, by its name, in the kernel's description of its own
//! types. Linux `Documentation/bpf/btf.rst`. Reads nothing else of it.

use std::fs;

const KERNEL: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
const HEADER: usize = 24;
const TYPE: usize = 12;
const FUNCTION: u32 = 12;

/// Returns the number of the kernel's function of this name; `None` where there is none, or the kernel does not say.
pub(super) fn function(name: &str) -> Option<i32> {
    find(&fs::read(KERNEL).ok()?, name)
}

fn find(btf: &[u8], name: &str) -> Option<i32> {
    if u16::from_ne_bytes(*btf.first_chunk()?) != MAGIC {
        return None;
    }
    let header = word(btf, 4)? as usize;
    if header < HEADER {
        return None;
    }
    let section = |field| -> Option<&[u8]> {
        let begin = header.checked_add(word(btf, field)? as usize)?;
        btf.get(begin..begin.checked_add(word(btf, field + 4)? as usize)?)
    };
    let (types, names) = (section(8)?, section(16)?);
    let mut at = 0;
    // Type 0 is `void` and not written down.
    for number in 1.. {
        let (begin, info) = (word(types, at)?, word(types, at + 4)?);
        let (kind, members) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        if kind == FUNCTION && is_called(names, begin as usize, name) {
            return Some(number);
        }
        at += TYPE + behind(kind, members)?;
    }
    None
}

/// Returns the bytes behind the description of a type.
fn behind(kind: u32, members: usize) -> Option<usize> {
    Some(match kind {
        // Integers, variables, tags of declarations.
        1 | 14 | 17 => 4,
        // Arrays.
        3 => 12,
        // Structures, unions, sections, enumerations of 64 bits.
        4 | 5 | 15 | 19 => 12 * members,
        // Enumerations, prototypes.
        6 | 13 => 8 * members,
        2 | 7..=12 | 16 | 18 => 0,
        _ => return None,
    })
}

fn is_called(names: &[u8], begin: usize, name: &str) -> bool {
    let text = names.get(begin..).and_then(|names| names.strip_prefix(name.as_bytes()));
    text.is_some_and(|rest| rest.first() == Some(&0))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn description() -> Vec<u8> {
        let names = b"\0int\0pair\0wanted_not\0wanted\0";
        let info = |kind: u32, members: u32| kind << 24 | members;
        let types: Vec<u32> = [
            &[1, info(1, 0), 4, 0x20][..],
            &[5, info(4, 2), 8, 0, 1, 0, 0, 1, 32],
            &[0, info(13, 1), 1, 0, 1],
            &[10, info(12, 1), 3],
            &[21, info(2, 0), 1],
            &[21, info(12, 1), 3],
        ]
        .concat();
        let header = [HEADER as u32, 0, 4 * types.len() as u32, 4 * types.len() as u32];
        [
            &MAGIC.to_ne_bytes()[..],
            &[1, 0],
            &header
                .iter()
                .chain(&[names.len() as u32])
                .flat_map(|word| word.to_ne_bytes())
                .collect::<Vec<_>>(),
            &types.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<_>>(),
            names,
        ]
        .concat()
    }

    #[test]
    fn a_function_is_found_by_its_whole_name() {
        let btf = description();
        for (name, expected) in
            [("wanted", Some(6)), ("wanted_not", Some(4)), ("want", None), ("pair", None)]
        {
            assert_eq!(find(&btf, name), expected, "{name}");
        }
        for len in 0..btf.len() - 7 {
            assert_eq!(find(&btf[..len], "wanted"), None, "{len}");
        }
    }

    proptest! {
        #[test]
        fn no_description_makes_it_panic(at in 4..100_usize, value: u32) {
            let mut btf = description();
            let at = at.min(btf.len() - 4);
            btf[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            let _ = find(&btf, "wanted");
        }
    }
}
