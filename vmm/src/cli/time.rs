//! The guest's time: `-rtc`, `-icount`.

use super::error::Result;
use super::optlist::OptList;
use crate::config::RtcBase;

/// The most that an instruction may take, as a power of two of nanoseconds.
const ICOUNT_SHIFT_MAX: u32 = 10;

/// `-icount [shift=]N`.
pub fn parse_icount(values: &[String]) -> Result<Option<u32>> {
    let mut shift = None;
    for text in values {
        let mut o = OptList::parse("-icount", text)?;
        let word = o.head("shift")?.ok_or_else(|| o.error("needs shift=N"))?;
        let n = word.parse().ok().filter(|n| *n <= ICOUNT_SHIFT_MAX);
        shift = Some(n.ok_or_else(|| match word.as_str() {
            "auto" => o.error("shift=auto is not supported by vireo yet; it must be a number"),
            _ => o.error(format!("shift={word}: must be 0 to {ICOUNT_SHIFT_MAX}")),
        })?);
        if o.flag("align")? == Some(true) {
            return Err(o.error("align=on is not supported by vireo yet; the clock does not follow the host's"));
        }
        // A hart that waits does not wait in real time, whatever this says.
        o.flag("sleep")?;
        o.unsupported(&["rr", "rrfile", "rrsnapshot"])?;
        o.finish()?;
    }
    Ok(shift)
}

pub fn parse_rtc(values: &[String]) -> Result<RtcBase> {
    let mut base = RtcBase::Utc;
    for text in values {
        let mut o = OptList::parse_headless("-rtc", text)?;
        if let Some(text) = o.text("base")? {
            base = match text.as_str() {
                "utc" => RtcBase::Utc,
                "localtime" => RtcBase::LocalTime,
                date => RtcBase::Fixed(parse_date(date).ok_or_else(|| {
                    o.error(format!(
                        "base={date}: must be utc, localtime, or a date such as 2030-01-31T12:00:00 or 2030-01-31"
                    ))
                })?),
            };
        }
        if let Some(clock) = o.text("clock")?
            && clock != "host"
        {
            return Err(o.error(format!("clock={clock} is not supported by vireo yet; it must be host")));
        }
        if let Some(fix) = o.text("driftfix")?
            && fix != "none"
        {
            return Err(o.error(format!("driftfix={fix} is not supported by vireo yet; it must be none")));
        }
        o.finish()?;
    }
    Ok(base)
}

/// `YYYY-MM-DD` or `YYYY-MM-DDTHH:MM:SS`, UTC, as seconds since 1970.
fn parse_date(text: &str) -> Option<i64> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let numbers = |text: &str, separator| -> Option<[i64; 3]> {
        let mut parts = text
            .split(separator)
            .map(|p| p.bytes().all(|b| b.is_ascii_digit()).then(|| p.parse::<u16>().ok()).flatten().map(i64::from));
        let all = [parts.next()??, parts.next()??, parts.next()??];
        parts.next().is_none().then_some(all)
    };
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1970..=9999).contains(&year) || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Days from the civil calendar: years begin in March, so that the leap day is the last one.
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(parse_date("1970-01-01"), Some(0));
        assert_eq!(parse_date("2000-02-29T12:34:56"), Some(951_827_696));
        assert_eq!(parse_date("2038-01-19T03:14:08"), Some(1 << 31));
        for bad in [
            "",
            "2023-02-29",
            "2023-13-01",
            "2023-1",
            "1969-12-31",
            "2023-01-01T24:00:00",
            "2023-01-01 00:00:00",
            "+2023-01-01",
        ] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }
}
