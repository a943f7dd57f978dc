//! What the WASI that does nothing keeps for an instance: random numbers and unfinished lines of output.

/// Any resource of WASI: what it is does not matter, since it does nothing. Its number tells the two outputs apart.
pub(crate) struct Inert;

pub(crate) const STDOUT: u32 = 0;
pub(crate) const STDERR: u32 = 1;
pub(crate) const OTHER: u32 = 2;

/// What every call's random numbers begin with.
pub(crate) const SEED: u64 = 0x726f_776d_696c_6c21;
/// A call of the sandbox's WASI that cannot be answered.
#[derive(Debug, thiserror::Error)]
#[error("it called `{0}`, but the sandbox's WASI does nothing: {1}")]
pub(crate) struct Refused(pub(crate) String, pub(crate) &'static str);

/// What an instance's WASI remembers within one call.
pub(crate) struct WasiState {
    random: u64,
    /// The lines that standard output and error have begun.
    pub(crate) lines: [Vec<u8>; 2],
}

impl WasiState {
    pub(crate) fn new() -> Self {
        Self { random: SEED, lines: [Vec::new(), Vec::new()] }
    }

    /// Begins a call: its random numbers depend on nothing that was before.
    pub(crate) fn begin(&mut self) {
        self.random = SEED;
    }

    /// Steele and Vigna's SplitMix64.
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
