//! Decimals as text, compared and scaled exactly for any number of digits.

use std::cmp::Ordering;
use std::fmt;

/// A decimal number with all digits of the cell; nothing is rounded.
#[derive(Clone, Copy, Debug)]
pub struct Decimal<'a> {
    text: &'a str,
    negative: bool,
    /// Digits before the point, without leading zeros.
    whole: &'a str,
    /// Digits after the point, without trailing zeros.
    fraction: &'a str,
    exponent: i32,
}

impl<'a> Decimal<'a> {
    /// Reads `-12.50`, `7`, `1.5e-7`.
    pub fn parse(text: &'a str) -> Option<Self> {
        let bytes = text.as_bytes();
        let negative = bytes.first() == Some(&b'-');
        let start = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
        let digits =
            |from: usize| from + bytes[from..].iter().position(|b| !b.is_ascii_digit()).unwrap_or(bytes.len() - from);
        let point = digits(start);
        let (fraction, end) = match bytes.get(point) {
            Some(b'.') => (point + 1, digits(point + 1)),
            _ => (point, point),
        };
        if (point - start) + (end - fraction) == 0 {
            return None;
        }
        let exponent = match bytes.get(end) {
            None => 0,
            Some(b'e' | b'E') => text[end + 1..].parse::<i32>().ok().filter(|e| e.unsigned_abs() <= 1_000_000)?,
            Some(_) => return None,
        };
        let is_zero = |b: &u8| *b == b'0';
        let whole = start + bytes[start..point].iter().take_while(|b| is_zero(b)).count();
        let last = end - bytes[fraction..end].iter().rev().take_while(|b| is_zero(b)).count();
        Some(Self { text, negative, whole: &text[whole..point], fraction: &text[fraction..last], exponent })
    }

    /// The number as the source sent it.
    pub fn as_str(self) -> &'a str {
        self.text
    }

    /// Whether it is 0.
    pub fn is_zero(self) -> bool {
        self.digits().all(|d| d == 0)
    }

    /// The number times 10^`scale`, if that is an integer that fits: `"99.90"` scaled by 2 is 9990.
    pub fn to_scaled(self, scale: u32) -> Option<i128> {
        if let Some(quick) = self.to_scaled_quickly(scale) {
            return Some(quick);
        }
        if self.is_zero() {
            return Some(0);
        }
        // The last digit's place, counted from the wanted unit; negative digits' places must not exist.
        let shift = i64::from(scale) + i64::from(self.exponent) - self.fraction.len() as i64;
        let n_digits = self.whole.len() + self.fraction.len();
        let dropped = usize::try_from(-shift).unwrap_or(0);
        if dropped > n_digits || self.digits().skip(n_digits - dropped).any(|d| d != 0) {
            return None;
        }
        let mut value = self
            .digits()
            .take(n_digits - dropped)
            .try_fold(0_i128, |sum, d| sum.checked_mul(10)?.checked_add(i128::from(d)))?;
        for _ in 0..shift.max(0) {
            value = value.checked_mul(10)?;
        }
        Some(if self.negative { -value } else { value })
    }

    /// [`Decimal::to_scaled`] of numbers up to 18 digits in 64 bits: nearly all there are.
    #[inline]
    fn to_scaled_quickly(self, scale: u32) -> Option<i128> {
        let zeros = (scale as usize).checked_sub(self.fraction.len())?;
        if self.exponent != 0 || self.whole.len() + self.fraction.len() + zeros > 18 {
            return None;
        }
        let value = self.digits().fold(0_i64, |sum, d| sum * 10 + i64::from(d));
        let value = (0..zeros).fold(value, |value, _| value * 10);
        Some(i128::from(if self.negative { -value } else { value }))
    }

    /// The amount in hundredths, if that is an integer that fits: `"99.90"` is 9990.
    pub fn to_cents(self) -> Option<i64> {
        self.to_scaled(2).and_then(|cents| cents.try_into().ok())
    }

    /// The nearest double.
    pub fn to_f64(self) -> f64 {
        self.text.parse().unwrap_or(f64::NAN)
    }

    fn digits(self) -> impl Iterator<Item = u8> + 'a {
        self.whole.bytes().chain(self.fraction.bytes()).map(|b| b - b'0')
    }

    /// Compares the absolute values.
    fn compare_magnitude(&self, other: &Self) -> Ordering {
        // Both are written as 0.d1d2d3… × 10^e with d1 ≠ 0, then compared by e, then digit by digit.
        let (mine, theirs) = (self.leading(), other.leading());
        mine.cmp(&theirs).then_with(|| {
            let mut a = self.digits().skip_while(|&d| d == 0);
            let mut b = other.digits().skip_while(|&d| d == 0);
            loop {
                match (a.next(), b.next()) {
                    (None, None) => return Ordering::Equal,
                    (x, y) => match x.unwrap_or(0).cmp(&y.unwrap_or(0)) {
                        Ordering::Equal => {}
                        unequal => return unequal,
                    },
                }
            }
        })
    }

    /// The exponent of the first digit that is not 0.
    fn leading(self) -> i64 {
        let zeros = self.digits().take_while(|&d| d == 0).count();
        i64::from(self.exponent) + self.whole.len() as i64 - zeros as i64
    }
}

