//! The decoder's settings: message formats, declared column types and size limits.

use std::fmt;

use crate::types::Declaration;

/// The tool that wrote the messages of a record batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Detected per topic from its first record that identifies a format.
    #[default]
    Auto,
    /// Canal flat messages.
    Canal,
    /// Debezium: with schema, without, or unwrapped (`ExtractNewRecordState`).
    Debezium,
    /// Maxwell.
    Maxwell,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Canal => "Canal",
            Self::Debezium => "Debezium",
            Self::Maxwell => "Maxwell",
        })
    }
}

/// Settings of a [`crate::Decoder`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecoderSettings {
    /// Column types that the configuration declares. They take precedence over the types in messages.
    pub declared: DeclaredTypes,
    /// Longest record value in bytes; longer ones are undecodable.
    pub max_message_bytes: usize,
    /// Whether updates may lack columns that the table's rows have (`binlog_row_image` is not FULL); otherwise they are
    /// undecodable.
    pub allows_partial_rows: bool,
}

impl Default for DecoderSettings {
    fn default() -> Self {
        Self {
            declared: DeclaredTypes::default(),
            // Kafka's default is 1 MB, but MySQL rows can be far larger and brokers are configured for them.
            max_message_bytes: 64 << 20,
            allows_partial_rows: false,
        }
    }
}

/// Declared column types by table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeclaredTypes {
    tables: Vec<DeclaredTable>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct DeclaredTable {
    pattern: String,
    columns: Vec<(String, Declaration)>,
}

impl DeclaredTypes {
    /// Declares a column's type in MySQL's syntax (`bigint unsigned`, `datetime(6)`).
    ///
    /// `table` is `database.table`, `table`, or a pattern of either in which `*` matches any text. If several declarations
    /// match a table, `database.table` takes precedence over `table`, and both over patterns; the first matching pattern wins.
    ///
    /// # Errors
    /// `mysql_type` is not a MySQL type; the message says why.
    pub fn declare(&mut self, table: &str, column: &str, mysql_type: &str) -> Result<(), String> {
        let declaration = Declaration::parse(mysql_type)?;
        let at = match self.tables.iter().position(|t| t.pattern == table) {
            Some(at) => at,
            None => {
                self.tables.push(DeclaredTable { pattern: table.to_owned(), columns: Vec::new() });
                self.tables.len() - 1
            }
        };
        let columns = &mut self.tables[at].columns;
        match columns.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(column)) {
            Some((_, known)) => *known = declaration,
            None => columns.push((column.to_owned(), declaration)),
        }
        Ok(())
    }

    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// The declaration of a column. Letter case does not matter in column names, as in MySQL.
    pub(crate) fn of(&self, database: &str, table: &str, column: &str) -> Option<&Declaration> {
        let full = if database.is_empty() { table.to_owned() } else { format!("{database}.{table}") };
        let column_of = |t: &'_ DeclaredTable| t.columns.iter().position(|(name, _)| name.eq_ignore_ascii_case(column));
        let ranks: [&dyn Fn(&str) -> bool; 3] = [&|pattern| pattern == full, &|pattern| pattern == table, &|pattern| {
            pattern.contains('*') && (matches(pattern, &full) || matches(pattern, table))
        }];
        ranks.iter().find_map(|fits| {
            self.tables.iter().filter(|t| fits(&t.pattern)).find_map(|t| column_of(t).map(|i| &t.columns[i].1))
        })
    }
}

/// Whether `pattern`, in which `*` matches any text, matches `text`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ColumnType;

    #[test]
    fn patterns() {
        assert!(matches("shop.*", "shop.trade"));
        assert!(matches("*", ""));
        assert!(matches("sh*.tr*e", "shop.trade"));
        assert!(matches("a*b*c", "abbc"));
        assert!(!matches("a*bc", "ab"));
        assert!(!matches("ab*b", "ab"));
        assert!(!matches("shop", "shop.trade"));
    }

    #[test]
    fn the_most_specific_declaration_wins() {
        let mut types = DeclaredTypes::default();
        types.declare("*", "a", "int").unwrap();
        types.declare("trade", "a", "json").unwrap();
        types.declare("shop.trade", "a", "date").unwrap();
        let of = |d, t, c| types.of(d, t, c).map(|d| d.column_type.clone());
        assert_eq!(of("shop", "trade", "A"), Some(ColumnType::Date));
        assert_eq!(of("other", "trade", "a"), Some(ColumnType::Json));
        assert_eq!(of("other", "x", "a"), Some(ColumnType::Integer { unsigned: false }));
        assert_eq!(of("other", "x", "b"), None);
        assert!(types.declare("x", "a", "bigint unsinged").is_err());
    }
}
