//! MD5 (RFC 1321) of many values at once.
//!
//! MD5 is a chain of dependent steps, so one value leaves most of a core idle. The vector kernels
//! digest one value per lane; `lanes` groups the values so that those in a row have the same
//! length.

#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod skeleton;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod constants;
#[cfg(test)]
mod tests;

use md5::{Digest as _, Md5};

#[cfg(target_arch = "x86_64")]
use crate::kernel::Isa;
use crate::kernel::Kernel;

/// The length in bytes of an MD5 digest.
pub const MD5_LEN: usize = 16;

/// An MD5 digest.
pub type Md5Digest = [u8; MD5_LEN];

/// Replaces the contents of `out` by the digests of `values`, in their order.
pub fn md5_many<'a>(kernel: Kernel, values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<Md5Digest>) {
    out.clear();
    #[cfg(target_arch = "x86_64")]
    match kernel.isa() {
        Isa::Portable => {}
        // SAFETY: the kernel proves that this machine has AVX2.
        Isa::Avx2 => return lanes::fill(values, out, |lanes, out| unsafe { avx2::digest(lanes, out) }),
        Isa::Avx512 | Isa::Avx512Vbmi => {
            // SAFETY: the kernel proves that this machine has AVX-512 F, BW and VL.
            return lanes::fill(values, out, |lanes, out| unsafe { avx512::digest(lanes, out) });
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = kernel;
    out.extend(values.map(md5));
}

/// The digest of one value: the twin of the vector kernels.
#[inline]
fn md5(value: &[u8]) -> Md5Digest {
    Md5::digest(value).into()
}
