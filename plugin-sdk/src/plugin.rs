//! The traits that a plugin implements.

use std::fmt;

use serde::de::{DeserializeOwned, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::contract::{Description, Mode, Table};
use crate::fail::Fail;
use crate::out::Out;
use crate::row::{Change, Row};
use crate::table::Columns;

/// A plugin that is a function of one row image and returns the documents for it.
///
/// The host calls it with the after image and with the before image, writes the documents of the former, and deletes those
/// that only the latter gives. So [`row`](Transform::row) must depend on its arguments and the settings alone.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no plugin of row images",
    label = "implement `rowmill_sdk::Transform` for `{Self}`",
    note = "a type that implements `ChangeTransform` is exported by `rowmill_sdk::export!(change {Self});`"
)]
pub trait Transform: Sized + 'static {
    /// A short name, unique within a gateway: letters, digits, `-`, `_`, `.`. It is the key of the plugin's settings.
    const NAME: &'static str;
    /// The plugin's version. If empty, the version of its crate.
    const VERSION: &'static str = "";
    /// The plugin's settings, or [`NoSettings`]. Use `#[serde(deny_unknown_fields)]`, so that a misspelled key is an error.
    type Settings: DeserializeOwned;

    /// Tables, indices and settings schema. The default is all tables and the index from the configuration.
    fn describe() -> Description {
        Description::default()
    }

    /// Creates the plugin from its settings. An error should say what is wrong and how to fix it; the plugin is then not used.
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// The columns of this table that the plugin uses; by default all. An error says why rows of this table cannot be
    /// processed; they become dead letters.
    fn columns(&self, table: &Table) -> Result<Columns, String> {
        let _ = table;
        Ok(Columns::all())
    }

    /// Transforms one row image. An error makes the row a dead letter.
    fn row(&self, row: &Row<'_>, out: &mut Out<'_>) -> Result<(), Fail>;
}

/// A plugin that gets change events, with operation and both images, and is responsible for deletes: an audit trail, soft
/// deletes. Exported by `rowmill_sdk::export!(change MyPlugin)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no plugin of changes",
    label = "implement `rowmill_sdk::ChangeTransform` for `{Self}`",
    note = "a type that implements `Transform` is exported by `rowmill_sdk::export!({Self});`"
)]
pub trait ChangeTransform: Sized + 'static {
    /// See [`Transform::NAME`].
    const NAME: &'static str;
    /// See [`Transform::VERSION`].
    const VERSION: &'static str = "";
    /// See [`Transform::Settings`].
    type Settings: DeserializeOwned;

    /// See [`Transform::describe`].
    fn describe() -> Description {
        Description::default()
    }

    /// See [`Transform::new`].
    fn new(settings: Self::Settings) -> Result<Self, String>;

    /// See [`Transform::columns`].
    fn columns(&self, table: &Table) -> Result<Columns, String> {
        let _ = table;
        Ok(Columns::all())
    }

    /// Transforms one change.
    fn change(&self, change: &Change<'_>, out: &mut Out<'_>) -> Result<(), Fail>;
}

/// The settings of a plugin without settings: any key is an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSettings {}

/// Written by hand: serde's own messages can name a floating-point number, and the code that prints one is a fifth of a
/// small plugin's file.
impl<'de> Deserialize<'de> for NoSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoKeys)
    }
}

struct NoKeys;

impl NoKeys {
    fn refuse<T, E: Error>(self) -> Result<T, E> {
        Err(E::custom("expected an object"))
    }
}

impl<'de> Visitor<'de> for NoKeys {
    type Value = NoSettings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<NoSettings, A::Error> {
        match map.next_key::<String>()? {
            None => Ok(NoSettings {}),
            Some(key) => Err(A::Error::unknown_field(&key, &[])),
        }
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<NoSettings, E> {
        self.refuse()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<NoSettings, E> {
        self.refuse()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<NoSettings, E> {
        self.refuse()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<NoSettings, E> {
        self.refuse()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<NoSettings, E> {
        self.refuse()
    }

    fn visit_unit<E: Error>(self) -> Result<NoSettings, E> {
        self.refuse()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<NoSettings, A::Error> {
        self.refuse()
    }
}

/// The driver's view of a plugin, whichever trait it implements.
#[doc(hidden)]
pub trait Drive: Sized + 'static {
    const NAME: &'static str;
    const VERSION: &'static str;
    const MODE: Mode;
    type Settings: DeserializeOwned;
    fn describe() -> Description;
    fn new(settings: Self::Settings) -> Result<Self, String>;
    fn columns(&self, table: &Table) -> Result<Columns, String>;
    fn one(&self, images: &Change<'_>, out: &mut Out<'_>) -> Result<(), Fail>;
}

/// A [`Transform`] for the driver.
#[doc(hidden)]
pub struct Images<T>(T);

/// A [`ChangeTransform`] for the driver.
#[doc(hidden)]
pub struct Changes<T>(T);

macro_rules! drive {
    ($adapter:ident, $trait:ident, $mode:ident, |$plugin:ident, $images:ident, $out:ident| $one:expr) => {
        impl<T: $trait> fmt::Debug for $adapter<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::NAME)
            }
        }

        impl<T: $trait> Drive for $adapter<T> {
            const NAME: &'static str = T::NAME;
            const VERSION: &'static str = T::VERSION;
            const MODE: Mode = Mode::$mode;
            type Settings = T::Settings;
            fn describe() -> Description {
                T::describe()
            }
            fn new(settings: T::Settings) -> Result<Self, String> {
                T::new(settings).map(Self)
            }
            fn columns(&self, table: &Table) -> Result<Columns, String> {
                self.0.columns(table)
            }
            #[inline]
            fn one(&self, $images: &Change<'_>, $out: &mut Out<'_>) -> Result<(), Fail> {
                let $plugin = &self.0;
                $one
            }
        }
    };
}

drive!(Images, Transform, Image, |plugin, images, out| match &images.after {
    Some(row) => plugin.row(row, out),
    None => Err(Fail::new("no image")),
});
drive!(Changes, ChangeTransform, Change, |plugin, images, out| plugin.change(images, out));
