//! Column types, as declared in MySQL.

/// A column's type, which determines the JSON of its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Neither the format nor the configuration declares it: values are not converted.
    Unknown,
    /// `TINYINT` to `BIGINT`, `YEAR`: a JSON number.
    Integer {
        /// `UNSIGNED`.
        unsigned: bool,
    },
    /// `BOOL`/`BOOLEAN` in the configuration: `true` or `false`. A format's `tinyint(1)` is an integer.
    Boolean,
    /// `BIT(n)`: the unsigned number, a JSON number.
    Bit,
    /// `FLOAT`: a JSON number of single precision.
    Float,
    /// `DOUBLE`: a JSON number.
    Double,
    /// `DECIMAL`: a JSON string with all its digits.
    Decimal {
        /// Digits after the point, if declared.
        scale: Option<u32>,
    },
    /// `DATE`: `"2026-03-04"`.
    Date,
    /// `TIME`: `"-12:34:56.789"`.
    Time,
    /// `DATETIME`: ISO-8601 without a zone, `"2026-03-04T05:06:07.123456"`.
    DateTime,
    /// `TIMESTAMP`: ISO-8601 in UTC, `"2026-03-04T05:06:07Z"`.
    Timestamp,
    /// `CHAR`, `VARCHAR`: a JSON string.
    Text,
    /// `TINYTEXT` to `LONGTEXT`: a JSON string.
    LongText,
    /// `BINARY`, `VARBINARY`, `BLOB`s, geometry: base64 in a JSON string.
    Binary,
    /// `ENUM`: the label as a JSON string.
    Enum {
        /// The labels in declared order.
        labels: Vec<String>,
    },
    /// `SET`: the labels joined by commas, a JSON string.
    Set {
        /// The labels in declared order.
        labels: Vec<String>,
    },
    /// `JSON`: the value itself.
    Json,
}

impl ColumnType {
    /// Parses a type in MySQL's syntax: `bigint(20) unsigned`, `enum('a','b')`, `datetime(6)`, `decimal(18,2)`.
    ///
    /// `bool` and `boolean` are [`ColumnType::Boolean`], `tinyint(1)` is an integer. Column options of `CREATE TABLE`
    /// (`not null`, `character set …`, `zerofill`) are ignored. Letter case does not matter.
    ///
    /// # Errors
    /// The text is not a MySQL type; the message says why.
    pub fn parse(mysql_type: &str) -> Result<Self, String> {
        Declaration::parse(mysql_type).map(|d| d.column_type)
    }

    /// The column kind in the plugin contract (`wit/`).
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Integer { unsigned: false } => "integer",
            Self::Integer { unsigned: true } => "unsigned-integer",
            Self::Boolean => "boolean",
            Self::Bit => "bit",
            Self::Float => "float",
            Self::Double => "double",
            Self::Decimal { .. } => "decimal",
            Self::Date => "date",
            Self::Time => "time",
            Self::DateTime => "date-time",
            Self::Timestamp => "timestamp",
            Self::Text | Self::LongText => "text",
            Self::Binary => "binary",
            Self::Enum { .. } => "enumeration",
            Self::Set { .. } => "set",
            Self::Json => "json",
        }
    }
}

/// A declared type with the details that only decoding needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Declaration {
    pub column_type: ColumnType,
    /// Fraction digits of a second. They determine the unit of Debezium's `DATETIME`.
    pub fraction: u32,
    /// `BIGINT`, the only integer type that can exceed `i64`.
    pub is_bigint: bool,
    /// `n` of `BINARY(n)`, else 0. The binlog omits trailing zero bytes, which are restored up to this length.
    pub binary_length: u32,
    /// A geometry: bytes in Canal, a tool-specific encoding in the others.
    pub is_geometry: bool,
}

impl Declaration {
    pub fn parse(mysql_type: &str) -> Result<Self, String> {
        TypeText::parse(mysql_type)
            .and_then(TypeText::declaration)
            .map_err(|error| format!("column type `{mysql_type}`: {error}"))
    }
}

/// The parts of a type's text: `decimal(18,2) unsigned` has a name, two arguments and an option.
struct TypeText {
    /// In lower case.
    name: String,
    arguments: Vec<String>,
    unsigned: bool,
}

