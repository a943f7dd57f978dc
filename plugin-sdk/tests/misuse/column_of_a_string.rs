use rowmill_sdk::{Fail, Row};

fn row(row: &Row<'_>, name: String) -> Result<(), Fail> {
    row.text(name)?;
    Ok(())
}

fn main() {}
