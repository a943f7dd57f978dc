//! The settings as written, and their validated form.

use serde::Deserialize;
use serde_json::Value;

use crate::Rule;
use crate::condition::{Condition, Operand, Test};

/// The settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    rules: Option<Vec<RawRule>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    table: String,
    r#where: Vec<RawCondition>,
    #[serde(default)]
    any: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCondition {
    column: String,
    eq: Option<Value>,
    ne: Option<Value>,
    r#in: Option<Vec<Value>>,
    not_in: Option<Vec<Value>>,
    gt: Option<Value>,
    gte: Option<Value>,
    lt: Option<Value>,
    lte: Option<Value>,
    prefix: Option<String>,
    suffix: Option<String>,
    contains: Option<String>,
    is_null: Option<bool>,
}

impl Settings {
    /// The validated rules, or the error in them.
    pub(crate) fn rules(self) -> Result<Vec<Rule>, String> {
        let Some(rules) = self.rules else {
            return Ok(Vec::new());
        };
        if rules.is_empty() {
            return Err("settings: 'rules' is empty; leave it out to keep every row".to_owned());
        }
        let checked = |(i, rule): (usize, RawRule)| rule.check(format!("rule {}", i + 1));
        rules.into_iter().enumerate().map(checked).collect::<Result<_, _>>().map_err(|e| format!("settings: {e}"))
    }
}

impl RawRule {
    fn check(self, place: String) -> Result<Rule, String> {
        if self.table.is_empty() {
            return Err(format!("{place}: 'table' is empty; write '*' for all tables"));
        }
        if self.r#where.is_empty() {
            return Err(format!("{place}: 'where' is empty; add a condition"));
        }
        let conditions = self.r#where.into_iter().map(RawCondition::check).collect::<Result<_, _>>();
        let conditions = conditions.map_err(|e| format!("{place}: {e}"))?;
        Ok(Rule { place, table: self.table, conditions, any: self.any })
    }
}

impl RawCondition {
    fn check(self) -> Result<Condition, String> {
        let column = self.column;
        let one = |value: Value| operand(value).map_err(|e| format!("column '{column}': {e}"));
        let many = |values: Vec<Value>| values.into_iter().map(one).collect::<Result<Vec<_>, _>>();
        let mut tests = Vec::new();
        tests.extend(self.is_null.map(Test::IsNull));
        tests.extend(self.eq.map(one).transpose()?.map(|o| Test::In(vec![o])));
        tests.extend(self.ne.map(one).transpose()?.map(|o| Test::NotIn(vec![o])));
        tests.extend(self.r#in.map(many).transpose()?.map(Test::In));
        tests.extend(self.not_in.map(many).transpose()?.map(Test::NotIn));
        tests.extend(self.gt.map(one).transpose()?.map(Test::Above));
        tests.extend(self.gte.map(one).transpose()?.map(Test::From));
        tests.extend(self.lt.map(one).transpose()?.map(Test::Below));
        tests.extend(self.lte.map(one).transpose()?.map(Test::UpTo));
        tests.extend(self.prefix.map(Test::Prefix));
        tests.extend(self.suffix.map(Test::Suffix));
        tests.extend(self.contains.map(Test::Contains));
        for test in &tests {
            match test {
                Test::In(list) | Test::NotIn(list) if list.is_empty() => {
                    return Err(format!("column '{column}': the list is empty"));
                }
                Test::Above(Operand::Boolean(_))
                | Test::From(Operand::Boolean(_))
                | Test::Below(Operand::Boolean(_))
                | Test::UpTo(Operand::Boolean(_)) => {
                    return Err(format!("column '{column}': true and false have no order"));
                }
                _ => {}
            }
        }
        if tests.is_empty() {
            return Err(format!(
                "column '{column}': no operator; expected one of 'eq', 'ne', 'in', 'not_in', 'gt', 'gte', 'lt', 'lte', \
                 'prefix', 'suffix', 'contains', 'is_null'"
            ));
        }
        Ok(Condition { column, tests })
    }
}

fn operand(value: Value) -> Result<Operand, String> {
    match value {
        Value::Number(number) => Ok(Operand::Number(number.to_string())),
        Value::String(text) => Ok(Operand::Text(text)),
        Value::Bool(value) => Ok(Operand::Boolean(value)),
        Value::Null => Err("nothing equals NULL; use 'is_null'".to_owned()),
        _ => Err("expected a number, a text or a boolean".to_owned()),
    }
}
