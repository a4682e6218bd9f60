//! Which vector instructions the kernels use.

/// The fastest form of the kernels that this machine can run, or a slower one to compare with.
///
/// A `Kernel` is a proof that the machine has its instructions: every way to make one checks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Isa);

/// The instruction sets that kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// No vector instructions, on every target: the twin of the others.
    Portable,
    /// AVX2, BMI1, BMI2, LZCNT, POPCNT and PCLMULQDQ, which come together.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The former, and AVX-512 F, BW and VL.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// The former, and AVX-512 VBMI and VBMI2, GFNI and VPCLMULQDQ, which come together.
    #[cfg(target_arch = "x86_64")]
    Avx512Vbmi,
}

impl Kernel {
    /// The form that runs everywhere.
    pub const PORTABLE: Kernel = Kernel(Isa::Portable);

    /// The fastest one. What the machine can do is asked once and remembered.
    pub fn best() -> Kernel {
        Kernel::available().last().unwrap_or(Kernel::PORTABLE)
    }

    /// All that this machine can run, the slowest first.
    pub fn available() -> impl Iterator<Item = Kernel> {
        #[cfg(not(target_arch = "x86_64"))]
        let vector: [Option<Kernel>; 0] = [];
        #[cfg(target_arch = "x86_64")]
        let vector = {
            let avx2 = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("pclmulqdq");
            let avx512 = avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl");
            let vbmi = avx512
                && is_x86_feature_detected!("avx512vbmi")
                && is_x86_feature_detected!("avx512vbmi2")
                && is_x86_feature_detected!("gfni")
                && is_x86_feature_detected!("vpclmulqdq");
            [
                avx2.then_some(Kernel(Isa::Avx2)),
                avx512.then_some(Kernel(Isa::Avx512)),
                vbmi.then_some(Kernel(Isa::Avx512Vbmi)),
            ]
        };
        std::iter::once(Kernel::PORTABLE).chain(vector.into_iter().flatten())
    }

    /// The instructions, which this machine has.
    #[inline]
    pub(crate) fn isa(self) -> Isa {
        self.0
    }
}

impl Default for Kernel {
    fn default() -> Kernel {
        Kernel::best()
    }
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
