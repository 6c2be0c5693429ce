//! The feature dictionary: what may be known of an enterprise, with type, unit, Chinese label, and the category of government
//! data it comes from. Rules, scorecards and category schemas may use these names and no others.

mod better;

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use serde::{Deserialize, Serialize};

pub use better::Better;

/// Type of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FeatureType {
    /// A 64-bit integer in the feature's unit.
    Int,
    /// Yes or no.
    Bool,
    /// A code or a class.
    Text,
}

impl fmt::Display for FeatureType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Int => "int",
            Self::Bool => "bool",
            Self::Text => "text",
        })
    }
}

/// The units of integers: money, shares and rates, time, numbers of things, electric energy, volume, areas, scores.
pub const UNITS: [&str; 9] = ["fen", "ppm", "days", "count", "kwh", "m3", "m2", "mu", "points"];

/// How several records become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// The value of the latest observation.
    Latest,
    /// The sum of all.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The number of records.
    Count,
}

/// One entry of the dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// Name in rules.
    pub name: FeatureName,
    /// Type of its values.
    pub kind: FeatureType,
    /// One of [`UNITS`]; empty for flags and texts.
    pub unit: String,
    /// Name for people.
    pub label_zh: String,
    /// Category of data that it comes from; `profile` for what the scorecard computes.
    pub category: String,
    /// How several records become one value.
    pub aggregate: Aggregate,
    /// Only records observed within this many months before the day count; none counts all.
    pub window_months: Option<u16>,
    /// Without an observation within this many days the value is too old to be used (时效); none never is.
    pub fresh_days: Option<u16>,
    /// Which values are better for credit.
    pub better: Better,
    /// What it means, for people.
    pub definition_zh: String,
}

/// A value of a feature.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FeatureValue {
    /// Yes or no.
    Bool(bool),
    /// An integer in the feature's unit.
    Int(i64),
    /// A code or a class.
    Text(String),
}

impl FeatureValue {
    /// The value's type.
    #[must_use]
    pub fn kind(&self) -> FeatureType {
        match self {
            Self::Bool(_) => FeatureType::Bool,
            Self::Int(_) => FeatureType::Int,
            Self::Text(_) => FeatureType::Text,
        }
    }
}

/// Name of a feature, as rules write it.
pub type FeatureName = String;

/// What is known of one enterprise. A feature that is missing is absent, never zero.
pub type Features = BTreeMap<FeatureName, FeatureValue>;

/// All features there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureDictionary {
    features: BTreeMap<FeatureName, Feature>,
}

/// Why a dictionary can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct Error {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub why: String,
}

static STANDARD: LazyLock<FeatureDictionary> = LazyLock::new(|| {
    FeatureDictionary::from_csv(include_str!("../data/features.csv")).unwrap_or_else(|_| FeatureDictionary::empty())
});

impl FeatureDictionary {
    /// The dictionary compiled into this version.
    #[must_use]
    pub fn standard() -> &'static Self {
        &STANDARD
    }

    fn empty() -> Self {
        Self { features: BTreeMap::new() }
    }

    /// Reads `name,type,unit,label_zh,category,aggregate,window_months,fresh_days,better,definition_zh` rows with a head line.
    ///
    /// # Errors
    /// When a row can't be read or a name stands twice.
    pub fn from_csv(text: &str) -> Result<Self, Error> {
        let mut dictionary = Self::empty();
        for (index, row) in text.lines().enumerate().skip(1).filter(|(_, row)| !row.trim().is_empty()) {
            let wrong = |why: String| Error { line: index.saturating_add(1), why };
            let cells: Vec<&str> = row.split(',').map(str::trim).collect();
            let [name, kind, unit, label_zh, category, aggregate, window_months, fresh_days, better, definition_zh] =
                cells.as_slice()
            else {
                return Err(wrong("ten columns were expected".to_owned()));
            };
            let of_type = match *kind {
                "int" => FeatureType::Int,
                "bool" => FeatureType::Bool,
                "text" => FeatureType::Text,
                other => return Err(wrong(format!("there is no type `{other}`"))),
            };
            let feature = Feature {
                name: (*name).to_owned(),
                kind: of_type,
                unit: (*unit).to_owned(),
                label_zh: (*label_zh).to_owned(),
                category: (*category).to_owned(),
                aggregate: match *aggregate {
                    "latest" => Aggregate::Latest,
                    "sum" => Aggregate::Sum,
                    "max" => Aggregate::Max,
                    "min" => Aggregate::Min,
                    "count" => Aggregate::Count,
                    other => return Err(wrong(format!("there is no aggregate `{other}`"))),
                },
                window_months: limit(window_months).map_err(wrong)?,
                fresh_days: limit(fresh_days).map_err(wrong)?,
                better: Better::read(better, of_type).map_err(wrong)?,
                definition_zh: (*definition_zh).to_owned(),
            };
            if feature.definition_zh.is_empty() {
                return Err(wrong("a definition is missing".to_owned()));
            }
            if !is_name(&feature.name) {
                return Err(wrong(format!("`{name}` is no name: a-z, 0-9 and _, beginning with a letter")));
            }
            let fits = match feature.kind {
                FeatureType::Int => UNITS.contains(unit),
                FeatureType::Bool | FeatureType::Text => unit.is_empty(),
            };
            if !fits {
                return Err(wrong(format!("`{unit}` is no unit of a feature of type {kind}")));
            }
            if feature.aggregate != Aggregate::Latest && feature.kind != FeatureType::Int {
                return Err(wrong(format!("a {kind} has no {aggregate}, only a latest value")));
            }
            if dictionary.features.insert(feature.name.clone(), feature).is_some() {
                return Err(wrong(format!("`{name}` stands twice")));
            }
        }
        Ok(dictionary)
    }

    /// The feature with a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Feature> {
        self.features.get(name)
    }

    /// All features in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Feature> {
        self.features.values()
    }
}

