//! What is refused before the parser sees it.
//!
//! The parser and the interpreter are recursive, and a stack overflow ends the whole process: nothing can catch it. So the
//! brackets and signs of a text are counted first. The count is only worth something if this scanner and the parser's lexer
//! agree on where texts and comments begin and end; whatever would make that hard (escapes, triple quotes, escaped names) no rule
//! needs, and is refused.

use super::RuleError;

/// Longest rule, in bytes.
pub const LONGEST: usize = 8192;
/// Deepest nesting of brackets.
const DEEPEST: usize = 32;
/// Most signs: characters of operators, `in`, opening brackets. Each may be one more level of the parser's stack.
const MOST_SIGNS: usize = 512;
/// Most choices `?:`, which nest to the right without brackets.
const MOST_CHOICES: usize = 32;

/// Refuses what is too long, too deep, or uses characters that rules do without.
pub(super) fn check(text: &str) -> Result<(), RuleError> {
    if text.trim().is_empty() {
        return Err(RuleError::at(text, 0, "the rule is empty", "规则为空"));
    }
    if text.len() > LONGEST {
        let why = format!("the rule is longer than {LONGEST} bytes");
        return Err(RuleError::at(text, 0, why, format!("规则超过 {LONGEST} 字节")));
    }
    let mut counts = Counts::default();
    let mut inside = Inside::Code;
    let mut word_at: Option<usize> = None;
    for (at, character) in text.char_indices() {
        let refuse = |why: String, zh: String| Err(RuleError::at(text, at, why, zh));
        match inside {
            Inside::Comment if character == '\n' => inside = Inside::Code,
            Inside::Text { quote, .. } if character == quote => inside = Inside::Code,
            Inside::Text { .. } if matches!(character, '\\' | '\n' | '\r') => {
                return refuse(
                    "a text in quotes has no backslash and ends on its line".to_owned(),
                    "引号内的文本不能含反斜杠，且须在同一行结束".to_owned(),
                );
            }
            Inside::Comment | Inside::Text { .. } => {}
            Inside::Code => {
                let rest = text.get(at..).unwrap_or_default();
                if character.is_ascii_alphanumeric() || character == '_' {
                    word_at = word_at.or(Some(at));
                    continue;
                }
                if word_at.take().is_some_and(|start| ends_with_in(text.get(start..at).unwrap_or_default())) {
                    counts.signs = counts.signs.saturating_add(1);
                }
                match character {
                    '"' | '\'' if rest.starts_with("'''") || rest.starts_with("\"\"\"") => {
                        return refuse("triple quotes are not for rules".to_owned(), "规则不支持三引号".to_owned());
                    }
                    '"' | '\'' => inside = Inside::Text { quote: character, at },
                    '/' if rest.starts_with("//") => inside = Inside::Comment,
                    '\\' | '`' => {
                        return refuse(format!("`{character}` is not for rules"), format!("规则不支持 `{character}`"));
                    }
                    other if !other.is_ascii() => {
                        return refuse(
                            format!("`{other}` stands outside quotes; use half-width signs and names of features"),
                            format!("`{other}` 出现在引号之外；请使用半角符号和特征名称"),
                        );
                    }
                    other => counts.sign(other),
                }
                if let Some((why, zh)) = counts.too_much() {
                    return refuse(why, zh);
                }
            }
        }
    }
    // A text that never ends is no text to the lexer: it drops the quote and reads on, uncounted here.
    match inside {
        Inside::Text { at, .. } => {
            Err(RuleError::at(text, at, "the quote that opens here is never closed", "此处的引号没有闭合"))
        }
        Inside::Comment | Inside::Code => Ok(()),
    }
}

/// Where the scanner is.
#[derive(Clone, Copy)]
enum Inside {
    Code,
    Comment,
    Text { quote: char, at: usize },
}

#[derive(Default)]
struct Counts {
    depth: usize,
    signs: usize,
    choices: usize,
}

impl Counts {
    fn sign(&mut self, character: char) {
        match character {
            '(' | '[' | '{' => self.depth = self.depth.saturating_add(1),
            ')' | ']' | '}' => self.depth = self.depth.saturating_sub(1),
            '?' => self.choices = self.choices.saturating_add(1),
            _ => {}
        }
        if matches!(
            character,
            '(' | '[' | '{' | '+' | '-' | '*' | '/' | '%' | '!' | '<' | '>' | '=' | '&' | '|' | '?' | '.'
        ) {
            self.signs = self.signs.saturating_add(1);
        }
    }

    fn too_much(&self) -> Option<(String, String)> {
        if self.depth > DEEPEST {
            let why = format!("the rule nests brackets deeper than {DEEPEST}");
            Some((why, format!("规则的括号嵌套超过 {DEEPEST} 层")))
        } else if self.choices > MOST_CHOICES {
            let why = format!("the rule has more than {MOST_CHOICES} choices `?:`");
            Some((why, format!("规则中的 `?:` 超过 {MOST_CHOICES} 个")))
        } else if self.signs > MOST_SIGNS {
            let why = format!("the rule has more than {MOST_SIGNS} operators and brackets; split it into conditions");
            Some((why, format!("规则的运算符和括号超过 {MOST_SIGNS} 个，请拆成多个条件")))
        } else {
            None
        }
    }
}

/// Whether a word is, or to the lexer ends in, the operator `in`: `1in` is a number and an `in`.
fn ends_with_in(word: &str) -> bool {
    word == "in" || (word.starts_with(|first: char| first.is_ascii_digit()) && word.ends_with("in"))
}
