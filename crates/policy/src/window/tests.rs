//! Cron's fields, checked against a minute-by-minute search.

use proptest::prelude::*;

use super::*;

const MINUTE_MS: i64 = 60_000;

fn ms(time: &str) -> i64 {
    time.parse::<Timestamp>().unwrap().as_millisecond()
}

/// Pattern, now, when it opens. 2026-11-21 is a Saturday.
const OPENINGS: &str = "
* * * * * | 2026-11-21T16:35:42Z | 2026-11-21T16:35:42Z
* 22-5 * * * | 2026-11-21T16:35:42Z | 2026-11-21T22:00:00Z
* 22-5 * * * | 2026-11-21T23:59:59Z | 2026-11-21T23:59:59Z
* 22-5 * * * | 2026-11-22T05:59:59Z | 2026-11-22T05:59:59Z
* 22-5 * * * | 2026-11-22T06:00:00Z | 2026-11-22T22:00:00Z
* 22-23,0-5 * * 1-5 | 2026-11-21T23:00:00Z | 2026-11-23T00:00:00Z
30-59 9 * * * | 2026-11-21T09:10:00Z | 2026-11-21T09:30:00Z
30-59 9 * * * | 2026-11-21T10:00:00Z | 2026-11-22T09:30:00Z
*/15 */6 * * * | 2026-11-21T12:01:00Z | 2026-11-21T12:15:00Z
*/15 */6 * * * | 2026-11-21T12:46:00Z | 2026-11-21T18:00:00Z
* * * * 7 | 2026-11-21T00:00:00Z | 2026-11-22T00:00:00Z
* * * * sun | 2026-11-21T00:00:00Z | 2026-11-22T00:00:00Z
* * * * fri-mon | 2026-11-24T00:00:00Z | 2026-11-27T00:00:00Z
* * * * 5-7 | 2026-11-23T00:00:00Z | 2026-11-27T00:00:00Z
* * * * 7-1 | 2026-11-24T00:00:00Z | 2026-11-29T00:00:00Z
0 0 1 JAN * | 2026-11-21T00:00:00Z | 2027-01-01T00:00:00Z
* * 29 2 * | 2096-03-01T00:00:00Z | 2104-02-29T00:00:00Z
* * 25 * 1 | 2026-11-21T00:00:00Z | 2026-11-23T00:00:00Z
* * 25 * 1 | 2026-11-24T00:00:00Z | 2026-11-25T00:00:00Z
* * */2 * 1 | 2026-11-21T00:00:00Z | 2026-11-23T00:00:00Z
* * 30 2 1 | 2026-11-21T00:00:00Z | 2027-02-01T00:00:00Z
";

#[test]
fn a_window_opens_when_its_fields_match() {
    for line in OPENINGS.trim().lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let (window, now_ms, want) = (cells[0].parse::<Window>(), ms(cells[1]), ms(cells[2]));
        let window = window.unwrap_or_else(|_| panic!("no window: {line}"));
        assert_eq!(window.opens_at_ms(now_ms), Some(want), "{line}");
        assert_eq!(window.is_open(now_ms), now_ms == want, "{line}");
    }
}

#[test]
fn what_is_no_window_is_refused() {
    for text in [
        "",
        "*",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * 32 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * 30 2 *",
        "* * 31 4,6,9,11 *",
        "*/0 * * * *",
        "5/2 * * * *",
        "1-2-3 * * * *",
        ", * * * *",
        "1,,2 * * * *",
        "-1 * * * *",
        "+1 * * * *",
        "* * L * *",
        "* 22- * * *",
        "mon * * * *",
        "@hourly",
        "* * * * 1#2",
        "*/256 * * * *",
        "1- * * * *",
    ] {
        assert_eq!(text.parse::<Window>(), Err(BadWindow), "`{text}`");
    }
    let long = format!("{} * * * *", ["1"; 200].join(","));
    assert_eq!(long.parse::<Window>(), Err(BadWindow));
    assert!(BadWindow.to_string().contains("five cron fields"));
}

#[test]
fn the_end_of_time_is_no_opening() {
    let window: Window = "0 0 1 1 *".parse().unwrap();
    assert_eq!(window.opens_at_ms(i64::MAX), None);
    assert_eq!(window.opens_at_ms(ms("9999-12-30T00:00:00Z")), None);
    assert!(!window.is_open(i64::MIN));
}

#[test]
fn a_window_is_written_as_it_was_read() {
    let window: Window = "*  22-5 * jan MON-fri".parse().unwrap();
    let json = serde_json::to_string(&window).unwrap();
    assert_eq!(json, "\"* 22-5 * jan MON-fri\"");
    assert_eq!(serde_json::from_str::<Window>(&json).unwrap(), window);
    assert!(serde_json::from_str::<Window>("\"* * 30 2 *\"").is_err());
}

fn field(min: u8, max: u8) -> impl Strategy<Value = String> {
    let range = (min..=max, min..=max).prop_map(|(from, to)| format!("{from}-{to}"));
    let item = prop_oneof![
        (min..=max).prop_map(|number| number.to_string()),
        range.clone(),
        (range, 1_u8..9).prop_map(|(range, step)| format!("{range}/{step}")),
        (1_u8..20).prop_map(|step| format!("*/{step}")),
    ];
    prop_oneof![
        Just("*".to_owned()),
        prop::collection::vec(item, 1..4).prop_map(|items| items.join(",")),
    ]
}

fn patterns() -> impl Strategy<Value = String> {
    let fields = (
        field(0, 59),
        field(0, 23),
        field(1, 31),
        Just("*"),
        field(0, 7),
    );
    fields.prop_map(|(a, b, c, d, e)| format!("{a} {b} {c} {d} {e}"))
}

proptest! {
    #[test]
    fn any_text_is_a_window_or_is_refused(text: String, now_ms: i64) {
        if let Ok(window) = text.parse::<Window>() {
            window.opens_at_ms(now_ms);
        }
    }

    #[test]
    fn the_next_opening_is_the_first_open_minute(
        pattern in patterns(), minute in 0_i64..5_000_000, second in 0_i64..60_000,
    ) {
        let window: Window = pattern.parse().unwrap();
        let now_ms = ms("2026-01-01T00:00:00Z") + minute * MINUTE_MS + second;
        let opens_ms = window.opens_at_ms(now_ms).unwrap();
        prop_assert!(window.is_open(opens_ms), "{pattern}");
        prop_assert!(opens_ms >= now_ms);
        // Nothing between is open; a day is searched, for longer pauses its first minutes.
        let mut between_ms = now_ms;
        for _ in 0..1_440 {
            if between_ms >= opens_ms {
                break;
            }
            prop_assert!(!window.is_open(between_ms), "{pattern} at {between_ms}");
            between_ms = (between_ms / MINUTE_MS + 1) * MINUTE_MS;
        }
    }
}
