//! The type check of a rule: walks the parsed expression once.

use std::collections::BTreeMap;

use cel::{
    Program,
    common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, operators},
};

use super::{Expected, INPUTS, RuleError, type_word};
use crate::feature::{FeatureDictionary, FeatureName, FeatureType};

/// Deepest tree that is accepted. A rule runs on its caller's stack, up to 40 KiB a level in a debug build: this is at most
/// 1 MiB, half of what a worker thread has.
const DEEPEST_TREE: usize = 24;

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
        Err(self.error(expression, format!("{} is needed here, this is {}", type_word(wanted), type_word(found))))
    }

    fn type_of(&mut self, expression: &IdedExpr) -> Result<FeatureType, RuleError> {
        self.depth = self.depth.saturating_add(1);
        if self.depth > DEEPEST_TREE {
            let why = format!(
                "the rule nests deeper than {DEEPEST_TREE} operators; split it, or group long sums with brackets"
            );
            return Err(self.error(expression, why));
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
            Expr::Call(call) => {
                Err(self.error(expression, format!("there is no function `{}` in rules", call.func_name)))
            }
            Expr::List(_) => Err(self.error(expression, "a list stands only after `in`".to_owned())),
            Expr::Comprehension(_) => {
                Err(self.error(expression, "all, exists, map and filter are not for rules".to_owned()))
            }
            Expr::Select(select) => Err(self.error(expression, format!("a feature has no part `{}`", select.field))),
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(self.error(expression, "maps and structures are not for rules".to_owned()))
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
                "numbers are integers without suffix: amounts in fen, rates in ppm (3.45 % is 34500)".to_owned(),
            )),
            LiteralValue::Bytes(_) | LiteralValue::Null => {
                Err(self.error(expression, "bytes and null are not for rules".to_owned()))
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
            None => Err(self.error(expression, format!("there is no feature `{name}`"))),
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
            ("min" | "max", _) => Err(self.error(expression, format!("`{}` takes two numbers", call.func_name))),
            (other, _) => Err(self.error(expression, format!("there is no function `{other}` in rules"))),
        }
    }

    fn member(&mut self, element: &IdedExpr, list: &IdedExpr) -> Result<FeatureType, RuleError> {
        let kind = self.type_of(element)?;
        let Expr::List(members) = &list.expr else {
            return Err(self.error(list, "a list such as ['C35', 'C39'] is needed after `in`".to_owned()));
        };
        for member in &members.elements {
            self.must_be(member, kind)?;
        }
        Ok(FeatureType::Bool)
    }

    fn error(&self, expression: &IdedExpr, message: String) -> RuleError {
        let start = self.program.source_info().offset_for(expression.id).map_or(0, |(start, _)| start);
        RuleError::at(self.text, usize::try_from(start).unwrap_or(0), message)
    }
}
