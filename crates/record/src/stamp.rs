//! A time as people and names of files have it: UTC, to the millisecond.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// RFC 3339: `2026-12-01T14:03:07.012Z`. A time before 1970 is the one of a machine without a clock.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / DAY, since.as_secs() % DAY);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let milli = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// The date of a day since 1970, in a calendar whose years begin in March: then the day that some
/// years have more is the last one.
fn date(days: u64) -> (u64, u64, u64) {
    // Days from March 1 of the year 0, in periods of 400 years, which are all alike.
    let days = days + 719_468;
    let (period, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (period * 400 + year + next, month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// The dates are those of `date --utc --date @SECONDS`.
    #[test]
    fn a_time_is_told_as_other_programs_tell_it() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00.012Z"),
            (951_782_399, "2000-02-28T23:59:59.012Z"),
            (951_782_400, "2000-02-29T00:00:00.012Z"),
            (1_709_164_800, "2024-02-29T00:00:00.012Z"),
            (1_709_251_200, "2024-03-01T00:00:00.012Z"),
            (1_796_133_787, "2026-12-01T14:03:07.012Z"),
            (1_798_761_599, "2026-12-31T23:59:59.012Z"),
            (4_107_542_400, "2100-03-01T00:00:00.012Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(12);

            assert_eq!(rfc3339(time), want, "{seconds}");
        }
    }

    #[test]
    fn a_clock_before_1970_is_no_panic() {
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }
}
