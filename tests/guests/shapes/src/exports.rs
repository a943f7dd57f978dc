//! The exports, written explicitly: the setting decides whether the SDK is used.

use std::cell::RefCell;

use rowmill_sdk::__private::{Images, Instance};
use rowmill_sdk::bindings;
use rowmill_sdk::bindings::exports::rowmill::plugin::guest;

use crate::Shapes;
use crate::by_hand::ByHand;

std::thread_local! {
    static INSTANCE: Instance<Images<Shapes>> = const { Instance::new() };
    static BY_HAND: RefCell<Option<ByHand>> = const { RefCell::new(None) };
}

struct Exports;

impl guest::Guest for Exports {
    fn describe() -> guest::Description {
        Instance::<Images<Shapes>>::describe(env!("CARGO_PKG_VERSION")).into()
    }

    fn configure(settings: String) -> Result<(), String> {
        if settings.contains("by_hand") {
            BY_HAND.set(Some(ByHand::default()));
        }
        INSTANCE.with(|instance| instance.configure(&settings))
    }

    fn define_table(table: guest::Table) -> Result<Vec<u32>, String> {
        let table = table.into();
        BY_HAND.with_borrow_mut(|by_hand| match by_hand {
            Some(by_hand) => by_hand.define_table(&table),
            None => INSTANCE.with(|instance| instance.define_table(&table)),
        })
    }

    fn transform(batch: guest::Batch) -> guest::Output {
        let batch = batch.into();
        BY_HAND
            .with_borrow(|by_hand| match by_hand {
                Some(by_hand) => by_hand.transform(&batch),
                None => INSTANCE.with(|instance| instance.transform(&batch)),
            })
            .into()
    }
}

bindings::export_guest!(Exports with_types_in bindings);
