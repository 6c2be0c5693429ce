//! Numbers with units, as people write them: `500万元`, `3.45%`, `365天`. Exact: no fraction of a fen or of a ppm is rounded away.

/// English and Chinese.
pub type Why = (String, String);

/// The number in a feature's unit.
///
/// # Errors
/// When it is no number, has a unit that does not fit, is finer than the feature's unit, or leaves 64 bits.
pub fn parse(text: &str, unit: &str) -> Result<i64, Why> {
    let bad = || {
        let shown: String = text.chars().take(40).collect();
        let units: Vec<&str> = scales(unit).iter().map(|(word, _)| *word).filter(|word| !word.is_empty()).collect();
        let also = if units.is_empty() { String::new() } else { format!(" or {}", units.join(", ")) };
        (
            format!("`{shown}` is no number in {unit}{also}, within 64 bits and no finer than that"),
            format!("“{shown}”不是有效的数值"),
        )
    };
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '.'))).unwrap_or(text.len());
    let (digits, word) = text.split_at_checked(end).ok_or_else(bad)?;
    let (_, scale) = scales(unit).iter().find(|(known, _)| *known == word.trim()).ok_or_else(bad)?;
    let (negative, digits) = digits.strip_prefix('-').map_or((false, digits), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    // 19 digits are all that 64 bits hold; more can't come out right, and would make the sums below large.
    let plausible = |part: &str, most: usize| part.len() <= most && part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plausible(whole, 19) || !plausible(fraction, 10) || digits.ends_with('.') {
        return Err(bad());
    }
    let places = u32::try_from(fraction.len()).map_err(|_| bad())?;
    let all: i128 = format!("{whole}{fraction}").parse().map_err(|_| bad())?;
    let scaled = all.checked_mul(i128::from(*scale)).ok_or_else(bad)?;
    let unit_parts = 10_i128.checked_pow(places).ok_or_else(bad)?;
    if scaled.checked_rem(unit_parts) != Some(0) {
        return Err(bad());
    }
    let value = scaled.checked_div(unit_parts).ok_or_else(bad)?;
    i64::try_from(if negative { value.saturating_neg() } else { value }).map_err(|_| bad())
}

/// The units that people may write for a feature, with how many of the feature's unit each is.
fn scales(unit: &str) -> &'static [(&'static str, i64)] {
    match unit {
        "fen" => &[("", 1), ("分", 1), ("元", 100), ("万元", 1_000_000), ("亿元", 10_000_000_000)],
        "ppm" => &[("", 1), ("%", 10_000), ("％", 10_000), ("‰", 1_000), ("BP", 100), ("bp", 100)],
        "days" => &[("", 1), ("天", 1), ("日", 1)],
        "months" => &[("", 1), ("个月", 1), ("年", 12)],
        "count" => &[("", 1), ("个", 1), ("人", 1), ("件", 1), ("项", 1), ("次", 1), ("户", 1), ("条", 1)],
        "kwh" => &[("", 1), ("千瓦时", 1), ("度", 1), ("万千瓦时", 10_000)],
        "m3" => &[("", 1), ("立方米", 1)],
        "m2" => &[("", 1), ("平方米", 1)],
        "mu" => &[("", 1), ("亩", 1)],
        "points" => &[("", 1), ("分", 1)],
        _ => &[("", 1)],
    }
}

/// A number as an enterprise reads it.
pub fn show(number: i64, unit: &str) -> String {
    match unit {
        "fen" => {
            let (word, scale, places) = match number.unsigned_abs() {
                n if n >= 10_000_000_000 && n.is_multiple_of(100_000_000) => ("亿元", 10_000_000_000, 10),
                n if n >= 1_000_000 && n.is_multiple_of(10_000) => ("万元", 1_000_000, 6),
                _ => ("元", 100, 2),
            };
            format!("{}{word}", decimal(number, scale, places))
        }
        "ppm" => format!("{}%", decimal(number, 10_000, 4)),
        "days" => format!("{number}天"),
        "months" => format!("{number}个月"),
        "kwh" => format!("{number}千瓦时"),
        "m3" => format!("{number}立方米"),
        "m2" => format!("{number}平方米"),
        "mu" => format!("{number}亩"),
        "points" => format!("{number}分"),
        _ => number.to_string(),
    }
}

/// A number divided by a power of ten, without zeros at the end.
fn decimal(number: i64, scale: u64, places: usize) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let size = number.unsigned_abs();
    let (whole, rest) = (size.checked_div(scale).unwrap_or(0), size.checked_rem(scale).unwrap_or(0));
    let rest = format!("{rest:0places$}");
    match rest.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        fraction => format!("{sign}{whole}.{fraction}"),
    }
}
