//! Writing and reading bundles allocates nothing. Alone in its binary: the allocator counts for the whole process.

use std::{alloc::System, hint::black_box};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use weft_overlay::{
    SegmentId,
    bundle::{BundleError, BundleWriter, FRAMES_MAX, frames},
};
use weft_vlan::Priority;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn bundles_are_written_read_and_refused_without_allocating() {
    let mut buffer = vec![0; 100_000];
    // The harness has threads of its own, which allocate at first: a bundle that did would do so each time.
    let allocations = (0..20).map(|_| {
        let region = Region::new(ALLOCATOR);
        write_and_read(&mut buffer);
        let change = region.change();
        change.allocations + change.reallocations + change.deallocations
    });
    assert_eq!(allocations.min(), Some(0));
}

fn write_and_read(buffer: &mut [u8]) {
    let segment = SegmentId::new(5010).unwrap();
    let mut read = 0;
    for round in 0..200 {
        let mut writer = BundleWriter::new(buffer, segment).unwrap();
        let vnet = [round as u8; 10];
        while let Some(place) = writer.push(60 + round, Priority::BEST_EFFORT, Some(&vnet)) {
            place.fill(round as u8);
        }
        let len = writer.written();
        read += frames(black_box(&buffer[..len])).unwrap().iter().map(black_box).count();
        assert_eq!(frames(black_box(&buffer[..len - 1])).err(), Some(BundleError::BadLength));
    }
    assert_eq!(read, 200 * FRAMES_MAX);
}
