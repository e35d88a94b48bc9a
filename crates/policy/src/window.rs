//! When jobs of a table may be submitted: the minutes that match five cron fields, in UTC.
//!
//! Cron's own syntax, for operators know it: `minute hour day-of-month month day-of-week`, each `*`,
//! a number, a range, a list, any of them in steps (`*/2`); months and weekdays by name too, 7 is
//! Sunday. As in cron, a day matches either when both day fields are restricted. One thing more: a
//! range may go over the end, so that a night is `22-5`.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};

/// Minutes in which jobs may be submitted. The only way to have one is to parse it; it opens some
/// time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    text: String,
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    weekdays: Set,
    /// Both day fields are restricted: either is enough.
    either_day: bool,
}

/// The text is no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("allowed: {}", crate::property::allowed(crate::property::WINDOW))]
pub struct BadWindow;

/// Longer than any window.
const CHARS_MAX: usize = 200;
/// 29 February comes within eight years, also over a century.
const DAYS_AHEAD_MAX: usize = 8 * 366 + 1;
const DAY_NAMES: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTH_NAMES: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
/// In a leap year.
const MONTH_DAYS: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Numbers below 64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn add(&mut self, number: u8) {
        self.0 |= 1 << number;
    }

    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.0 & (1 << number) != 0)
    }

    fn first(self) -> i8 {
        self.0.trailing_zeros() as i8
    }

    /// The smallest that is not below `number`.
    fn from(self, number: i8) -> Option<i8> {
        (number..64).find(|number| self.has(*number))
    }
}

/// One field: what it may hold.
#[derive(Clone, Copy)]
struct Field {
    min: u8,
    max: u8,
    /// Numbers above `max` that may be written; they mean `min`.
    spare: u8,
    names: &'static [&'static str],
}

const MINUTE: Field = Field::new(0, 59, &[]);
const HOUR: Field = Field::new(0, 23, &[]);
const DAY: Field = Field::new(1, 31, &[]);
const MONTH: Field = Field::new(1, 12, &MONTH_NAMES);
/// Sunday is 0, and 7 too.
const WEEKDAY: Field = Field {
    spare: 1,
    ..Field::new(0, 6, &DAY_NAMES)
};

impl Field {
    const fn new(min: u8, max: u8, names: &'static [&'static str]) -> Self {
        Self {
            min,
            max,
            spare: 0,
            names,
        }
    }

    fn set(self, text: &str) -> Option<Set> {
        let mut set = Set::default();
        for item in text.split(',') {
            let (range, step) = item.split_once('/').unwrap_or((item, "1"));
            let step = number(step).filter(|step| *step > 0)?;
            let (from, to) = match range.split_once('-') {
                Some((from, to)) => (self.number(from)?, self.number(to)?),
                None if range == "*" => (self.min, self.max),
                // A single number in steps means different things to different crons.
                None if item.contains('/') => return None,
                None => (self.number(range)?, self.number(range)?),
            };
            let numbers: Vec<u8> = if from <= to {
                (from..=to).collect()
            } else {
                (from..=self.max).chain(self.min..=to).collect()
            };
            numbers
                .into_iter()
                .step_by(usize::from(step))
                .for_each(|number| set.add(if number > self.max { self.min } else { number }));
        }
        Some(set)
    }

    fn number(self, text: &str) -> Option<u8> {
        let name = self
            .names
            .iter()
            .position(|name| name.eq_ignore_ascii_case(text));
        let named = name.and_then(|at| u8::try_from(at).ok());
        named
            .map(|at| at + self.min)
            .or_else(|| number(text))
            .filter(|number| (self.min..=self.max + self.spare).contains(number))
    }
}

fn number(text: &str) -> Option<u8> {
    crate::property::whole(text)?.try_into().ok()
}

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Self, BadWindow> {
        Self::parse(text).ok_or(BadWindow)
    }
}

impl Window {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return None;
        };
        let window = Self {
            text: fields.join(" "),
            minutes: MINUTE.set(minute)?,
            hours: HOUR.set(hour)?,
            days: DAY.set(day)?,
            months: MONTH.set(month)?,
            weekdays: WEEKDAY.set(weekday)?,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        (window.text.len() <= CHARS_MAX && window.ever_opens()).then_some(window)
    }

    /// False for the likes of 30 February.
    fn ever_opens(&self) -> bool {
        self.either_day
            || MONTH_DAYS
                .into_iter()
                .zip(1_i8..)
                .any(|(days, month)| self.months.has(month) && self.days.first() <= days as i8)
    }

    /// As written, apart from spaces.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is open at a time.
    pub fn is_open(&self, now_ms: i64) -> bool {
        civil(now_ms).is_some_and(|now| {
            self.day_matches(now) && self.hours.has(now.hour()) && self.minutes.has(now.minute())
        })
    }

    /// The first time from `now_ms` on when it is open, to the minute; none at the end of time.
    pub fn opens_at_ms(&self, now_ms: i64) -> Option<i64> {
        if self.is_open(now_ms) {
            return Some(now_ms);
        }
        let now = civil(now_ms)?;
        let rest = self.first_of_day(now.hour(), now.minute());
        let mut day = now.date();
        if let Some((hour, minute)) = rest.filter(|_| self.day_matches(now)) {
            return millis(day.at(hour, minute, 0, 0));
        }
        let (hour, minute) = self.first_of_day(0, 0)?;
        for _ in 0..DAYS_AHEAD_MAX {
            day = day.tomorrow().ok()?;
            let opening = day.at(hour, minute, 0, 0);
            if self.day_matches(opening) {
                return millis(opening);
            }
        }
        None
    }

    /// The first hour and minute of a matching day from a time of that day on.
    fn first_of_day(&self, hour: i8, minute: i8) -> Option<(i8, i8)> {
        if let Some(minute) = self.minutes.from(minute).filter(|_| self.hours.has(hour)) {
            return Some((hour, minute));
        }
        Some((self.hours.from(hour + 1)?, self.minutes.first()))
    }

    fn day_matches(&self, time: DateTime) -> bool {
        let day = self.days.has(time.day());
        let weekday = self.weekdays.has(time.weekday().to_sunday_zero_offset());
        let matches = if self.either_day {
            day || weekday
        } else {
            day && weekday
        };
        matches && self.months.has(time.month())
    }
}

fn civil(ms: i64) -> Option<DateTime> {
    let time = Timestamp::from_millisecond(ms).ok()?;
    Some(Offset::UTC.to_datetime(time))
}

fn millis(time: DateTime) -> Option<i64> {
    let time = Offset::UTC.to_timestamp(time).ok()?;
    Some(time.as_millisecond())
}

/// A time for people, to the minute.
pub(crate) fn written(ms: i64) -> String {
    match civil(ms) {
        Some(at) => format!("{} {:02}:{:02} UTC", at.date(), at.hour(), at.minute()),
        None => format!("{ms} ms since 1970"),
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.text
    }
}

impl TryFrom<String> for Window {
    type Error = BadWindow;

    fn try_from(text: String) -> Result<Self, BadWindow> {
        text.parse()
    }
}

#[cfg(test)]
mod tests;