/// A positive number, or none.
fn limit(cell: &str) -> Result<Option<u16>, String> {
    if cell.is_empty() {
        return Ok(None);
    }
    match cell.parse() {
        Ok(0) | Err(_) => Err(format!("`{cell}` is no number from 1 to 65535")),
        Ok(limit) => Ok(Some(limit)),
    }
}

/// Whether rules can use it as a name: neither a word of CEL nor a name that rules have already.
fn is_name(name: &str) -> bool {
    const TAKEN: [&str; 6] = ["in", "true", "false", "null", "min", "max"];
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !TAKEN.contains(&name)
        && !crate::rule::INPUTS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_dictionary_is_whole() {
        let dictionary = FeatureDictionary::from_csv(include_str!("../data/features.csv")).unwrap();
        assert_eq!(&dictionary, FeatureDictionary::standard());
        assert!(dictionary.iter().count() >= 60);
        let categories: Vec<&str> =
            include_str!("../data/categories.csv").lines().skip(1).map(|row| row.split(',').next().unwrap()).collect();
        assert_eq!(categories.len(), 32);
        for feature in dictionary.iter() {
            assert!(
                feature.category == "profile" || categories.contains(&feature.category.as_str()),
                "{}",
                feature.name
            );
            assert_eq!(feature.unit.is_empty(), feature.kind != FeatureType::Int, "{}", feature.name);
        }
        for category in categories {
            assert!(dictionary.iter().any(|feature| feature.category == category), "{category} feeds no feature");
        }
    }

    /// What is added up over observations covers the months that its label says; a latest observation says its own.
    #[test]
    fn a_label_that_names_months_has_that_window() {
        for feature in FeatureDictionary::standard().iter() {
            let months = feature.label_zh.strip_prefix('近').and_then(|rest| rest.split_once("个月")?.0.parse().ok());
            if let Some(months) = months
                && feature.aggregate != Aggregate::Latest
            {
                assert_eq!(feature.window_months, Some(months), "{}", feature.name);
            }
        }
    }

    #[test]
    fn a_broken_row_is_named() {
        let error = FeatureDictionary::from_csv(
            "head\na,int,fen,甲,profile,latest,,,higher,义\na,int,fen,乙,profile,latest,,,higher,义",
        )
        .unwrap_err();
        assert_eq!(error.line, 3);
        for row in [
            "a,float,,甲,profile,latest,,,higher,义",
            "a,int,yuan,甲,profile,latest,,,higher,义",
            "a,int,,甲,profile,latest,,,higher,义",
            "a,text,fen,甲,profile,latest,,,none,义",
            "a,bool,,甲,profile,sum,,,higher,义",
            "a,int,fen,甲,profile,mean,,,higher,义",
            "a,int,fen,甲,profile,latest,,higher,义",
            "a,int,fen,甲,profile,latest,0,,higher,义",
            "a,int,fen,甲,profile,latest,,many,higher,义",
            "a,int,fen,甲,profile,latest,,,higher,",
            "A,int,fen,甲,profile,latest,,,higher,义",
            "lpr_1y_ppm,int,ppm,甲,profile,latest,,,higher,义",
            "in,int,ppm,甲,profile,latest,,,higher,义",
            "a,int,fen,甲,profile,latest,,,,义",
            "a,int,fen,甲,profile,latest,,,A>B,义",
            "a,text,,甲,profile,latest,,,,义",
            "a,text,,甲,profile,latest,,,higher,义",
            "a,text,,甲,profile,latest,,,A>B>A,义",
            "a,text,,甲,profile,latest,,,A>,义",
        ] {
            assert_eq!(
                FeatureDictionary::from_csv(&format!("head\n{row}")).map_err(|error| error.line),
                Err(2),
                "{row}"
            );
        }
    }

    #[test]
    fn every_feature_can_be_used_in_a_rule() {
        use crate::rule::{Expected, Rule};
        let dictionary = FeatureDictionary::standard();
        for feature in dictionary.iter() {
            let text = match feature.kind {
                FeatureType::Int => format!("{} > 0", feature.name),
                FeatureType::Bool => feature.name.clone(),
                FeatureType::Text => format!("{} == 'A'", feature.name),
            };
            let rule = Rule::compile(&text, dictionary, Expected::Bool).unwrap();
            assert_eq!(rule.features(), std::slice::from_ref(&feature.name));
        }
    }
}
