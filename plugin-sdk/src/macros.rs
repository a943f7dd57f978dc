//! The macros of a plugin: the export, and literals in documents.

/// Makes a type that implements [`Transform`](crate::Transform) the plugin of this crate's `.wasm` file; `export!(change MyPlugin)` one
/// that implements [`ChangeTransform`](crate::ChangeTransform). On other targets it does nothing.
#[macro_export]
macro_rules! export {
    (change $plugin:ty) => {
        // On every target, so that a mistake is seen in the editor.
        const _: () = {
            const fn is_a_plugin<T: $crate::ChangeTransform>() {}
            is_a_plugin::<$plugin>()
        };
        $crate::export!(@ $crate::__private::Changes<$plugin>);
    };
    (@ $driven:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::bindings;
            use bindings::exports::rowmill::plugin::guest;

            type Instance = $crate::__private::Instance<$driven>;
            ::std::thread_local! {
                static INSTANCE: Instance = const { Instance::new() };
            }
            struct Exports;
            impl guest::Guest for Exports {
                fn describe() -> guest::Description {
                    Instance::describe(::core::env!("CARGO_PKG_VERSION")).into()
                }
                fn configure(settings: ::std::string::String) -> ::core::result::Result<(), ::std::string::String> {
                    INSTANCE.with(|i| i.configure(&settings))
                }
                fn define_table(
                    table: guest::Table,
                ) -> ::core::result::Result<::std::vec::Vec<u32>, ::std::string::String> {
                    INSTANCE.with(|i| i.define_table(&table.into()))
                }
                fn transform(batch: guest::Batch) -> guest::Output {
                    INSTANCE.with(|i| i.transform(&batch.into())).into()
                }
            }
            bindings::export_guest!(Exports with_types_in bindings);
        };
    };
    ($plugin:ty) => {
        const _: () = {
            const fn is_a_plugin<T: $crate::Transform>() {}
            is_a_plugin::<$plugin>()
        };
        $crate::export!(@ $crate::__private::Images<$plugin>);
    };
}

/// Sets fields of a [`Document`](crate::Document), written as JSON: nested objects, values of any type that serde writes,
/// and columns.
///
/// ```
/// # use rowmill_sdk::{Fail, Out, Row, doc};
/// fn order(row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail> {
///     let cents = row.decimal("total")?.and_then(|total| total.to_cents());
///     let tags = ["paid", "gift"];
///     doc!(out.document(), {
///         "id": column "id",
///         "customer": {
///             "number": column "customer_no",
///             "country": "NO",
///         },
///         "total": { "cents": cents, "currency": "NOK" },
///         "tags": tags,
///     });
///     Ok(())
/// }
/// ```
///
/// `column` passes a column on, which is cheap however long the value is; any other value is written by serde. The
/// first argument is a document; of a reference give `*document`.
#[macro_export]
macro_rules! doc {
    ($document:expr, { $($fields:tt)* }) => {{
        let document = &mut $document;
        $crate::doc!(@ document $($fields)*);
    }};
    (@ $document:ident) => {};
    (@ $document:ident $name:literal : column $column:expr $(, $($rest:tt)*)?) => {
        $document.column_as($column, $name);
        $crate::doc!(@ $document $($($rest)*)?);
    };
    (@ $document:ident $name:literal : { $($inner:tt)* } $(, $($rest:tt)*)?) => {
        $document.object($name, |document| { $crate::doc!(@ document $($inner)*); });
        $crate::doc!(@ $document $($($rest)*)?);
    };
    (@ $document:ident $name:literal : $value:expr $(, $($rest:tt)*)?) => {
        $document.set($name, &$value);
        $crate::doc!(@ $document $($($rest)*)?);
    };
    (@ $document:ident $($wrong:tt)+) => {
        ::core::compile_error!(
            "expected fields as `\"name\": value`, `\"name\": column \"column\"` or `\"name\": { … }`, with commas between them"
        );
    };
    ($document:expr, $($wrong:tt)*) => {
        ::core::compile_error!("expected `doc!(document, { \"name\": value, … })`");
    };
}
