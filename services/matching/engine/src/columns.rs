//! Where a profile's values stand: one column for each feature of the dictionary, then one for each input.

use std::{
    collections::HashMap,
    sync::{LazyLock, PoisonError, RwLock},
};

use zhirong_kernel::{
    feature::{FeatureDictionary, FeatureName, FeatureType, FeatureValue, Features},
    rule::{INPUTS, Inputs},
};

/// The columns of the standard dictionary.
pub(crate) static COLUMNS: LazyLock<Columns> = LazyLock::new(Columns::standard);

/// Place of a column.
pub(crate) type Column = usize;

/// Names and types of the columns.
pub(crate) struct Columns {
    names: Vec<FeatureName>,
    kinds: Vec<FeatureType>,
    places: HashMap<FeatureName, Column>,
}

impl Columns {
    fn standard() -> Self {
        let (mut names, mut kinds): (Vec<_>, Vec<_>) =
            FeatureDictionary::standard().iter().map(|feature| (feature.name.clone(), feature.kind)).unzip();
        let places = names.iter().cloned().zip(0..).collect();
        names.extend(INPUTS.map(ToOwned::to_owned));
        kinds.extend(INPUTS.map(|_| FeatureType::Int));
        Self { names, kinds, places }
    }

    /// Columns there are, inputs among them.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// Columns that are features.
    pub fn features(&self) -> usize {
        self.places.len()
    }

    pub fn of(&self, feature: &str) -> Option<Column> {
        self.places.get(feature).copied()
    }

    pub fn of_input(&self, place: usize) -> Column {
        self.features().saturating_add(place)
    }

    pub fn name(&self, column: Column) -> &str {
        self.names.get(column).map_or("", String::as_str)
    }

    pub fn kind(&self, column: Column) -> FeatureType {
        self.kinds.get(column).copied().unwrap_or(FeatureType::Int)
    }
}

/// Texts as numbers: equal texts have equal numbers. Shared by the rules and the profiles that are matched with each other.
#[derive(Debug, Default)]
pub struct Symbols(RwLock<HashMap<Box<str>, i64>>);

impl Symbols {
    /// The number of a text, which gets one if it has none yet.
    pub(crate) fn keep(&self, text: &str) -> i64 {
        if let Some(number) = self.find(text) {
            return number;
        }
        let mut kept = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let next = i64::try_from(kept.len()).unwrap_or(i64::MAX);
        *kept.entry(text.into()).or_insert(next)
    }

    /// The text of a number.
    pub(crate) fn text(&self, number: i64) -> Option<String> {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(_, kept)| **kept == number).map(|(text, _)| text.to_string())
    }

    /// The number of a text that has one.
    pub(crate) fn find(&self, text: &str) -> Option<i64> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(text).copied()
    }
}

/// One profile and the inputs, made ready for many products.
#[derive(Debug, Clone)]
pub struct Row {
    /// By column; 0 where nothing is known.
    pub(crate) values: Vec<i64>,
    pub(crate) known: Vec<bool>,
    /// Columns whose value is not of the type that rules expect; they are not known either.
    pub(crate) wrong: Vec<Column>,
}

impl Row {
    /// Makes a profile ready. Features that the dictionary does not have are left out: no rule can look at them.
    #[must_use]
    pub fn new(symbols: &Symbols, features: &Features, inputs: Inputs) -> Self {
        // Texts that no rule and no kept profile has need no number beyond this row.
        let mut own: Vec<&str> = Vec::new();
        let mut row = Self::empty(inputs);
        for (name, value) in features {
            let Some(column) = COLUMNS.of(name) else { continue };
            let number = match value {
                FeatureValue::Int(number) => *number,
                FeatureValue::Bool(flag) => i64::from(*flag),
                FeatureValue::Text(text) => symbols.find(text).unwrap_or_else(|| {
                    let place = own.iter().position(|known| known == text).unwrap_or_else(|| {
                        own.push(text);
                        own.len().saturating_sub(1)
                    });
                    i64::try_from(place).unwrap_or(i64::MAX).saturating_neg().saturating_sub(1)
                }),
            };
            row.put(column, value.kind(), number);
        }
        row
    }

    /// As [`Row::new`], for a profile that is kept: its texts get numbers.
    pub(crate) fn kept(symbols: &Symbols, features: &Features) -> Self {
        for value in features.values() {
            if let FeatureValue::Text(text) = value {
                symbols.keep(text);
            }
        }
        Self::new(symbols, features, Inputs { requested_fen: 0, term_months: 0, lpr_1y_ppm: 0 })
    }

    fn empty(inputs: Inputs) -> Self {
        let mut row = Self { values: vec![0; COLUMNS.count()], known: vec![false; COLUMNS.count()], wrong: Vec::new() };
        for (place, value) in [inputs.requested_fen, inputs.term_months, inputs.lpr_1y_ppm].into_iter().enumerate() {
            row.put(COLUMNS.of_input(place), FeatureType::Int, value);
        }
        row
    }

    fn put(&mut self, column: Column, kind: FeatureType, number: i64) {
        if kind != COLUMNS.kind(column) {
            self.wrong.push(column);
            return;
        }
        self.set(column, number);
    }

    /// Takes another value in a column.
    pub(crate) fn set(&mut self, column: Column, number: i64) {
        if let (Some(value), Some(known)) = (self.values.get_mut(column), self.known.get_mut(column)) {
            (*value, *known) = (number, true);
        }
    }

    pub(crate) fn value(&self, column: Column) -> i64 {
        self.values.get(column).copied().unwrap_or(0)
    }

    pub(crate) fn knows(&self, column: Column) -> bool {
        self.known.get(column).copied().unwrap_or(false)
    }
}
