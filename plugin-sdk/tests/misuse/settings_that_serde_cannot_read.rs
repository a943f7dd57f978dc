use rowmill_sdk::{Fail, Out, Row, Transform};

struct Settings {
    currency: String,
}

struct Orders(Settings);

impl Transform for Orders {
    const NAME: &'static str = "orders";
    type Settings = Settings;
    fn new(settings: Settings) -> Result<Self, String> {
        Ok(Self(settings))
    }
    fn row(&self, _: &Row<'_>, _: &mut Out<'_>) -> Result<(), Fail> {
        Ok(())
    }
}

fn main() {}
