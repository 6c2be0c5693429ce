//! The feature dictionary: what may be known of an enterprise, with type, unit, Chinese label, and the category of government
//! data it comes from. Rules, scorecards and category schemas may use these names and no others.

use std::{collections::BTreeMap, fmt, sync::LazyLock};

use serde::{Deserialize, Serialize};

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
    pub name: String,
    /// Type of its values.
    pub kind: FeatureType,
    /// `fen`, `days`, `count`, `kwh`, `m3` or `points`; empty for flags and texts.
    pub unit: String,
    /// Name for people.
    pub label_zh: String,
    /// Category of data that it comes from; `profile` for what the scorecard computes.
    pub category: String,
    /// How several records become one value.
    pub aggregate: Aggregate,
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

/// What is known of one enterprise. A feature that is missing is absent, never zero.
pub type Features = BTreeMap<String, FeatureValue>;

/// All features there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureDictionary {
    features: BTreeMap<String, Feature>,
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
    FeatureDictionary::from_csv(include_str!("../data/features.csv"))
        .unwrap_or_else(|_| FeatureDictionary::empty())
});

impl FeatureDictionary {
    /// The dictionary compiled into this version.
    #[must_use]
    pub fn standard() -> &'static Self {
        &STANDARD
    }

    fn empty() -> Self {
        Self {
            features: BTreeMap::new(),
        }
    }

    /// Reads `name,type,unit,label_zh,category,aggregate` rows with a head line.
    ///
    /// # Errors
    /// When a row can't be read or a name stands twice.
    pub fn from_csv(text: &str) -> Result<Self, Error> {
        let mut dictionary = Self::empty();
        for (index, row) in text
            .lines()
            .enumerate()
            .skip(1)
            .filter(|(_, row)| !row.trim().is_empty())
        {
            let wrong = |why: String| Error {
                line: index.saturating_add(1),
                why,
            };
            let cells: Vec<&str> = row.split(',').map(str::trim).collect();
            let [name, kind, unit, label_zh, category, aggregate] = cells.as_slice() else {
                return Err(wrong("six columns were expected".to_owned()));
            };
            let feature = Feature {
                name: (*name).to_owned(),
                kind: match *kind {
                    "int" => FeatureType::Int,
                    "bool" => FeatureType::Bool,
                    "text" => FeatureType::Text,
                    other => return Err(wrong(format!("there is no type `{other}`"))),
                },
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
            };
            if dictionary
                .features
                .insert(feature.name.clone(), feature)
                .is_some()
            {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiled_in_dictionary_is_whole() {
        let dictionary = FeatureDictionary::from_csv(include_str!("../data/features.csv")).unwrap();
        assert_eq!(&dictionary, FeatureDictionary::standard());
        assert!(dictionary.iter().count() >= 60);
        let categories: Vec<&str> = include_str!("../data/categories.csv")
            .lines()
            .skip(1)
            .map(|row| row.split(',').next().unwrap())
            .collect();
        assert_eq!(categories.len(), 32);
        for feature in dictionary.iter() {
            assert!(
                feature.category == "profile" || categories.contains(&feature.category.as_str()),
                "{}",
                feature.name
            );
            assert_eq!(
                feature.unit.is_empty(),
                feature.kind != FeatureType::Int,
                "{}",
                feature.name
            );
        }
        for category in categories {
            assert!(
                dictionary
                    .iter()
                    .any(|feature| feature.category == category),
                "{category} feeds no feature"
            );
        }
    }

    #[test]
    fn a_broken_row_is_named() {
        let error = FeatureDictionary::from_csv(
            "head\na,int,fen,甲,profile,latest\na,int,fen,乙,profile,latest",
        )
        .unwrap_err();
        assert_eq!(error.line, 3);
        assert!(FeatureDictionary::from_csv("head\na,float,,甲,profile,latest").is_err());
    }
}
