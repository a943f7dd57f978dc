use std::cell::RefCell;

use rowmill_sdk::{Fail, NoSettings, Out, Row, Transform};

struct Keeper {
    rows: RefCell<Vec<Row<'static>>>,
}

impl Transform for Keeper {
    const NAME: &'static str = "keeper";
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self { rows: RefCell::default() })
    }
    fn row(&self, row: &Row<'_>, _: &mut Out<'_>) -> Result<(), Fail> {
        self.rows.borrow_mut().push(*row);
        Ok(())
    }
}

fn main() {}