impl TypeText {
    fn parse(mysql_type: &str) -> Result<Self, String> {
        let text = mysql_type.trim();
        let name_end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let (name, rest) = text.split_at(name_end.unwrap_or(text.len()));
        let name = name.to_ascii_lowercase();
        let mut rest = rest.trim_start();
        // Types with two words.
        for (first, second) in
            [("double", "precision"), ("national", "varchar"), ("national", "char"), ("character", "varying")]
        {
            if name == first && starts_with_word(rest, second) {
                rest = rest[second.len()..].trim_start();
            }
        }
        let arguments = match rest.strip_prefix('(') {
            None => Vec::new(),
            Some(inside) => {
                let (arguments, behind) = arguments(inside).ok_or("expected `)`")?;
                rest = behind;
                arguments
            }
        };
        let words = rest.to_ascii_lowercase();
        let unsigned = modifiers(&words).map_err(|word| format!("`{word}` is not part of a type"))?;
        Ok(Self { name, arguments, unsigned })
    }

    /// An argument that has to be a number, if it is given.
    fn number(&self, argument: usize) -> Result<Option<u32>, String> {
        match self.arguments.get(argument).map(|text| text.parse::<u32>()) {
            None => Ok(None),
            Some(Ok(n)) if n <= 100_000_000 => Ok(Some(n)),
            Some(_) => Err("expected a number in the parentheses".into()),
        }
    }

    fn declaration(self) -> Result<Declaration, String> {
        let mut declaration = Declaration {
            column_type: ColumnType::Unknown,
            fraction: 0,
            is_bigint: matches!(self.name.as_str(), "bigint" | "int8" | "serial"),
            binary_length: 0,
            is_geometry: false,
        };
        declaration.column_type = match self.name.as_str() {
            "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "int1" | "int2" | "int3" | "int4"
            | "int8" | "middleint" => ColumnType::Integer { unsigned: self.unsigned },
            "serial" => ColumnType::Integer { unsigned: true },
            "year" => ColumnType::Integer { unsigned: false },
            "bool" | "boolean" => ColumnType::Boolean,
            "bit" => ColumnType::Bit,
            "float" | "float4" => match self.number(0)? {
                // FLOAT(25) and up is a DOUBLE.
                Some(bits) if bits > 24 && self.arguments.len() == 1 => ColumnType::Double,
                _ => ColumnType::Float,
            },
            "double" | "real" | "float8" => ColumnType::Double,
            "decimal" | "dec" | "numeric" | "fixed" => {
                self.number(0)?;
                match self.number(1)?.unwrap_or(0) {
                    scale @ 0..=38 => ColumnType::Decimal { scale: Some(scale) },
                    _ => return Err("the scale is at most 38".into()),
                }
            }
            "date" => ColumnType::Date,
            "time" | "datetime" | "timestamp" => {
                declaration.fraction = match self.number(0)?.unwrap_or(0) {
                    digits @ 0..=6 => digits,
                    _ => return Err("a second has at most 6 digits after the point".into()),
                };
                match self.name.as_str() {
                    "time" => ColumnType::Time,
                    "datetime" => ColumnType::DateTime,
                    _ => ColumnType::Timestamp,
                }
            }
            "char" | "varchar" | "nchar" | "nvarchar" | "national" | "character" | "uuid" | "inet4" | "inet6" => {
                ColumnType::Text
            }
            "tinytext" | "text" | "mediumtext" | "longtext" | "long" => ColumnType::LongText,
            "binary" => {
                declaration.binary_length = match self.number(0)?.unwrap_or(1) {
                    length @ 0..=255 => length,
                    _ => return Err("BINARY has at most 255 bytes".into()),
                };
                ColumnType::Binary
            }
            "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => ColumnType::Binary,
            "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
            | "geometrycollection" | "geomcollection" => {
                declaration.is_geometry = true;
                ColumnType::Binary
            }
            "enum" if !self.arguments.is_empty() => ColumnType::Enum { labels: self.arguments },
            "set" if (1..=64).contains(&self.arguments.len()) => ColumnType::Set { labels: self.arguments },
            "enum" | "set" => {
                return Err("expected the labels in parentheses, as in enum('a','b')".into());
            }
            "json" => ColumnType::Json,
            _ => {
                return Err("expected a MySQL type, such as `bigint unsigned` or `datetime(6)`".into());
            }
        };
        Ok(declaration)
    }
}

