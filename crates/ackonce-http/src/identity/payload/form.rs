//! Pairs in one order: a query, or a form.

use std::borrow::Cow;

/// `name=value` pairs in the order of their names. The values of one name stay in their order, and so do those of one
/// name before its first `[`: `a[][x]=1&a[][y]=2` means a list to many servers. A name alone is a pair without a value, and an
/// empty pair is none. Nothing is decoded but names, to compare them.
pub(super) fn canonical(pairs: &[u8]) -> Cow<'_, [u8]> {
    if !pairs.contains(&b'&') {
        return pairs.into();
    }
    let mut named = Vec::new();
    for pair in pairs.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
        named.push((base(pair), pair));
    }
    // A stable sort.
    named.sort_by(|(a, _), (b, _)| a.cmp(b));
    let sorted: Vec<&[u8]> = named.into_iter().map(|(_, pair)| pair).collect();
    sorted.join(&b'&').into()
}

/// The decoded name up to its first `[`. Names that cannot be told apart stay in their order.
fn base(pair: &[u8]) -> String {
    let mut name = form_urlencoded::parse(pair).next().map(|(name, _)| name.into_owned()).unwrap_or_default();
    name.truncate(name.find('[').unwrap_or(name.len()));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_names_makes_no_difference_and_every_other_order_does() {
        let same = |a: &str, b: &str| canonical(a.as_bytes()) == canonical(b.as_bytes());
        assert!(same("a=1&b=2&c=3", "c=3&a=1&b=2"));
        assert!(same("a=1&b=2&a=3", "b=2&a=1&a=3"));
        assert!(same("a[x]=1&a[y]=2&b=", "b=&a[x]=1&a[y]=2"));
        assert!(same("dry_run&a=1", "a=1&dry_run") && same("up&down", "down&up"));
        assert!(same("a=1&b=2", "b=2&a=1&") && same("a=1&b=2", "&a=1&&b=2"));
        for (a, b) in [
            ("a=1&a=2", "a=2&a=1"),
            ("a=1&%61=2", "%61=2&a=1"),
            ("a[][x]=1&a[][y]=2&a[][x]=3", "a[][x]=1&a[][x]=3&a[][y]=2"),
            ("a%5B%5D%5Bx%5D=1&a[][y]=2", "a[][y]=2&a%5B%5D%5Bx%5D=1"),
            ("a=1&b=2", "a=2&b=1"),
            ("a=1%26b=2", "a=1&b=2"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
