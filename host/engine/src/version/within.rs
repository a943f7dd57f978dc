//! The order of changes within a second: the lowest 28 bits of a version that is made of a time.
//!
//! ```text
//! Canal, with `gtid`   delay 13 │ transaction 11 │ offset 4
//! Canal                delay 13 │ offset 15
//! others               offset 28
//! ```
//!
//! The delay is the time from the second's begin until Canal made the message. It grows in the order of the binlog, like
//! the transaction's number, but needs no base to count from: the number's low bits begin at 0 again somewhere, so they
//! only order the transactions of one delay. What still runs backwards in a partition is held by its clock.

use super::SECOND_SHIFT;

const DELAY_BITS: u32 = 13;
/// Delays up to 2^11 ms are exact; the longer ones keep 11 significant bits.
const MANTISSA_BITS: u32 = 10;
const TRANSACTION_BITS: u32 = 11;

/// The lowest bits of the version, from the delay in milliseconds and the transaction's number, which is 0 if unknown.
pub(super) fn within_second(delay: Option<i64>, transaction: u64, offset: u64) -> u64 {
    let Some(delay) = delay else { return low(offset, SECOND_SHIFT) };
    let offset_bits = SECOND_SHIFT - DELAY_BITS;
    let rest = match transaction {
        0 => low(offset, offset_bits),
        _ => {
            let offset_bits = offset_bits - TRANSACTION_BITS;
            low(transaction, TRANSACTION_BITS) << offset_bits | low(offset, offset_bits)
        }
    };
    delay_code(delay.max(0) as u64) << offset_bits | rest
}

fn low(number: u64, bits: u32) -> u64 {
    number & ((1 << bits) - 1)
}

/// A delay in [`DELAY_BITS`], in the same order: an exponent, then the bits after the first. Delays of 2 minutes or more
/// share the highest code.
fn delay_code(delay: u64) -> u64 {
    let exponent = (delay.max(1).ilog2() + 1).saturating_sub(MANTISSA_BITS);
    let code = match exponent {
        0 => delay,
        _ => u64::from(exponent) << MANTISSA_BITS | low(delay >> (exponent - 1), MANTISSA_BITS),
    };
    code.min((1 << DELAY_BITS) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_delays_never_have_lower_codes() {
        let codes: Vec<u64> = (0..200_000).map(delay_code).collect();
        assert!(codes.is_sorted());
        assert!(codes[..1 << 11].is_sorted_by(|a, b| a < b), "exact at first");
        assert!(codes[130_000] < codes[131_071] && codes[131_072] == codes[199_999], "up to 2 minutes");
        assert_eq!(delay_code(u64::MAX), (1 << DELAY_BITS) - 1);
    }
}
