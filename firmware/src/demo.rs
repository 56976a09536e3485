//! The embedded demo guest: what runs when no kernel is given. Its source is in `guests/demo`, of a workspace of
//! its own; `tests/demo_rebuild.rs` checks that the source builds to these bytes.

/// A RISC-V `Image` for S-mode.
pub static DEMO: &[u8] = include_bytes!("../guests/prebuilt/demo.bin");

/// Its name in messages.
pub const DEMO_NAME: &str = "demo (built in)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Data, Kernel};

    #[test]
    fn it_is_a_small_image() {
        assert!(DEMO.len() < 128 << 10, "{} bytes", DEMO.len());
        let Ok(Kernel::Image { header, .. }) = Kernel::recognise(Data::from(DEMO), 1 << 20) else {
            panic!("not an Image");
        };
        assert_eq!(header.text_offset, 2 << 20);
        assert!(header.image_size < 1 << 20, "{header:?}");
    }
}
