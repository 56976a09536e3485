//! Floating point, one hart.

use crate::kernels::float;
use crate::session::{Row, Suite};

pub const SUITE: Suite = Suite {
    name: "fp",
    rows: &[
        Row::kernel(&float::N_BODY),
        Row::kernel(&float::GEMM_F64),
        Row::kernel(&float::GEMM_F32),
        Row::kernel(&float::MANDELBROT),
        Row::kernel(&float::POLYNOMIALS),
        Row::kernel(&float::CONVERSIONS_KERNEL),
        Row::kernel(&float::DIVISIONS_KERNEL),
    ],
};
