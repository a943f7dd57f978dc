//! The field names of a batch. Each is written once and then found without comparing its bytes.

use crate::table::spread;

/// A field name: a literal, or a `String` that the plugin keeps. Literals are recognised by their address.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name a field",
    label = "not a field's name",
    note = "a field is named by a literal, or by a `&String` that the plugin keeps (`&name`)"
)]
pub trait FieldName: Copy + sealed::Sealed {
    #[doc(hidden)]
    fn number(self, names: &mut Names) -> u32;
    #[doc(hidden)]
    fn as_str(&self) -> &str;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for &'static str {}
    impl Sealed for &String {}
}

impl FieldName for &'static str {
    #[inline]
    fn number(self, names: &mut Names) -> u32 {
        names.of_literal(self)
    }

    fn as_str(&self) -> &str {
        self
    }
}

impl FieldName for &String {
    #[inline]
    fn number(self, names: &mut Names) -> u32 {
        names.of_text(self)
    }

    fn as_str(&self) -> &str {
        String::as_str(self)
    }
}

/// The names that the documents of one batch use.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    ranges: Vec<(u32, u32)>,
    /// Numbers of `ranges`, from 1, found by [`spread`] and then by linear probing; a power of two long.
    index: Vec<u32>,
    /// Literals by their address; a power of two long.
    literals: Vec<Literal>,
    n_literals: usize,
}

/// A known literal. Its address and length always refer to the same text.
#[derive(Clone, Copy, Debug, Default)]
struct Literal {
    address: usize,
    length: usize,
    /// The number of its name, from 1; 0 is an empty slot.
    number: u32,
}

impl Names {
    #[inline]
    fn of_literal(&mut self, name: &'static str) -> u32 {
        let (address, length) = (name.as_ptr() as usize, name.len());
        // The slot is never out of range; without slots the mask is 0 and `get` finds none.
        let mask = self.literals.len().wrapping_sub(1);
        let mut at = Self::place(address, length) & mask;
        while let Some(literal) = self.literals.get(at) {
            if literal.address == address && literal.length == length && literal.number != 0 {
                return literal.number - 1;
            }
            if literal.number == 0 {
                break;
            }
            at = (at + 1) & mask;
        }
        self.add_literal(name)
    }

    #[inline]
    fn place(address: usize, length: usize) -> usize {
        ((address ^ length << 7) as u32).wrapping_mul(0x9E37_79B1) as usize >> 20
    }

    #[cold]
    fn add_literal(&mut self, name: &'static str) -> u32 {
        let number = self.of_text(name);
        self.n_literals += 1;
        if self.literals.len() < self.n_literals * 2 {
            let longer = vec![Literal::default(); (self.literals.len() * 2).max(128)];
            let shorter = std::mem::replace(&mut self.literals, longer);
            shorter.into_iter().filter(|l| l.number != 0).for_each(|l| self.insert(l));
        }
        let literal = Literal { address: name.as_ptr() as usize, length: name.len(), number: number + 1 };
        self.insert(literal);
        number
    }

    fn insert(&mut self, literal: Literal) {
        let mask = self.literals.len() - 1;
        let mut at = Self::place(literal.address, literal.length) & mask;
        while self.literals[at].number != 0 {
            at = (at + 1) & mask;
        }
        self.literals[at] = literal;
    }

    fn of_text(&mut self, name: &str) -> u32 {
        let name = name.as_bytes();
        if self.index.len() < self.ranges.len() * 2 + 2 {
            self.grow();
        }
        let mask = self.index.len() - 1;
        let mut at = spread(name) as usize & mask;
        while let Some(number) = self.index[at].checked_sub(1) {
            if self.name(number) == name {
                return number;
            }
            at = (at + 1) & mask;
        }
        self.ranges.push((self.bytes.len() as u32, name.len() as u32));
        self.bytes.extend_from_slice(name);
        self.index[at] = self.ranges.len() as u32;
        self.ranges.len() as u32 - 1
    }

    fn name(&self, number: u32) -> &[u8] {
        let (start, n) = self.ranges[number as usize];
        &self.bytes[start as usize..(start + n) as usize]
    }

    #[cold]
    fn grow(&mut self) {
        let mask = (self.index.len() * 2).max(128) - 1;
        let mut index = vec![0; mask + 1];
        for number in 0..self.ranges.len() as u32 {
            let mut at = spread(self.name(number)) as usize & mask;
            while index[at] != 0 {
                at = (at + 1) & mask;
            }
            index[at] = number + 1;
        }
        self.index = index;
    }

    /// Writes the names behind `bytes`, which are `base` long, and returns their ranges as words.
    pub(crate) fn append_to(self, bytes: &mut Vec<u8>, base: u32) -> Vec<u32> {
        bytes.extend_from_slice(&self.bytes);
        self.ranges.iter().flat_map(|&(start, n)| [base + start, n]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_once_by_address_and_by_content() {
        let mut names = Names::default();
        let texts: Vec<String> = (0..300).map(|i| format!("name {i}")).collect();
        for round in 0..2 {
            for (i, text) in (0..).zip(&texts) {
                assert_eq!(text.number(&mut names), i, "round {round}");
            }
        }
        assert_eq!("name 7".number(&mut names), 7);
        // Literals with the same first bytes, and so the same address.
        let literal = "name 7 and more";
        assert_eq!(literal[..6].number(&mut names), 7);
        assert_eq!(literal.number(&mut names), 300);
        assert_eq!(literal[..6].number(&mut names), 7);
        let mut bytes = b"xy".to_vec();
        let ranges = names.append_to(&mut bytes, 2);
        assert_eq!(ranges.len(), 602);
        let last = &bytes[ranges[600] as usize..][..ranges[601] as usize];
        assert_eq!(last, literal.as_bytes());
    }

    #[test]
    fn many_literals() {
        const TEXT: &str = "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz";
        let mut names = Names::default();
        for _ in 0..2 {
            for start in 0..26 {
                for end in start + 1..start + 20 {
                    let number = TEXT[start..end].number(&mut names);
                    assert_eq!(names.name(number), &TEXT.as_bytes()[start..end]);
                }
            }
        }
    }
}
