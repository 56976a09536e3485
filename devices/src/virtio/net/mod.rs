//! virtio-net (virtio 1.3, 5.1).

mod filter;

pub use filter::RxFilter;
