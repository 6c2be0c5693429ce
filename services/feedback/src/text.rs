//! The words of the messages.

/// A message of up to 70 characters is one SMS.
pub const LONGEST_SINGLE_SMS: usize = 70;

const BEFORE: &str = "【智融】贵单位在";
const AFTER: &str = "申请的贷款已获批，请评价服务：5非常满意，4满意，3基本满意，2不满意，1非常不满意";

/// Stands for an institution whose loan came without its name: the enterprise is asked all the same.
const UNNAMED: &str = "金融机构";

/// Asks an enterprise to rate the service of an institution; always one single SMS, with the platform's signature. It names
/// no person, no amount and no product, because a phone may be seen by others.
#[must_use]
pub fn rating_request(institution_name_zh: &str) -> String {
    let room = LONGEST_SINGLE_SMS.saturating_sub(BEFORE.chars().count()).saturating_sub(AFTER.chars().count());
    let name: String = institution_name_zh.trim().chars().filter(|c| !c.is_control()).take(room).collect();
    let name = if name.is_empty() { UNNAMED } else { &name };
    format!("{BEFORE}{name}{AFTER}")
}

/// Tells an enterprise that a subsidy is set aside for its loan. The amount is left to the platform, for the same reason.
#[must_use]
pub fn grant_notice() -> &'static str {
    "【智融】贵单位获批的贷款符合贴息政策，贴息资金已预留，免申即享，无需提交材料；金额和到账进度请登录平台查看"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_sms_however_long_the_name() {
        for name in ["", "示例银行", &"很长的名字".repeat(30)] {
            assert!(rating_request(name).chars().count() <= LONGEST_SINGLE_SMS);
        }
        assert!(grant_notice().chars().count() <= LONGEST_SINGLE_SMS);
    }

    #[test]
    fn can_be_stored_and_read_whatever_the_name() {
        assert!(rating_request("示例\0银行\n").contains("在示例银行申请"));
        for name in ["", " \u{3000}", "\0"] {
            assert!(rating_request(name).contains("在金融机构申请"), "{name:?}");
        }
    }

    #[test]
    fn names_a_usual_institution_whole() {
        let text = rating_request("示例莲都农村商业银行");
        assert!(text.starts_with("【智融】"));
        assert!(text.contains("在示例莲都农村商业银行申请"));
    }
}
