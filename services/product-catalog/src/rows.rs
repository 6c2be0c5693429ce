//! Rules as typed rows (feature, operator, values, reason), for who does not write CEL. A row compiles to CEL and to a Chinese
//! sentence; whatever is wrong with it is said with the row's own words, not with a column of CEL nobody typed.

use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureType},
    rule::{Expected, INPUTS, Rule},
};
use zhirong_proto::catalog::v1::{Condition, ProductSpec, RowJoin, RuleOperator, RuleRow, product_spec::Terms};

use crate::validate::Violation;

mod number;

/// Most rows of a condition.
const MOST_ROWS: usize = 16;
/// Most values of a row.
const MOST_VALUES: usize = 200;
/// Longest sentence for the enterprise.
const LONGEST_SENTENCE: usize = 200;

/// One name that rules may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As rules write it.
    pub name: String,
    /// Type of its values.
    pub kind: FeatureType,
    /// Unit of its numbers; empty for flags and texts.
    pub unit: String,
    /// For people.
    pub label_zh: String,
    /// Category of data it comes from; `input` for what the enterprise asks for and the LPR.
    pub category: String,
}

/// Every name that rules may use, in order.
#[must_use]
pub fn names() -> Vec<Name> {
    let inputs = INPUTS.into_iter().zip([("fen", "申请金额"), ("months", "申请期限"), ("ppm", "一年期LPR")]).map(
        |(name, (unit, label_zh))| Name {
            name: name.to_owned(),
            kind: FeatureType::Int,
            unit: unit.to_owned(),
            label_zh: label_zh.to_owned(),
            category: "input".to_owned(),
        },
    );
    let features = FeatureDictionary::standard().iter().map(|feature| Name {
        name: feature.name.clone(),
        kind: feature.kind,
        unit: feature.unit.clone(),
        label_zh: feature.label_zh.clone(),
        category: feature.category.clone(),
    });
    let mut names: Vec<Name> = inputs.chain(features).collect();
    names.sort_by(|a, b| a.name.cmp(&b.name));
    names
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The row, from 0; none when it is the condition as a whole.
    pub row: Option<usize>,
    /// The field of the row, such as `values[2]`.
    pub field: String,
    /// One English sentence.
    pub message: String,
    /// The same in Chinese.
    pub message_zh: String,
}

/// What rows compile to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// CEL.
    pub expression: String,
    /// What is asked, in Chinese.
    pub label_zh: String,
    /// What the enterprise can do about it, in Chinese; may be empty.
    pub advice_zh: String,
}

