//! A condition on one column: numbers are compared exactly, texts byte by byte.

use std::cmp::Ordering;

use rowmill_sdk::{Col, ColumnKind, Decimal, Fail, Row};

/// The tests of one column, all of which must succeed.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) column: String,
    pub(crate) tests: Vec<Test>,
}

/// An operator and its operand.
#[derive(Debug)]
pub(crate) enum Test {
    In(Vec<Operand>),
    NotIn(Vec<Operand>),
    Above(Operand),
    From(Operand),
    Below(Operand),
    UpTo(Operand),
    Prefix(String),
    Suffix(String),
    Contains(String),
    IsNull(bool),
}

/// A value from the settings.
#[derive(Debug)]
pub(crate) enum Operand {
    /// With all its digits.
    Number(String),
    Text(String),
    Boolean(bool),
}

impl Condition {
    /// Checks that every operand can be compared with values of this kind.
    pub(crate) fn fits(&self, kind: ColumnKind) -> Result<(), String> {
        let operands = self.tests.iter().flat_map(|test| match test {
            Test::In(list) | Test::NotIn(list) => list.as_slice(),
            Test::Above(o) | Test::From(o) | Test::Below(o) | Test::UpTo(o) => std::slice::from_ref(o),
            _ => &[],
        });
        for operand in operands {
            if let Operand::Text(text) = operand
                && is_numeric(kind)
                && Decimal::parse(text).is_none()
            {
                return Err(format!("column '{}' contains numbers, but '{text}' is not a number", self.column));
            }
        }
        Ok(())
    }

    pub(crate) fn holds(&self, row: &Row<'_>, column: Col) -> Result<bool, Fail> {
        let kind = row.kind(column);
        let cell = row.raw(column)?;
        if cell.is_empty() || cell == b"null" {
            return Ok(self.tests.iter().all(|test| matches!(test, Test::IsNull(true))));
        }
        let value = Value { row, column, kind, bare: cell[0] != b'"', text: &row.scalar(column)?.unwrap_or_default() };
        for test in &self.tests {
            let holds = match test {
                Test::IsNull(wanted) => !wanted,
                Test::In(list) => list.iter().any(|o| value.equals(o)),
                Test::NotIn(list) => !list.iter().any(|o| value.equals(o)),
                Test::Above(o) => value.compare(o)?.is_gt(),
                Test::From(o) => value.compare(o)?.is_ge(),
                Test::Below(o) => value.compare(o)?.is_lt(),
                Test::UpTo(o) => value.compare(o)?.is_le(),
                Test::Prefix(part) => value.text.starts_with(part.as_str()),
                Test::Suffix(part) => value.text.ends_with(part.as_str()),
                Test::Contains(part) => value.text.contains(part.as_str()),
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A cell that is not NULL.
struct Value<'a> {
    row: &'a Row<'a>,
    column: Col,
    kind: ColumnKind,
    /// True if the cell is a JSON number or boolean, not a string.
    bare: bool,
    text: &'a str,
}

impl Value<'_> {
    fn number(&self) -> Option<Decimal<'_>> {
        match self.text {
            "true" if self.bare => Decimal::parse("1"),
            "false" if self.bare => Decimal::parse("0"),
            text => Decimal::parse(text),
        }
    }

    /// Returns true if a text in the settings is to be compared as a number.
    fn is_number(&self) -> bool {
        is_numeric(self.kind) || self.bare
    }

    fn equals(&self, operand: &Operand) -> bool {
        match operand {
            Operand::Number(number) => self.number().is_some_and(|n| Decimal::parse(number) == Some(n)),
            Operand::Text(text) if self.is_number() && text.as_str() != self.text => {
                self.number().is_some_and(|n| Decimal::parse(text) == Some(n))
            }
            Operand::Text(text) => text.as_str() == self.text,
            Operand::Boolean(wanted) => {
                matches!((self.text, wanted), ("true" | "1", true) | ("false" | "0", false))
            }
        }
    }

    fn compare(&self, operand: &Operand) -> Result<Ordering, Fail> {
        let (text, meant) = match operand {
            Operand::Number(number) => (number.as_str(), true),
            Operand::Text(text) => (text.as_str(), self.is_number()),
            Operand::Boolean(_) => ("", false),
        };
        // If the kind is unknown, two texts that are numbers are compared as numbers, others as texts.
        if meant || self.kind == ColumnKind::Unknown {
            match (self.number(), Decimal::parse(text)) {
                (Some(mine), Some(theirs)) => return Ok(mine.cmp(&theirs)),
                _ if meant => {
                    return Err(self.row.wrong(self.column, "expected a number to compare"));
                }
                _ => {}
            }
        }
        Ok(self.text.cmp(text))
    }
}

fn is_numeric(kind: ColumnKind) -> bool {
    use ColumnKind as K;
    matches!(kind, K::Integer | K::UnsignedInteger | K::Bit | K::Float | K::Double | K::Decimal)
}
