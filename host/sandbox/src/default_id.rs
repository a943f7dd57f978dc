//! The default id of a row's document: its primary key, or a template of its columns.

use crate::rules::NameRules;

/// The default id of a row's document, used where a plugin sets none: the values of the primary key joined by `|`, or a
/// template such as `{customer_no}-{id}`.
#[derive(Clone, Debug)]
pub struct DefaultId {
    parts: Vec<Part>,
    columns: Vec<Box<str>>,
    table: Box<str>,
    max_bytes: usize,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Box<str>),
    Column(u32),
}

impl DefaultId {
    /// The id of the rows of `table`, its full name. `columns` are all its columns; `key` are the positions of the
    /// primary key's columns among them. An id is at most [`NameRules::max_id_bytes`] long.
    ///
    /// # Errors
    /// There is neither a template nor a primary key, or the template names a column that the table does not have.
    pub fn new<'a>(
        table: &str,
        columns: impl IntoIterator<Item = &'a str>,
        key: &[u32],
        template: Option<&str>,
        rules: &NameRules,
    ) -> Result<Self, String> {
        let columns: Vec<Box<str>> = columns.into_iter().map(Into::into).collect();
        let parts = match template {
            Some(template) => of_template(table, &columns, template)?,
            None => of_key(table, key)?,
        };
        Ok(Self { parts, columns, table: table.into(), max_bytes: rules.max_id_bytes })
    }

    /// Appends the id of an image to `out`. `cell` returns a column's JSON value, empty if the cell is absent.
    ///
    /// # Errors
    /// A column of the id is missing or NULL, or the id is empty or too long.
    pub fn write<'c>(&self, out: &mut Vec<u8>, cell: impl Fn(u32) -> &'c [u8]) -> Result<(), String> {
        let start = out.len();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Column(column) => match cell(*column) {
                    b"" | b"null" => {
                        return Err(format!(
                            "the column {} of {}, which is part of the id, is missing or NULL",
                            self.columns[*column as usize], self.table
                        ));
                    }
                    [b'"', inner @ .., b'"'] if memchr::memchr(b'\\', inner).is_none() => out.extend_from_slice(inner),
                    value @ [b'"', ..] => {
                        let text: String = serde_json::from_slice(value)
                            .map_err(|error| format!("an id that is not text: {error}"))?;
                        out.extend_from_slice(text.as_bytes());
                    }
                    value => out.extend_from_slice(value),
                },
            }
        }
        match out.len() - start {
            0 => Err(format!("the id of a row of {} is empty", self.table)),
            len if len > self.max_bytes => {
                Err(format!("the id of a row of {} has {len} bytes; the limit is {}", self.table, self.max_bytes))
            }
            _ => Ok(()),
        }
    }
}

fn of_key(table: &str, key: &[u32]) -> Result<Vec<Part>, String> {
    if key.is_empty() {
        return Err(format!(
            "the primary key of {table} is unknown; set `id` in its route, for example id = \"{{id}}\""
        ));
    }
    let mut parts = Vec::new();
    for (place, &column) in key.iter().enumerate() {
        if place > 0 {
            parts.push(Part::Text("|".into()));
        }
        parts.push(Part::Column(column));
    }
    Ok(parts)
}

fn of_template(table: &str, columns: &[Box<str>], template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let end = rest[start..].find('}').map_or(rest.len(), |len| start + len);
        if start > 0 {
            parts.push(Part::Text(rest[..start].into()));
        }
        let name = &rest[start + 1..end];
        match columns.iter().position(|column| **column == *name) {
            Some(column) => parts.push(Part::Column(column as u32)),
            None => {
                return Err(format!(
                    "the route's id {template:?} names the column `{name}`, which {table} does not have"
                ));
            }
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn id(key: &[u32], template: Option<&str>, cells: [&str; 2]) -> Result<String, String> {
        let id = DefaultId::new("shop.items", ["no", "line"], key, template, &NameRules::default())?;
        let mut out = Vec::new();
        id.write(&mut out, |column| cells[column as usize].as_bytes())?;
        Ok(String::from_utf8(out).expect("an id is text"))
    }

    #[test]
    fn default_ids() {
        assert_eq!(id(&[1, 0], None, ["7", "\"a\""]), Ok("a|7".into()));
        assert_eq!(id(&[], Some("x-{no}-{line}!"), ["7", "\"\\u0041\""]), Ok("x-7-A!".into()));
        assert!(id(&[], None, ["7", "8"]).is_err_and(|error| error.contains("set `id` in its route")));
        assert!(id(&[0], None, ["null", ""]).is_err_and(|error| error.contains("column no of shop.items")));
        assert!(id(&[], Some("{now}"), ["", ""]).is_err_and(|error| error.contains("`now`")));
        assert!(id(&[0], None, [&format!("{:?}", "x".repeat(513)), ""]).is_err_and(|error| error.contains("513")));
    }
}
