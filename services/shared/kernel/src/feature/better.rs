//! Which values of a feature are better for an enterprise's credit. This belongs to the feature, not to a scorecard, so that
//! whoever writes a card can't turn it round by the way.

use super::FeatureType;

/// What better means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Better {
    /// A larger number, or yes.
    Higher,
    /// A smaller number, or no.
    Lower,
    /// Texts, best first; there are no others.
    Order(Vec<String>),
    /// No value is better than another, as with an industry.
    Neither,
}

impl Better {
    /// Reads `higher`, `lower`, texts as `A>B>C`, or `none`.
    ///
    /// # Errors
    /// When it says none of these, or not what fits the type.
    pub(super) fn read(cell: &str, kind: FeatureType) -> Result<Self, String> {
        let of_text = kind == FeatureType::Text;
        match cell {
            "none" => Ok(Self::Neither),
            "higher" if !of_text => Ok(Self::Higher),
            "lower" if !of_text => Ok(Self::Lower),
            order if of_text && order.contains('>') => {
                let texts: Vec<String> = order.split('>').map(str::to_owned).collect();
                let twice =
                    texts.iter().enumerate().any(|(at, text)| texts.iter().take(at).any(|before| before == text));
                if twice || texts.iter().any(String::is_empty) {
                    return Err(format!("`{order}` holds nothing or something twice"));
                }
                Ok(Self::Order(texts))
            }
            other => Err(format!("`{other}` does not say which {kind} is better")),
        }
    }
}
