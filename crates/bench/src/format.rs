//! Numbers for people.

/// A number without fraction, its thousands separated.
pub(super) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        let all = [(0.4, "0"), (999.0, "999"), (1000.0, "1,000"), (1_234_567.5, "1,234,568")];
        for (value, text) in all {
            assert_eq!(grouped(value), text);
        }
    }
}
