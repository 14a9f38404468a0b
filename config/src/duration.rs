//! Lengths of time as people write them.

use std::time::Duration;

/// Reads a number of seconds, minutes, hours or days: `90s`, `5m`, `1h`, `2d`.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<u64>().ok()?.checked_mul(unit).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, seconds) in
            [("300s", 300), ("5m", 300), ("1h", 3_600), ("2d", 172_800), ("0s", 0)]
        {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "300",
            "+5s",
            "5 m",
            "1.5h",
            "5ms",
            "99999999999999999999s",
            "9999999999999999999h",
            "5µ",
        ] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
