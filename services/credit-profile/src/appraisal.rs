//! The three-dimension appraisal of patents: patent → technology value, team → growth, credit → risk. Pure: the same features
//! give the same range, in whole fen, rounded down once at each end.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::Deserialize;
use zhirong_kernel::feature::{FeatureDictionary, FeatureValue, Features};
use zhirong_proto::profile::v1::{AppraisalDimension as Dimension, AppraisalReason, IpAppraisal};

use crate::profile::value_message;

/// The feature that rules and formulas of pledge loans look at: the lower end of the range.
pub const FEATURE: &str = "ip_value_fen";
/// Without these there is nothing to appraise.
const PATENTS: &str = "patent_count";
const GRADE: &str = "credit_grade";
const ONE: i64 = 1_000_000;

/// The model; seeds/appraisal.yaml explains every key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    version: i32,
    technology: Vec<Technology>,
    growth: Vec<Growth>,
    risk: BTreeMap<String, i64>,
    risk_unknown_ppm: i64,
    spread_ppm: i64,
    spread_unknown_ppm: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Technology {
    feature: String,
    name_zh: String,
    #[serde(default)]
    each_fen: i64,
    #[serde(default)]
    most: i64,
    #[serde(default)]
    share_ppm: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Growth {
    feature: String,
    name_zh: String,
    bands: Vec<Band>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Band {
    below: Option<i64>,
    factor_ppm: i64,
}

static MODEL: LazyLock<Result<Model, String>> =
    LazyLock::new(|| Model::parse(include_str!("../../../seeds/appraisal.yaml")));

impl Model {
    /// The model compiled in from seeds/.
    ///
    /// # Errors
    /// Says what is broken, which a test excludes.
    pub fn standard() -> Result<&'static Self, String> {
        MODEL.as_ref().map_err(Clone::clone)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let model: Self = serde_norway::from_str(text).map_err(|error| format!("appraisal.yaml: {error}"))?;
        let features =
            model.technology.iter().map(|of| &of.feature).chain(model.growth.iter().map(|growth| &growth.feature));
        for feature in features {
            if FeatureDictionary::standard().get(feature).is_none() {
                return Err(format!("appraisal.yaml: there is no feature `{feature}`"));
            }
        }
        Ok(model)
    }

    /// Features that the value rests on.
    pub fn features(&self) -> impl Iterator<Item = &str> {
        let technology = self.technology.iter().map(|of| of.feature.as_str());
        technology.chain(self.growth.iter().map(|of| of.feature.as_str())).chain([PATENTS, GRADE])
    }

    /// Appraises; nothing for an enterprise without patents. Whose it is and by which profile is left to whoever asks.
    #[must_use]
    pub fn appraise(&self, features: &Features) -> Option<IpAppraisal> {
        if integer(features, PATENTS).unwrap_or(0) <= 0 {
            return None;
        }
        let mut reasons: Vec<AppraisalReason> =
            self.technology.iter().filter_map(|technology| technology.reason(features)).collect();
        let technology = reasons.iter().fold(0_i64, |sum, reason| sum.saturating_add(reason.amount_fen));
        let mut unknown = 0_i64;
        let mut growth = ONE;
        for reason in self.growth.iter().map(|of| of.reason(features)) {
            unknown = unknown.saturating_add(i64::from(reason.value.is_none()));
            growth = part(growth, reason.factor_ppm);
            reasons.push(reason);
        }
        let risk = self.risk(features);
        unknown = unknown.saturating_add(i64::from(risk.value.is_none()));
        let risk_ppm = risk.factor_ppm;
        reasons.push(risk);
        let spread = self.spread_ppm.saturating_add(unknown.saturating_mul(self.spread_unknown_ppm)).min(ONE);
        let value = |share: i64| product(technology, &[growth, risk_ppm, share]);
        Some(IpAppraisal {
            model_version: self.version,
            technology_fen: technology,
            growth_ppm: growth,
            risk_ppm,
            spread_ppm: spread,
            low_fen: value(ONE.saturating_sub(spread)),
            value_fen: value(ONE),
            high_fen: value(ONE.saturating_add(spread)),
            reasons,
            ..IpAppraisal::default()
        })
    }

    fn risk(&self, features: &Features) -> AppraisalReason {
        let (value, factor, text) = match features.get(GRADE) {
            Some(FeatureValue::Text(grade)) => {
                let factor = self.risk.get(grade).copied().unwrap_or(0);
                (features.get(GRADE), factor, format!("信用等级{grade}，按{}计", percent(factor)))
            }
            _ => (None, self.risk_unknown_ppm, format!("尚无信用等级，按{}计", percent(self.risk_unknown_ppm))),
        };
        AppraisalReason {
            dimension: Dimension::Risk.into(),
            feature: GRADE.to_owned(),
            value: value.map(value_message),
            amount_fen: 0,
            factor_ppm: factor,
            text_zh: text,
        }
    }
}

impl Technology {
    /// What it adds; nothing where it is not known, for what is missing is worth nothing as a pledge.
    fn reason(&self, features: &Features) -> Option<AppraisalReason> {
        let known = integer(features, &self.feature)?.max(0);
        let (amount, text) = if self.share_ppm > 0 {
            (part(known, self.share_ppm), format!("{}的{}", self.name_zh, percent(self.share_ppm)))
        } else {
            let counted = known.min(self.most);
            (counted.saturating_mul(self.each_fen), format!("{}{known}件，计{counted}件", self.name_zh))
        };
        Some(AppraisalReason {
            dimension: Dimension::Technology.into(),
            feature: self.feature.clone(),
            value: Some(value_message(&FeatureValue::Int(known))),
            amount_fen: amount,
            factor_ppm: 0,
            text_zh: text,
        })
    }
}

impl Growth {
    /// Its factor; what is not known counts as the lowest.
    fn reason(&self, features: &Features) -> AppraisalReason {
        let known = integer(features, &self.feature);
        let band = known.and_then(|known| self.bands.iter().find(|band| band.below.is_none_or(|below| known < below)));
        let lowest = self.bands.iter().map(|band| band.factor_ppm).min().unwrap_or(ONE);
        let factor = band.map_or(lowest, |band| band.factor_ppm);
        let text_zh = match known {
            Some(known) => format!("{}{known}人，系数{}", self.name_zh, percent(factor)),
            None => format!("{}未知，系数{}", self.name_zh, percent(factor)),
        };
        AppraisalReason {
            dimension: Dimension::Growth.into(),
            feature: self.feature.clone(),
            value: known.map(|known| value_message(&FeatureValue::Int(known))),
            amount_fen: 0,
            factor_ppm: factor,
            text_zh,
        }
    }
}

fn integer(features: &Features, name: &str) -> Option<i64> {
    match features.get(name)? {
        FeatureValue::Int(number) => Some(*number),
        _ => None,
    }
}

fn part(amount: i64, share_ppm: i64) -> i64 {
    product(amount, &[share_ppm])
}

/// An amount times shares in ppm, rounded down once.
fn product(amount: i64, shares_ppm: &[i64]) -> i64 {
    let (mut product, mut whole) = (i128::from(amount), 1_i128);
    for share in shares_ppm {
        product = product.saturating_mul(i128::from(*share));
        whole = whole.saturating_mul(i128::from(ONE));
    }
    i64::try_from(product.div_euclid(whole)).unwrap_or(i64::MAX)
}

/// Parts per million as a percentage of whole numbers.
fn percent(ppm: i64) -> String {
    format!("{}%", ppm / 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Features {
        Features::from([
            ("patent_count".to_owned(), FeatureValue::Int(10)),
            ("invention_patent_count".to_owned(), FeatureValue::Int(4)),
            ("rd_expense_fen".to_owned(), FeatureValue::Int(200_000_000)),
            ("talent_count".to_owned(), FeatureValue::Int(2)),
            ("social_insurance_headcount".to_owned(), FeatureValue::Int(120)),
            ("credit_grade".to_owned(), FeatureValue::Text("AA".to_owned())),
        ])
    }

    fn appraise(change: impl FnOnce(&mut Features)) -> IpAppraisal {
        let mut features = known();
        change(&mut features);
        Model::standard().unwrap().appraise(&features).unwrap()
    }

    #[test]
    fn technology_growth_and_risk_multiply_to_a_range() {
        let appraisal = appraise(|_| {});
        // 10 × 150 000 + 4 × 650 000 + 30 % of 2 000 000 CNY.
        assert_eq!(appraisal.technology_fen, 150_000_000 + 260_000_000 + 60_000_000);
        assert_eq!((appraisal.growth_ppm, appraisal.risk_ppm), (1_210_000, 900_000));
        assert_eq!(appraisal.value_fen, 511_830_000);
        assert_eq!((appraisal.low_fen, appraisal.high_fen), (435_055_500, 588_604_500));
        assert_eq!(appraisal.reasons.len(), 6);
        let sum: i64 = appraisal.reasons.iter().map(|reason| reason.amount_fen).sum();
        assert_eq!(sum, appraisal.technology_fen);
    }

    #[test]
    fn better_in_each_dimension_is_worth_more() {
        let before = appraise(|_| {}).value_fen;
        let set = |name: &'static str, value| move |of: &mut Features| drop(of.insert(name.to_owned(), value));
        assert!(appraise(set("invention_patent_count", FeatureValue::Int(5))).value_fen > before);
        assert!(appraise(set("talent_count", FeatureValue::Int(5))).value_fen > before);
        assert!(appraise(set("credit_grade", FeatureValue::Text("AAA".to_owned()))).value_fen > before);
        let ruined = appraise(set("credit_grade", FeatureValue::Text("D".to_owned())));
        assert_eq!((ruined.low_fen, ruined.high_fen), (0, 0));
    }

    #[test]
    fn what_is_not_known_lowers_the_value_and_widens_the_range() {
        let known = appraise(|_| {});
        for missing in ["talent_count", "social_insurance_headcount", "credit_grade"] {
            let appraisal = appraise(|of| drop(of.remove(missing)));
            assert!(appraisal.value_fen < known.value_fen, "{missing}");
            assert_eq!(appraisal.spread_ppm, known.spread_ppm + 100_000);
        }
        assert!(Model::standard().unwrap().appraise(&Features::new()).is_none());
        let none = Features::from([("patent_count".to_owned(), FeatureValue::Int(0))]);
        assert!(Model::standard().unwrap().appraise(&none).is_none());
    }
}
