//! The type check of a rule: walks the parsed expression once.

use std::collections::BTreeMap;

use cel::{
    Program,
    common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators},
};

use super::{Expected, INPUTS, RuleError, type_word, type_word_zh};
use crate::feature::{FeatureDictionary, FeatureName, FeatureType};

/// Deepest tree that is accepted. A rule runs on its caller's stack, up to 40 KiB a level in a debug build: this is at most
/// 1 MiB, half of what a worker thread has.
const DEEPEST_TREE: usize = 24;

/// The longest name quoted in a message.
const LONGEST_NAME: usize = 64;

/// Checks a program and gives the features it looks at, with the types they must have.
pub(super) fn check(
    program: &Program,
    text: &str,
    dictionary: &FeatureDictionary,
    expected: Expected,
) -> Result<BTreeMap<FeatureName, FeatureType>, RuleError> {
    let mut checker = Checker { program, text, dictionary, features: BTreeMap::new(), depth: 0 };
    let wanted = match expected {
        Expected::Bool => FeatureType::Bool,
        Expected::Int => FeatureType::Int,
    };
    checker.must_be(program.expression(), wanted)?;
    Ok(checker.features)
}

struct Checker<'a> {
    program: &'a Program,
    text: &'a str,
    dictionary: &'a FeatureDictionary,
    features: BTreeMap<FeatureName, FeatureType>,
    depth: usize,
}

