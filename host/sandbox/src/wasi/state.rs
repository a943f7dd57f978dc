//! The state of an instance's WASI stub: random numbers and unfinished lines of output.

/// Any WASI resource. Its kind does not matter, since it does nothing; its number distinguishes the outputs.
pub(crate) struct Inert;

pub(crate) const STDOUT: u32 = 0;
pub(crate) const STDERR: u32 = 1;
pub(crate) const OTHER: u32 = 2;

/// The seed of the random numbers in every call.
pub(crate) const SEED: u64 = 0x726f_776d_696c_6c21;
/// A call of a WASI function that the stub does not support.
#[derive(Debug, thiserror::Error)]
#[error("it called `{0}`, but the sandbox's WASI does nothing: {1}")]
pub(crate) struct Refused(pub(crate) String, pub(crate) &'static str);

/// The state of an instance's WASI stub within one call.
pub(crate) struct WasiState {
    random: u64,
    /// The unfinished lines of standard output and standard error.
    pub(crate) lines: [Vec<u8>; 2],
}

impl WasiState {
    pub(crate) fn new() -> Self {
        Self { random: SEED, lines: [Vec::new(), Vec::new()] }
    }

    /// Begins a call. Its random numbers do not depend on earlier calls.
    pub(crate) fn begin(&mut self) {
        self.random = SEED;
    }

    /// The next random number (SplitMix64 by Steele and Vigna).
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