/// Whether `text` begins with `word`, in any letter case.
fn starts_with_word(text: &str, word: &str) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Parses comma-separated arguments up to `)` and unquotes them; also returns the text behind the `)`.
fn arguments(inside: &str) -> Option<(Vec<String>, &str)> {
    let (mut arguments, mut argument, mut quoted) = (Vec::new(), String::new(), false);
    let mut letters = inside.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\'' if quoted && letters.next_if(|&(_, next)| next == '\'').is_some() => argument.push('\''),
            '\'' => quoted = !quoted,
            _ if quoted => argument.push(letter),
            ',' => arguments.push(std::mem::take(&mut argument)),
            ')' => {
                arguments.push(argument);
                return Some((arguments, &inside[at + 1..]));
            }
            _ if letter.is_whitespace() => {}
            _ => argument.push(letter),
        }
    }
    None
}

/// Parses the options behind a type: whether one is `unsigned`, or the word that is not an option.
fn modifiers(words: &str) -> Result<bool, &str> {
    let mut unsigned = false;
    let mut words = words.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            "unsigned" | "zerofill" => unsigned = true,
            "signed" | "not" | "null" | "binary" | "auto_increment" | "ascii" | "unicode" | "varying" => {}
            "set" | "charset" | "collate" => {
                words.next();
            }
            "character" => {}
            // Any expression may follow; the type has ended.
            "default" | "comment" | "primary" | "unique" | "key" | "on" | "generated" | "check" | "invisible" => break,
            other => return Err(other),
        }
    }
    Ok(unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: ColumnType) {
        assert_eq!(ColumnType::parse(text), Ok(expect), "{text}");
    }

    fn labels(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|&l| l.to_owned()).collect()
    }

    #[test]
    fn types_of_mysql() {
        check("bigint(20) unsigned", ColumnType::Integer { unsigned: true });
        check("BIGINT UNSIGNED NOT NULL AUTO_INCREMENT", ColumnType::Integer { unsigned: true });
        check("tinyint(1)", ColumnType::Integer { unsigned: false });
        check("int(10) unsigned zerofill", ColumnType::Integer { unsigned: true });
        check("year(4)", ColumnType::Integer { unsigned: false });
        check("Boolean", ColumnType::Boolean);
        check("bit(16)", ColumnType::Bit);
        check("float(7,4)", ColumnType::Float);
        check("float(53)", ColumnType::Double);
        check("double precision", ColumnType::Double);
        check("decimal", ColumnType::Decimal { scale: Some(0) });
        check("decimal(18, 2) unsigned", ColumnType::Decimal { scale: Some(2) });
        check("datetime(6)", ColumnType::DateTime);
        check("timestamp(3) not null default current_timestamp(3)", ColumnType::Timestamp);
        check("varchar(32) character set utf8mb4 collate utf8mb4_bin", ColumnType::Text);
        check("character varying(20)", ColumnType::Text);
        check("national varchar(20)", ColumnType::Text);
        check("longtext", ColumnType::LongText);
        check("binary(16)", ColumnType::Binary);
        check("point", ColumnType::Binary);
        check("enum('NEW','it''s', 'a,b)')", ColumnType::Enum { labels: labels(&["NEW", "it's", "a,b)"]) });
        check("set('x','')", ColumnType::Set { labels: labels(&["x", ""]) });
        check("json", ColumnType::Json);
    }

    #[test]
    fn errors_quote_the_text() {
        let texts = [
            "",
            "bigintt",
            "bigint unsinged",
            "enum",
            "enum('a'",
            "set()x",
            "decimal(a,b)",
            "decimal(65,39)",
            "datetime(7)",
            "binary(256)",
            "varchar(",
            "(",
            "é",
            "doublé",
            "int(99999999999)x",
        ];
        for text in texts {
            let message = ColumnType::parse(text).unwrap_err();
            assert!(message.starts_with(&format!("column type `{text}`: ")), "{message}");
        }
    }
}