/// Compiles rows to CEL.
///
/// # Errors
/// Everything that is wrong with any row.
pub fn compile(rows: &[RuleRow], join: RowJoin) -> Result<Compiled, Vec<Mistake>> {
    let whole = |message: String, message_zh: String| Mistake { row: None, field: String::new(), message, message_zh };
    if rows.is_empty() || rows.len() > MOST_ROWS {
        return Err(vec![whole(
            format!("a condition has 1 to {MOST_ROWS} rows"),
            format!("每个条件须有 1 至 {MOST_ROWS} 行"),
        )]);
    }
    let names = names();
    let mut mistakes = Vec::new();
    let mut compiled = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        match one(row, &names) {
            Ok(pair) => compiled.push(pair),
            Err(found) => mistakes.extend(found.into_iter().map(|mistake| Mistake { row: Some(index), ..mistake })),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let (sign, word) = if join == RowJoin::Any { (" || ", "，或") } else { (" && ", "，且") };
    let (expressions, labels): (Vec<String>, Vec<String>) = compiled.into_iter().unzip();
    let expression = expressions.join(sign);
    Rule::compile_to_save(&expression, FeatureDictionary::standard(), Expected::Bool)
        .map_err(|error| vec![whole(error.message, error.message_zh)])?;
    let advice: Vec<&str> = rows.iter().map(|row| row.advice_zh.as_str()).filter(|advice| !advice.is_empty()).collect();
    Ok(Compiled { expression, label_zh: labels.join(word), advice_zh: advice.join("；") })
}

/// One row as CEL and as a Chinese sentence.
fn one(row: &RuleRow, names: &[Name]) -> Result<(String, String), Vec<Mistake>> {
    let mistake = |field: &str, message: String, message_zh: String| Mistake {
        row: None,
        field: field.to_owned(),
        message,
        message_zh,
    };
    let mut found = Vec::new();
    for (field, sentence) in [("reason_zh", &row.reason_zh), ("advice_zh", &row.advice_zh)] {
        if sentence.chars().count() > LONGEST_SENTENCE || sentence.chars().any(char::is_control) {
            let message = format!("must have at most {LONGEST_SENTENCE} characters on one line");
            found.push(mistake(field, message, format!("须在同一行且不超过 {LONGEST_SENTENCE} 字")));
        }
    }
    let Some(name) = names.iter().find(|name| name.name == row.feature) else {
        let asked: String = row.feature.chars().take(64).collect();
        let message = format!("there is no feature `{asked}`");
        found.push(mistake("feature", message, format!("没有名为 `{asked}` 的特征")));
        return Err(found);
    };
    let operator = row.operator();
    let (kind, wanted) = (name.kind, Operands::of(operator));
    let Some(wanted) = wanted else {
        found.push(mistake("operator", "must be a known operator".to_owned(), "须选择比较方式".to_owned()));
        return Err(found);
    };
    if !wanted.kinds.contains(&kind) {
        let message = format!("`{}` is of type {kind}, which has no such comparison", name.name);
        found.push(mistake("operator", message, format!("“{}”不支持这种比较方式", name.label_zh)));
        return Err(found);
    }
    if !wanted.count.contains(&row.values.len()) {
        let (least, most) = (wanted.count.start(), wanted.count.end());
        let message = format!("must have {least} to {most} values, not {}", row.values.len());
        found.push(mistake("values", message, format!("须填写 {least} 至 {most} 个值")));
        return Err(found);
    }
    let mut literals = Vec::new();
    let mut shown = Vec::new();
    for (index, value) in row.values.iter().enumerate() {
        let read = match kind {
            FeatureType::Text => text(value),
            _ => number::parse(value, &name.unit).map(|number| (number.to_string(), number::show(number, &name.unit))),
        };
        match read {
            Ok((literal, words)) => {
                literals.push(literal);
                shown.push(words);
            }
            Err((message, zh)) => found.push(mistake(&format!("values[{index}]"), message, zh)),
        }
    }
    if !found.is_empty() {
        return Err(found);
    }
    let sentence = if row.reason_zh.is_empty() { wanted.sentence(name, &shown) } else { row.reason_zh.clone() };
    Ok((wanted.expression(&name.name, &literals), sentence))
}

/// How an operator is written, and what it takes.
struct Operands {
    kinds: &'static [FeatureType],
    count: std::ops::RangeInclusive<usize>,
    /// In CEL.
    sign: &'static str,
    /// In Chinese.
    word: &'static str,
    negated: bool,
}

impl Operands {
    fn of(operator: RuleOperator) -> Option<Self> {
        use FeatureType::{Bool, Int, Text};
        let new = |kinds: &'static [FeatureType], count, sign, word| Self { kinds, count, sign, word, negated: false };
        let number = |sign, word| new(&[Int], 1..=1, sign, word);
        Some(match operator {
            RuleOperator::Unspecified => return None,
            RuleOperator::Equal => new(&[Int, Text], 1..=1, "==", "为"),
            RuleOperator::NotEqual => new(&[Int, Text], 1..=1, "!=", "不为"),
            RuleOperator::Less => number("<", "低于"),
            RuleOperator::AtMost => number("<=", "不超过"),
            RuleOperator::Greater => number(">", "超过"),
            RuleOperator::AtLeast => number(">=", "不低于"),
            RuleOperator::In => new(&[Int, Text], 1..=MOST_VALUES, "in", "属于"),
            RuleOperator::NotIn => Self { negated: true, ..new(&[Int, Text], 1..=MOST_VALUES, "in", "不属于") },
            RuleOperator::IsTrue => new(&[Bool], 0..=0, "", "：是"),
            RuleOperator::IsFalse => Self { negated: true, ..new(&[Bool], 0..=0, "", "：否") },
        })
    }

    fn expression(&self, name: &str, literals: &[String]) -> String {
        let compared = match (self.sign, literals) {
            ("", _) => name.to_owned(),
            ("in", list) => format!("{name} in [{}]", list.join(", ")),
            (sign, list) => format!("{name} {sign} {}", list.concat()),
        };
        match (self.negated, self.sign) {
            (false, _) => compared,
            (true, "") => format!("!{compared}"),
            (true, _) => format!("!({compared})"),
        }
    }

    fn sentence(&self, name: &Name, shown: &[String]) -> String {
        format!("{}{}{}", name.label_zh, self.word, shown.join("、"))
    }
}

/// A text as a CEL literal. Rules do without escapes, so a quote can't be written at all.
fn text(value: &str) -> Result<(String, String), (String, String)> {
    let fits = (1..=64).contains(&value.chars().count())
        && !value.contains(['\'', '\\'])
        && !value.chars().any(char::is_control)
        && value.trim() == value;
    if fits {
        Ok((format!("'{value}'"), value.to_owned()))
    } else {
        Err((
            "must be a text of 1 to 64 characters without quotes, backslashes and blanks around it".to_owned(),
            "须为 1 至 64 字的文本，不含单引号、反斜杠和首尾空格".to_owned(),
        ))
    }
}

/// Writes the CEL, the label and the advice of every condition that is given as rows into the product. Gives what is wrong, and
/// the numbers of the conditions that are.
pub fn complete(spec: &mut ProductSpec) -> (Vec<Violation>, Vec<usize>) {
    let (mut violations, mut broken) = (Vec::new(), Vec::new());
    let Some(Terms::Credit(terms)) = &mut spec.terms else {
        return (violations, broken);
    };
    // As many as a product may have; what is beyond is refused without being compiled.
    for (index, condition) in terms.conditions.iter_mut().enumerate().take(32) {
        if condition.rows.is_empty() {
            continue;
        }
        let path = format!("spec.credit.conditions[{index}]");
        let found = complete_one(condition, &path);
        if !found.is_empty() {
            broken.push(index);
        }
        violations.extend(found);
    }
    (violations, broken)
}

fn complete_one(condition: &mut Condition, path: &str) -> Vec<Violation> {
    let compiled = match compile(&condition.rows, condition.row_join()) {
        Ok(compiled) => compiled,
        Err(mistakes) => {
            return mistakes
                .into_iter()
                .map(|mistake| Violation {
                    field: match mistake.row {
                        Some(row) => format!("{path}.rows[{row}].{}", mistake.field),
                        None => format!("{path}.rows"),
                    },
                    description: format!("{} ({})", mistake.message, mistake.message_zh),
                    is_rule: true,
                })
                .collect();
        }
    };
    if !condition.expression.is_empty() && condition.expression != compiled.expression {
        return vec![Violation {
            field: format!("{path}.expression"),
            description: format!("must be empty or what the rows compile to: {}", compiled.expression),
            is_rule: false,
        }];
    }
    condition.expression = compiled.expression;
    if condition.label_zh.is_empty() {
        condition.label_zh = compiled.label_zh;
    }
    if condition.advice_zh.is_empty() {
        condition.advice_zh = compiled.advice_zh;
    }
    Vec::new()
}

#[cfg(test)]
mod tests;
