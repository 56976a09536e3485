//! The embedded benchmark guest: what `vireo bench` runs on every engine. Its source is in `guests/bench`, of a
//! workspace of its own; `tests/demo_rebuild.rs` checks that the source builds to these bytes.

/// A RISC-V `Image` for S-mode. Its boot arguments and what it prints: `guests/README.md`.
pub static BENCH: &[u8] = include_bytes!("../guests/prebuilt/bench.bin");

/// Its name in messages.
pub const BENCH_NAME: &str = "bench (built in)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Data, Kernel};

    #[test]
    fn it_is_a_small_image() {
        assert!(BENCH.len() < 256 << 10, "{} bytes", BENCH.len());
        let Ok(Kernel::Image { header, .. }) = Kernel::recognise(Data::from(BENCH), 1 << 20) else {
            panic!("not an Image");
        };
        assert_eq!(header.text_offset, 2 << 20);
        assert!(header.image_size < 2 << 20, "{header:?}");
    }
}
