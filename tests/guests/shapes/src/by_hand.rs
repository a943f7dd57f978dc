//! The shape written without the SDK, on the flat lists of the contract.

use rowmill_sdk::{Batch, Output, Table};

use crate::{PASSED, READ, readable};

/// The names of the document's fields, in the order of their numbers.
const NAMES: [&str; 9] = ["tradeNo", "status", "amountCents", "createdAt", "receiver", "buyer", "id", "seller", "shop"];

const TRADE_NO: u32 = 0;
const STATUS: u32 = 1;
const AMOUNT: u32 = 2;
const CREATED_AT: u32 = 3;
const RECEIVER: u32 = 4;
const BUYER: u32 = 5;
const ID: u32 = 6;
const SELLER: u32 = 7;
const SHOP: u32 = 8;

/// The column numbers of [`PASSED`] in the table.
#[derive(Debug, Default)]
pub struct ByHand {
    passed: [u32; 8],
}

impl ByHand {
    /// Finds the columns, and returns the numbers of those that are read.
    ///
    /// # Errors
    /// The table lacks a column.
    pub fn define_table(&mut self, table: &Table) -> Result<Vec<u32>, String> {
        let number = |name: &str| {
            let place = table.columns.iter().position(|column| column.name == name);
            place.map(|place| place as u32).ok_or_else(|| format!("no column {name}"))
        };
        for (place, name) in PASSED.iter().enumerate() {
            self.passed[place] = number(name)?;
        }
        READ.iter().map(|name| number(name)).collect()
    }

    /// One verdict per row.
    pub fn transform(&self, batch: &Batch) -> Output {
        let n = batch.count as usize;
        let mut words = Vec::with_capacity(n * 52);
        let mut bytes = Vec::with_capacity(n * 80 + 64);
        let mut start = 0;
        let [id, trade_no, title, quantity, remark, buyer_id, seller_id, shop_name] = self.passed;
        for row in 0..n {
            let mut cell = |place: usize| {
                let end = batch.cells[row * 4 + place] as usize;
                let cell = &batch.bytes[start..end];
                start = end;
                cell
            };
            let (status, amount, created_at, receiver) = (cell(0), cell(1), cell(2), cell(3));
            words.extend([3, 1, 0, 0, 16]);
            words.extend([0, id, 1, TRADE_NO, trade_no, 0, title, 0, quantity, 0, remark]);
            let mut value = |name: u32, write: &mut dyn FnMut(&mut Vec<u8>) -> Option<()>| {
                let start = bytes.len();
                write(&mut bytes)?;
                words.extend([2, name, start as u32, (bytes.len() - start) as u32]);
                Some(())
            };
            let written = value(STATUS, &mut |bytes| text(bytes, readable(inside(status)?)))
                .and_then(|()| value(AMOUNT, &mut |bytes| cents(bytes, inside(amount)?)))
                .and_then(|()| value(CREATED_AT, &mut |bytes| time(bytes, inside(created_at)?)))
                .and_then(|()| value(RECEIVER, &mut |bytes| text(bytes, inside(receiver)?.trim())));
            if written.is_none() {
                // The rows of a benchmark never fail.
                return Output::default();
            }
            words.extend([4, BUYER, 1, ID, buyer_id, 5, 4, SELLER, 1, ID, seller_id, 1, SHOP, shop_name, 5]);
        }
        let mut names = Vec::with_capacity(NAMES.len() * 2);
        for name in NAMES {
            names.extend([bytes.len() as u32, name.len() as u32]);
            bytes.extend_from_slice(name.as_bytes());
        }
        Output { verdicts: words, names, bytes }
    }
}

/// The content of a string without escapes.
fn inside(cell: &[u8]) -> Option<&str> {
    let inside = cell.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inside.contains(&b'\\') { None } else { std::str::from_utf8(inside).ok() }
}

fn text(bytes: &mut Vec<u8>, text: &str) -> Option<()> {
    bytes.push(b'"');
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(b'"');
    Some(())
}

fn cents(bytes: &mut Vec<u8>, amount: &str) -> Option<()> {
    let (whole, fraction) = amount.split_once('.')?;
    if fraction.len() != 2 {
        return None;
    }
    let cents = whole.parse::<i64>().ok()? * 100 + fraction.parse::<i64>().ok()?;
    bytes.extend_from_slice(cents.to_string().as_bytes());
    Some(())
}

fn time(bytes: &mut Vec<u8>, time: &str) -> Option<()> {
    let digits = |range: std::ops::Range<usize>| time.get(range)?.parse::<u32>().ok();
    let (month, day, hour) = (digits(5..7)?, digits(8..10)?, digits(11..13)?);
    let (minute, second) = (digits(14..16)?, digits(17..19)?);
    digits(0..4)?;
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    bytes.push(b'"');
    bytes.extend_from_slice(time.as_bytes());
    bytes.extend_from_slice(b"Z\"");
    Some(())
}
