//! What institutions intend to lend by their strategic agreements, beside what they really lent.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use zhirong_kernel::money::Fen;
use zhirong_proto::{catalog::v1::InstitutionIntent, matching::v1::InstitutionOutcome};

/// One institution.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
pub struct IntentLine {
    /// Its id.
    pub institution_id: String,
    /// Its Chinese name; empty without an agreement.
    pub name_zh: String,
    /// Its agreements.
    pub agreements: i64,
    /// Sum of what they intend, fen.
    pub intent_fen: i64,
    /// Loans paid out.
    pub loans_disbursed: i64,
    /// Sum of what was paid out, fen.
    pub disbursed_fen: i64,
    /// What was paid out as a share of the intent, ppm rounded down; none without an intent.
    pub kept_ppm: Option<i64>,
}

/// Puts intents and loans side by side, in order of id.
pub fn beside(intents: Vec<InstitutionIntent>, lent: Vec<InstitutionOutcome>) -> Vec<IntentLine> {
    let mut lines: BTreeMap<String, IntentLine> = BTreeMap::new();
    for intent in intents {
        let line = lines.entry(intent.institution_id.clone()).or_default();
        *line = IntentLine {
            institution_id: intent.institution_id,
            name_zh: intent.name_zh,
            agreements: intent.agreements,
            intent_fen: intent.intent_fen,
            ..IntentLine::default()
        };
    }
    for lent in lent {
        let line = lines.entry(lent.institution_id.clone()).or_default();
        line.institution_id = lent.institution_id;
        line.loans_disbursed = lent.loans_disbursed;
        line.disbursed_fen = lent.disbursed_fen;
    }
    let mut lines: Vec<IntentLine> = lines.into_values().collect();
    for line in &mut lines {
        line.kept_ppm = share(line.disbursed_fen, line.intent_fen);
    }
    lines
}

fn share(part: i64, whole: i64) -> Option<i64> {
    let ppm = i128::from(part).checked_mul(1_000_000)?.checked_div(whole.into())?;
    i64::try_from(ppm).ok()
}

impl fmt::Display for IntentLine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name_zh.is_empty() { &self.institution_id } else { &self.name_zh };
        let yuan = |fen| Fen::new(fen).to_yuan_string();
        write!(
            out,
            "{name}  意向 intended {} CNY ({} 份 agreements)，实放 lent {} CNY ({} 笔 loans)",
            yuan(self.intent_fen),
            self.agreements,
            yuan(self.disbursed_fen),
            self.loans_disbursed
        )?;
        match self.kept_ppm {
            Some(ppm) => {
                let (percent, rest) = (ppm.div_euclid(10_000), ppm.rem_euclid(10_000).div_euclid(100));
                write!(out, "，{percent}.{rest:02} %")
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intent_and_loans_stand_side_by_side_and_are_never_added() {
        let intent = |id: &str, intent_fen| InstitutionIntent {
            institution_id: id.to_owned(),
            name_zh: "示例银行".to_owned(),
            agreements: 1,
            intent_fen,
        };
        let lent = |id: &str, disbursed_fen| InstitutionOutcome {
            institution_id: id.to_owned(),
            loans_disbursed: 2,
            disbursed_fen,
            ..InstitutionOutcome::default()
        };
        let lines = beside(vec![intent("b", i64::MAX), intent("a", 3)], vec![lent("c", 7), lent("a", 1)]);
        let figures: Vec<_> = lines
            .iter()
            .map(|line| (line.institution_id.as_str(), line.intent_fen, line.disbursed_fen, line.kept_ppm))
            .collect();
        assert_eq!(figures, [("a", 3, 1, Some(333_333)), ("b", i64::MAX, 0, Some(0)), ("c", 0, 7, None)]);
        assert!(lines[0].to_string().ends_with("33.33 %"), "{}", lines[0]);
    }
}
