//! Sizes such as `512M`, `4G`, `1.5G`, `0x1000`.

/// Bytes. Without a suffix the number counts `unit` bytes. Suffixes are powers of 1024.
pub fn parse(text: &str, unit: u64) -> Result<u64, String> {
    let wrong = || "must be a size such as 512M, 4G or 1.5G (suffixes B, K, M, G, T, P, E)".to_owned();
    let (number, scale) = match text.chars().last().ok_or_else(wrong)?.to_ascii_uppercase() {
        // A hexadecimal number may end in B or E: it takes no suffix.
        _ if is_hex(text) => (text, unit),
        'B' => (&text[..text.len() - 1], 1),
        'K' => (&text[..text.len() - 1], 1 << 10),
        'M' => (&text[..text.len() - 1], 1 << 20),
        'G' => (&text[..text.len() - 1], 1 << 30),
        'T' => (&text[..text.len() - 1], 1 << 40),
        'P' => (&text[..text.len() - 1], 1 << 50),
        'E' => (&text[..text.len() - 1], 1 << 60),
        _ => (text, unit),
    };
    let too_big = || "is larger than 2^64 - 1 bytes".to_owned();
    if let Some(hex) = number.strip_prefix("0x").or_else(|| number.strip_prefix("0X")) {
        let plain = !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
        let n = plain.then(|| u64::from_str_radix(hex, 16)).ok_or_else(wrong)?.map_err(|_| too_big())?;
        return n.checked_mul(scale).ok_or_else(too_big);
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return Err(wrong());
    }
    let whole = whole.parse::<u64>().map_err(|_| too_big())?.checked_mul(scale).ok_or_else(too_big)?;
    if fraction.is_empty() {
        return Ok(whole);
    }
    if scale == 1 {
        return Err("is a fraction of a byte".to_owned());
    }
    // Nine digits after the point are more than anybody means.
    let fraction = &fraction[..fraction.len().min(9)];
    let part = u128::from(fraction.parse::<u32>().expect("at most nine digits")) * u128::from(scale);
    let part = (part / 10u128.pow(fraction.len() as u32)) as u64;
    whole.checked_add(part).ok_or_else(too_big)
}

fn is_hex(text: &str) -> bool {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    digits.is_some_and(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A size for people: `512M`, `4G`, `3K`, `100 bytes`.
pub fn show(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    match units.iter().find(|(shift, _)| bytes >> shift << shift == bytes && bytes >> shift != 0) {
        Some((shift, name)) => format!("{}{name}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good() {
        for (text, unit, bytes) in [
            ("128", 1 << 20, 128 << 20),
            ("512M", 1 << 20, 512 << 20),
            ("4g", 1, 4 << 30),
            ("1.5G", 1, 3 << 29),
            ("0x1000", 1, 0x1000),
            ("0x1b", 1, 0x1b),
            ("0x10K", 1, 0x4000),
            ("100B", 1 << 20, 100),
            ("0", 1, 0),
        ] {
            assert_eq!(parse(text, unit), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn bad() {
        for text in
            ["", "M", "abc", "-1", "+1", " 1", "1 ", "1.G", ".5G", "1MM", "1,5", "0x", "0xzz", "1.5B", "é", "1é"]
        {
            assert!(parse(text, 1 << 20).is_err(), "{text}");
        }
        for text in ["99999999999999999999", "16E", "18446744073709551615K"] {
            assert!(parse(text, 1).unwrap_err().contains("larger"), "{text}");
        }
    }

    #[test]
    fn shown_sizes_read_back() {
        for bytes in [1 << 20, 3 << 30, 5 << 10, 1 << 40] {
            assert_eq!(parse(&show(bytes), 1), Ok(bytes));
        }
        assert_eq!(show(0), "0 bytes");
    }
}