impl Checker<'_> {
    fn must_be(&mut self, expression: &IdedExpr, wanted: FeatureType) -> Result<(), RuleError> {
        let found = self.type_of(expression)?;
        if found == wanted {
            return Ok(());
        }
        Err(self.error(
            expression,
            format!("{} is needed here, this is {}", type_word(wanted), type_word(found)),
            format!("此处需要{}，实际为{}", type_word_zh(wanted), type_word_zh(found)),
        ))
    }

    fn type_of(&mut self, expression: &IdedExpr) -> Result<FeatureType, RuleError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEEPEST_TREE {
            let why = format!(
                "the rule nests deeper than {DEEPEST_TREE} operators; split it, or group long sums with brackets"
            );
            let zh = format!("规则嵌套超过 {DEEPEST_TREE} 层，请拆分，或用括号给长式分组");
            return Err(self.error(expression, why, zh));
        }
        let kind = self.type_here(expression)?;
        self.depth = self.depth.saturating_sub(1);
        Ok(kind)
    }

    fn type_here(&mut self, expression: &IdedExpr) -> Result<FeatureType, RuleError> {
        match &expression.expr {
            Expr::Literal(literal) => self.literal(expression, literal),
            Expr::Ident(name) => self.name(expression, name),
            Expr::Call(call) if call.target.is_none() => self.call(expression, call),
            Expr::Call(call) => Err(self.no_function(expression, &call.func_name)),
            Expr::List(_) => Err(self.error(expression, "a list stands only after `in`", "列表只能写在 `in` 之后")),
            Expr::Comprehension(_) => {
                let why = "all, exists, map and filter are not for rules";
                Err(self.error(expression, why, "规则不支持 all、exists、map、filter"))
            }
            Expr::Select(select) => Err(self.error(
                expression,
                format!("a feature has no part `{}`", select.field),
                format!("特征没有 `{}` 这一部分", select.field),
            )),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(self.error(expression, "maps and structures are not for rules", "规则不支持映射和结构"))
            }
        }
    }

    fn literal(&self, expression: &IdedExpr, literal: &LiteralValue) -> Result<FeatureType, RuleError> {
        match literal {
            LiteralValue::Boolean(_) => Ok(FeatureType::Bool),
            LiteralValue::Int(_) => Ok(FeatureType::Int),
            LiteralValue::String(_) => Ok(FeatureType::Text),
            LiteralValue::Double(_) | LiteralValue::UInt(_) => Err(self.error(
                expression,
                "numbers are integers without suffix: amounts in fen, rates in ppm (3.45 % is 34500)",
                "数值必须为不带后缀的整数：金额以分计，利率以百万分之一计（3.45% 写作 34500）",
            )),
            LiteralValue::Bytes(_) | LiteralValue::Null => {
                Err(self.error(expression, "bytes and null are not for rules", "规则不支持字节串和 null"))
            }
        }
    }

    fn name(&mut self, expression: &IdedExpr, name: &str) -> Result<FeatureType, RuleError> {
        if INPUTS.contains(&name) {
            return Ok(FeatureType::Int);
        }
        match self.dictionary.get(name) {
            Some(feature) => {
                self.features.insert(name.to_owned(), feature.kind);
                Ok(feature.kind)
            }
            None => Err(self.error(
                expression,
                format!("there is no feature `{name}`"),
                format!("没有名为 `{name}` 的特征"),
            )),
        }
    }

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr) -> Result<FeatureType, RuleError> {
        use FeatureType::{Bool, Int};
        match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, operands) => {
                for operand in operands {
                    self.must_be(operand, Bool)?;
                }
                Ok(Bool)
            }
            (operators::LOGICAL_NOT, [operand]) => self.must_be(operand, Bool).map(|()| Bool),
            (operators::NEGATE, [operand]) => self.must_be(operand, Int).map(|()| Int),
            (
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO
                | "min"
                | "max",
                [left, right],
            ) => {
                self.must_be(left, Int)?;
                self.must_be(right, Int)?;
                Ok(Int)
            }
            (
                operators::GREATER | operators::GREATER_EQUALS | operators::LESS | operators::LESS_EQUALS,
                [left, right],
            ) => {
                self.must_be(left, Int)?;
                self.must_be(right, Int)?;
                Ok(Bool)
            }
            (operators::EQUALS | operators::NOT_EQUALS, [left, right]) => {
                let kind = self.type_of(left)?;
                self.must_be(right, kind)?;
                Ok(Bool)
            }
            (operators::IN, [element, list]) => self.member(element, list),
            (operators::CONDITIONAL, [condition, yes, no]) => {
                self.must_be(condition, Bool)?;
                let kind = self.type_of(yes)?;
                self.must_be(no, kind)?;
                Ok(kind)
            }
            ("min" | "max", _) => Err(self.error(
                expression,
                format!("`{}` takes two numbers", call.func_name),
                format!("`{}` 需要两个数值", call.func_name),
            )),
            (other, _) => Err(self.no_function(expression, other)),
        }
    }

    fn member(&mut self, element: &IdedExpr, list: &IdedExpr) -> Result<FeatureType, RuleError> {
        let kind = self.type_of(element)?;
        let Expr::List(members) = &list.expr else {
            let why = "a list such as ['C35', 'C39'] is needed after `in`";
            return Err(self.error(list, why, "`in` 之后需要列表，例如 ['C35', 'C39']"));
        };
        for member in &members.elements {
            self.must_be(member, kind)?;
        }
        Ok(FeatureType::Bool)
    }

    fn no_function(&self, expression: &IdedExpr, name: &str) -> RuleError {
        let name: String = name.chars().take(LONGEST_NAME).collect();
        self.error(
            expression,
            format!("there is no function `{name}` in rules; there are min and max"),
            format!("规则中没有函数 `{name}`，可用 min 和 max"),
        )
    }

    fn error(&self, expression: &IdedExpr, message: impl Into<String>, zh: impl Into<String>) -> RuleError {
        error_at(self.program, self.text, expression, message, zh)
    }
}

/// An error where an expression begins.
pub(super) fn error_at(
    program: &Program,
    text: &str,
    expression: &IdedExpr,
    message: impl Into<String>,
    zh: impl Into<String>,
) -> RuleError {
    let start = program.source_info().offset_for(expression.id).map_or(0, |(start, _)| start);
    RuleError::at(text, usize::try_from(start).unwrap_or(0), message, zh)
}