impl fmt::Display for Decimal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl PartialEq for Decimal<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal<'_> {}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal<'_> {
    /// By value, exactly: `1.50` equals `1.5`.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => return Ordering::Equal,
            (true, false) if other.negative => return Ordering::Greater,
            (true, false) => return Ordering::Less,
            (false, true) if self.negative => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.compare_magnitude(other),
            (true, true) => other.compare_magnitude(self),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(a: &str, b: &str, expect: Ordering) {
        let (a, b) = (Decimal::parse(a).unwrap(), Decimal::parse(b).unwrap());
        assert_eq!(a.cmp(&b), expect);
        assert_eq!(b.cmp(&a), expect.reverse());
    }

    #[test]
    fn compares_exactly() {
        use Ordering::*;
        check("1.50", "1.5", Equal);
        check("-0.00", "0", Equal);
        check("99.90", "100", Less);
        check("-99.90", "-100", Greater);
        check("-1", "0", Less);
        check("0", "0.000000000000000000000000000001", Less);
        check("9007199254740993", "9007199254740992", Greater);
        check("12345678901234567890.1234567890", "12345678901234567890.1234567891", Less);
        check("1e3", "1000", Equal);
        check("1.5E-7", "0.00000015", Equal);
        check("0.0012", "0.012", Less);
        check("007", "7.0", Equal);
    }

    #[track_caller]
    fn scaled(text: &str, scale: u32, expect: Option<i128>) {
        assert_eq!(Decimal::parse(text).unwrap().to_scaled(scale), expect, "{text} by {scale}");
    }

    #[test]
    fn scales_exactly_or_not_at_all() {
        scaled("99.90", 2, Some(9990));
        scaled("99.9", 2, Some(9990));
        scaled("-0.01", 2, Some(-1));
        scaled("99.905", 2, None);
        scaled("99.9050", 3, Some(99905));
        scaled("100", 0, Some(100));
        scaled("1e3", 2, Some(100_000));
        scaled("1.5e-1", 2, Some(15));
        scaled("120e-2", 0, None);
        scaled("1200e-2", 0, Some(12));
        scaled("0e-400", 2, Some(0));
        scaled("1e-400", 2, None);
        scaled("1e400", 2, None);
        scaled("9999999999999999.99", 2, Some(999_999_999_999_999_999));
        scaled("340282366920938463463374607431768211456", 0, None);
        assert_eq!(Decimal::parse("92233720368547758.08").unwrap().to_cents(), None);
        assert_eq!(Decimal::parse("-92233720368547758.08").unwrap().to_cents(), Some(i64::MIN));
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in ["", "-", ".", "1.2.3", "abc", "1e", "--1", "NaN", "1 ", "0x1", "1e9999999"] {
            assert!(Decimal::parse(text).is_none(), "{text}");
        }
    }
}
