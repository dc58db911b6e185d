//! How a settled record is eight bytes shorter: fence and expiry in one column.
//!
//! `stamp` is `2048 * fence + span`, and `expires` is NULL where the span says it. A span is a small floating-point
//! number, rounded up: 64 to 127 (its last 6 bits, and 64) times a power of two (the 5 bits before them, and 19),
//! from the fence to the expiry. A record may so be remembered longer than its window, by a 32nd of it at most. The
//! fence keeps 52 bits, until the year 2112.

const FENCE: &str = "(@stamp >> 11)";
const EXPIRES: &str =
    "coalesce(@expires, (@stamp >> 11) + ((64 + (@stamp & 63)) << (19 + ((@stamp >> 6) & 31)::int4)))";
/// The span of a message claimed `@age` ago that is to be remembered for `@window`; NULL where it had to be rounded too
/// far, or the window is so short that it may matter: below a minute, or shorter than the handler took.
const SPAN: &str = "CASE WHEN @window >= 60000000 AND @age BETWEEN 0 AND @window AND @age + @window < 1::int8 << 51 \
                    THEN ((@age + @window + (1::int8 << (18 + @power)) - 1) >> (18 + @power)) + (@power - 2) * 64 END";
/// Which power of two it takes, beginning with 1 for 2^25 microseconds.
const POWER: &str = "width_bucket(@age + @window, '{@powers}'::int8[])";

/// Puts the columns in their full form into a text: `{fence}` and `{expires}`, or `{r.fence}` of a row named so,
/// `{power of AGE, WINDOW}`, and `{span of AGE, WINDOW, POWER}` with that.
pub(crate) fn fill(text: &str) -> String {
    let mut text = text.to_owned();
    for row in ["", "r.", "excluded."] {
        for (name, column) in [("fence", FENCE), ("expires", EXPIRES)] {
            text = text.replace(&format!("{{{row}{name}}}"), &column.replace('@', row));
        }
    }
    let powers: Vec<String> = (25..51).map(|power| (1_u64 << power).to_string()).collect();
    let text = expand(text, "power", &POWER.replace("@powers", &powers.join(",")));
    expand(text, "span", SPAN)
}

fn expand(mut text: String, name: &str, to: &str) -> String {
    let asked = format!("{{{name} of ");
    while let Some((before, (values, after))) =
        text.split_once(&asked).and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        let mut values = values.split(", ");
        let mut filled = to.to_owned();
        for parameter in ["@age", "@window", "@power"] {
            filled = filled.replace(parameter, values.next().unwrap_or("0"));
        }
        text = [before, &filled, after].concat();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_put_in_for_the_row_that_is_named() {
        assert_eq!(fill("{r.fence}, {fence}"), "(r.stamp >> 11), (stamp >> 11)");
        assert!(
            fill("{excluded.expires}").starts_with("coalesce(excluded.expires, (excluded.stamp >> 11) + ")
        );
        let filled = fill("x {span of age, q.time, power} y");
        assert!(filled.starts_with("x CASE WHEN q.time >= 60000000 AND age BETWEEN 0 AND q.time "));
        assert!(filled.ends_with(" + (power - 2) * 64 END y") && !filled.contains('@'), "{filled}");
        assert!(
            fill("{power of age, q.time}").starts_with("width_bucket(age + q.time, '{33554432,67108864,")
        );
    }
}
