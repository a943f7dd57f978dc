use rowmill_sdk::{Change, ChangeTransform, Fail, NoSettings, Out};

struct Audit;

impl ChangeTransform for Audit {
    const NAME: &'static str = "audit";
    type Settings = NoSettings;
    fn new(_: NoSettings) -> Result<Self, String> {
        Ok(Self)
    }
    fn change(&self, _: &Change<'_>, _: &mut Out<'_>) -> Result<(), Fail> {
        Ok(())
    }
}

rowmill_sdk::export!(Audit);

fn main() {}
