//! Tiers on the way to a listing (上市培育梯队): each of three families of indicators reaches a level, and the levels together
//! give the tier. Rules are CEL over features, kept as data in seeds/.

use std::sync::LazyLock;

use serde::Deserialize;
use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureValue, Features},
    rule::{Expected, Inputs, Outcome, Rule, RuleContext},
};
use zhirong_proto::profile::v1::TierFamily;

/// The feature that rules of products look at.
pub const FEATURE: &str = "listing_tier";
/// Rules of tiers look at features alone.
const NO_INPUTS: Inputs = Inputs { requested_fen: 0, term_months: 0, lpr_1y_ppm: 0 };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: i32,
    families: Vec<FamilyFile>,
    tiers: Vec<Tier>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FamilyFile {
    family: String,
    name_zh: String,
    levels: Vec<LevelFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LevelFile {
    level: i32,
    rule: String,
    text_zh: String,
}

/// One tier.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Slug, as rules write it.
    pub tier: String,
    /// Name for people.
    pub name_zh: String,
    minimum_sum: i32,
    minimum_best: i32,
}

/// The rules, compiled.
pub struct Tiers {
    /// Counts up with every change.
    pub version: i32,
    families: Vec<Family>,
    tiers: Vec<Tier>,
}

struct Family {
    family: String,
    name_zh: String,
    /// Highest first.
    levels: Vec<Level>,
}

struct Level {
    level: i32,
    rule: Rule,
    text_zh: String,
}

static STANDARD: LazyLock<Result<Tiers, String>> =
    LazyLock::new(|| Tiers::parse(include_str!("../../../seeds/listing_tiers.yaml")));

impl Tiers {
    /// The rules compiled in from seeds/.
    ///
    /// # Errors
    /// Says what is broken, which a test excludes.
    pub fn standard() -> Result<&'static Self, String> {
        STANDARD.as_ref().map_err(Clone::clone)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = serde_norway::from_str(text).map_err(|error| format!("listing_tiers.yaml: {error}"))?;
        let level = |level: LevelFile| {
            let rule = Rule::compile(&level.rule, FeatureDictionary::standard(), Expected::Bool)
                .map_err(|error| format!("listing_tiers.yaml: `{}`: {error}", level.rule))?;
            Ok(Level { level: level.level, rule, text_zh: level.text_zh })
        };
        let families = file.families.into_iter().map(|family| {
            let levels = family.levels.into_iter().map(level).collect::<Result<Vec<_>, String>>()?;
            if !levels.is_sorted_by(|higher, lower| higher.level > lower.level) {
                return Err(format!("listing_tiers.yaml: the levels of `{}` must fall", family.family));
            }
            Ok(Family { family: family.family, name_zh: family.name_zh, levels })
        });
        Ok(Self { version: file.version, families: families.collect::<Result<_, String>>()?, tiers: file.tiers })
    }

    /// Features that the tier rests on.
    pub fn features(&self) -> impl Iterator<Item = &str> {
        let levels = self.families.iter().flat_map(|family| &family.levels);
        levels.flat_map(|level| level.rule.features()).map(String::as_str)
    }

    /// Each family's level, and the tier that they reach; nothing where they reach none.
    #[must_use]
    pub fn judge(&self, features: &Features) -> (Vec<TierFamily>, Option<&Tier>) {
        let context = RuleContext::new(features, NO_INPUTS);
        let families: Vec<TierFamily> = self.families.iter().map(|family| family.judge(&context)).collect();
        let sum = families.iter().fold(0_i32, |sum, family| sum.saturating_add(family.level));
        let best = families.iter().map(|family| family.level).max().unwrap_or(0);
        let tier = self.tiers.iter().find(|tier| sum >= tier.minimum_sum && best >= tier.minimum_best);
        (families, tier)
    }
}

impl Family {
    fn judge(&self, context: &RuleContext) -> TierFamily {
        let mut told =
            TierFamily { family: self.family.clone(), name_zh: self.name_zh.clone(), ..TierFamily::default() };
        for level in &self.levels {
            match level.rule.evaluate(context) {
                Outcome::Value(FeatureValue::Bool(true)) => {
                    told.level = level.level;
                    return told;
                }
                Outcome::Unknown { missing } => told.missing = missing,
                Outcome::Value(_) | Outcome::Failed(_) => told.missing.clear(),
            }
            // The last one that fails is the next to be reached.
            told.next_zh.clone_from(&level.text_zh);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(numbers: &[(&str, i64)], high_tech: bool) -> Features {
        let numbers = numbers.iter().map(|(name, number)| ((*name).to_owned(), FeatureValue::Int(*number)));
        numbers.chain([("is_high_tech".to_owned(), FeatureValue::Bool(high_tech))]).collect()
    }

    fn levels(features: &Features) -> (Vec<i32>, &'static str) {
        let (families, tier) = Tiers::standard().unwrap().judge(features);
        (families.iter().map(|family| family.level).collect(), tier.map_or("", |tier| tier.tier.as_str()))
    }

    #[test]
    fn levels_of_three_families_give_the_tier() {
        let revenue = |revenue, profit| [("annual_revenue_fen", revenue), ("net_profit_fen", profit)];
        let large = revenue(30_000_000_000, 5_000_000_000);
        let wooed = [("investor_count", 2), ("valuation_fen", 30_000_000_000)];
        let able = [("invention_patent_count", 5), ("rd_expense_fen", 0), ("patent_count", 9)];
        let all = [large.as_slice(), &wooed, &able].concat();
        assert_eq!(levels(&features(&all, true)), (vec![3, 2, 2], "star"));
        // One fen less of profit.
        let less = [revenue(30_000_000_000, 4_999_999_999).as_slice(), &wooed, &able].concat();
        assert_eq!(levels(&features(&less, true)), (vec![2, 2, 2], "growth"));
        assert_eq!(levels(&features(&[large.as_slice(), &wooed].concat(), true)), (vec![3, 2, 0], "growth"));
        assert_eq!(levels(&features(&revenue(10_000_000_000, 1_000_000_000), false)), (vec![2, 0, 0], "seed"));
        assert_eq!(levels(&features(&revenue(2_000_000_000, 1), false)), (vec![1, 0, 0], ""));
        assert_eq!(levels(&features(&[], false)), (vec![0, 0, 0], ""));
    }

    #[test]
    fn what_the_next_level_asks_is_told() {
        let (families, _) = Tiers::standard().unwrap().judge(&features(&[("patent_count", 3)], false));
        let innovation = families.iter().find(|family| family.family == "innovation").unwrap();
        assert_eq!((innovation.level, innovation.next_zh.as_str()), (1, "高新技术企业且发明专利5件以上"));
        assert_eq!(innovation.missing, ["invention_patent_count"]);
    }
}
