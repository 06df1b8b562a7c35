//! The `longname` of a directory entry: a line as of `ls -l` (draft-ietf-secsh-filexfer-02
//! section 7).
//!
//! Dates are UTC: the container's time zone would have to be read out of its file system, and what
//! users sort by are the attributes.

use std::io::Write as _;

use rustix::fs::{FileType, Stat};

use crate::accounts::Accounts;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

const DAY: i64 = 24 * 60 * 60;

/// Within so much of the past, `ls` shows the time and not the year.
const HALF_A_YEAR: i64 = 365 * DAY / 2;

/// Writes the line for `name` into `line`, in place of what is there; `now` is in seconds of 1970.
pub(super) fn write(line: &mut Vec<u8>, name: &[u8], stat: &Stat, accounts: &Accounts, now: i64) {
    line.clear();
    line.extend_from_slice(&mode(stat.st_mode));
    // A vector takes all that is written to it.
    _ = write!(line, " {:>3} ", stat.st_nlink);
    column(line, accounts.user_name(stat.st_uid), stat.st_uid);
    column(line, accounts.group_name(stat.st_gid), stat.st_gid);
    _ = write!(line, "{:>8} {} ", stat.st_size, date(stat.st_mtime, now));
    line.extend_from_slice(name);
}

/// The line for what no attributes are known of.
pub(super) fn write_unknown(line: &mut Vec<u8>, name: &[u8]) {
    line.clear();
    _ = write!(
        line,
        "?---------   ? ?        ?               ?            ? "
    );
    line.extend_from_slice(name);
}

/// A name, or the id without one, in at least eight columns.
fn column(line: &mut Vec<u8>, name: Option<&[u8]>, id: u32) {
    const WIDTH: usize = 8;
    let number = id.to_string();
    let text = name.unwrap_or(number.as_bytes());
    line.extend_from_slice(text);
    line.resize(line.len() + WIDTH.saturating_sub(text.len()) + 1, b' ');
}

fn mode(bits: u32) -> [u8; 10] {
    let kind = match FileType::from_raw_mode(bits) {
        FileType::RegularFile => b'-',
        FileType::Directory => b'd',
        FileType::Symlink => b'l',
        FileType::Fifo => b'p',
        FileType::Socket => b's',
        FileType::CharacterDevice => b'c',
        FileType::BlockDevice => b'b',
        FileType::Unknown => b'?',
    };
    let may = |bit: u32, letter| if bits & bit != 0 { letter } else { b'-' };
    let executes = |bit: u32, special: u32, letter: u8| match (bits & special != 0, bits & bit != 0)
    {
        (true, true) => letter,
        (true, false) => letter.to_ascii_uppercase(),
        (false, _) => may(bit, b'x'),
    };
    [
        kind,
        may(0o400, b'r'),
        may(0o200, b'w'),
        executes(0o100, 0o4000, b's'),
        may(0o040, b'r'),
        may(0o020, b'w'),
        executes(0o010, 0o2000, b's'),
        may(0o004, b'r'),
        may(0o002, b'w'),
        executes(0o001, 0o1000, b't'),
    ]
}

fn date(time: i64, now: i64) -> String {
    let (days, second) = (time.div_euclid(DAY), time.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let recent = time <= now && time > now.saturating_sub(HALF_A_YEAR);
    if recent {
        let (hour, minute) = (second / 3600, second / 60 % 60);
        format!("{month} {day:>2} {hour:02}:{minute:02}")
    } else {
        format!("{month} {day:>2}  {year}")
    }
}

/// Year, month and day of the Gregorian calendar, `days` after 1970-01-01.
fn civil(days: i64) -> (i64, &'static str, i64) {
    const DAYS_OF_400_YEARS: i64 = 146_097;
    /// From 1600-03-01, so that leap days come last in their years, and the leap day of the fourth
    /// century last of all.
    const SINCE_1600_03_01: i64 = 135_080;
    let days = days.saturating_add(SINCE_1600_03_01);
    let (cycle, day) = (
        days.div_euclid(DAYS_OF_400_YEARS),
        days.rem_euclid(DAYS_OF_400_YEARS),
    );
    let century = (day / 36_524).min(3);
    let day = day - century * 36_524;
    let fours = day / 1_461;
    let day = day - fours * 1_461;
    let one = (day / 365).min(3);
    let mut day = day - one * 365;
    let mut month = 2;
    // March to February.
    for length in [31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let next_year = i64::from(month >= MONTHS.len());
    let name = MONTHS.get(month % MONTHS.len()).copied().unwrap_or("???");
    let year = 1600 + cycle * 400 + century * 100 + fours * 4 + one + next_year;
    (year, name, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        for (bits, shown) in [
            (0o100_644, "-rw-r--r--"),
            (0o040_755, "drwxr-xr-x"),
            (0o041_777, "drwxrwxrwt"),
            (0o041_776, "drwxrwxrwT"),
            (0o104_755, "-rwsr-xr-x"),
            (0o106_644, "-rwSr-Sr--"),
            (0o120_777, "lrwxrwxrwx"),
            (0o010_000, "p---------"),
            (0o140_000, "s---------"),
            (0o020_000, "c---------"),
            (0o060_000, "b---------"),
        ] {
            assert_eq!(mode(bits), shown.as_bytes());
        }
    }

    #[test]
    fn dates() {
        let now = 1_700_000_000;
        for (time, shown) in [
            (now, "Nov 14 22:13"),
            (now - 180 * DAY, "May 18 22:13"),
            (now - 183 * DAY, "May 15  2023"),
            (now + 1, "Nov 14  2023"),
            (0, "Jan  1  1970"),
            (-1, "Dec 31  1969"),
            (951_782_400, "Feb 29  2000"),
            (951_868_800, "Mar  1  2000"),
            (4_107_542_400, "Mar  1  2100"),
            (4_107_542_399, "Feb 28  2100"),
            (1_709_164_800, "Feb 29  2024"),
            (1_735_689_599, "Dec 31  2024"),
        ] {
            assert_eq!(date(time, now), shown, "{time}");
        }
        // As far as clocks go, and no further.
        for time in [i64::MIN, i64::MAX] {
            assert!(date(time, now).len() > 12);
        }
    }

    #[test]
    fn every_day_of_400_years_follows_its_predecessor() {
        let mut before = civil(-1);
        for days in 0..146_097 {
            let (year, month, day) = civil(days);
            let same_month = (year, month) == (before.0, before.1) && day == before.2 + 1;
            let next_month = day == 1 && before.2 >= 28 && month != before.1;
            assert!(same_month || next_month, "{days}");
            before = (year, month, day);
        }
        assert_eq!(before, (2369, "Dec", 31));
    }
}
