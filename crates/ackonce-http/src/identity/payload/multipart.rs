//! Multipart bodies without their boundary, which clients draw anew for each attempt.

/// The parts of a multipart body, each behind its length. `None` for a body that is not made of parts between this
/// boundary from its first byte on, so that nothing is left out that a server might read.
pub(super) fn canonical(content_type: &str, body: &[u8]) -> Option<Vec<u8>> {
    let boundary = boundary(content_type)?;
    let mut rest = body.strip_prefix(b"--")?.strip_prefix(boundary)?;
    let delimiter = [b"\r\n--", boundary].concat();
    let mut out = b"multipart\n".to_vec();
    loop {
        rest = match rest.strip_prefix(b"--") {
            Some(b"" | b"\r\n") => return Some(out),
            Some(_) => return None,
            None => rest.strip_prefix(b"\r\n")?,
        };
        let end = find(rest, &delimiter)?;
        let (part, after) = rest.split_at_checked(end)?;
        out.extend_from_slice(&(part.len() as u64).to_be_bytes());
        out.extend_from_slice(part);
        rest = after.strip_prefix(&delimiter[..])?;
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    // Carriage returns are rare, and each is looked at once.
    let mut from = 0;
    loop {
        from += haystack.get(from..)?.iter().position(|b| *b == b'\r')?;
        if haystack[from..].starts_with(needle) {
            return Some(from);
        }
        from += 1;
    }
}

/// The parameter `boundary`, quoted or not.
fn boundary(content_type: &str) -> Option<&[u8]> {
    let value = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    let value = match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"').filter(|inner| !inner.contains(['"', '\\']))?,
        None => value,
    };
    (1..=70).contains(&value.len()).then_some(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(boundary: &str, parts: &[&str]) -> String {
        let parts: String = parts.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
        format!("{parts}--{boundary}--\r\n")
    }

    fn form(boundary: &str, body: &str) -> Option<Vec<u8>> {
        canonical(&format!("multipart/form-data; boundary={boundary}"), body.as_bytes())
    }

    const A: &str = "content-disposition: form-data; name=\"a\"\r\n\r\n1";
    const B: &str = "content-disposition: form-data; name=\"b\"; filename=\"f\"\r\n\r\n\r\n--not\r\n2\r";

    #[test]
    fn the_same_parts_between_another_boundary_are_the_same_body() {
        let of = |boundary: &str, parts: &[&str]| form(boundary, &body(boundary, parts)).unwrap();
        assert_eq!(of("x", &[A, B]), of("----formdata-undici-0123", &[A, B]));
        assert_eq!(of("x", &[]).len(), of("y", &[]).len());
        assert_ne!(of("x", &[A, B]), of("x", &[B, A]));
        assert_ne!(of("x", &[A]), of("x", &[A, A]));
        assert_eq!(form("\"x\"", &body("x", &[A])), form("x", &body("x", &[A])));
    }

    #[test]
    fn a_body_that_is_not_made_of_parts_alone_has_no_other_form() {
        let whole = body("x", &[A]);
        for other in [
            format!("preamble\r\n{whole}"),
            format!("{whole}epilogue"),
            whole.replace("--x--", "--x"),
            whole.replacen("--x\r\n", "--x \r\n", 1),
            whole.replace("\r\n", "\n"),
            whole.replacen("1\r\n--x", "1\r\n--xy", 1),
            String::new(),
        ] {
            assert_eq!(form("x", &other), None, "{other:?}");
        }
        for content_type in
            ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"x"]
        {
            assert_eq!(canonical(content_type, whole.as_bytes()), None, "{content_type}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in "[-x\r\n a]{0,60}", content_type in "multipart/x;( )?boundary=[-x\"\\\\;]{0,4}") {
            canonical(&content_type, body.as_bytes());
        }
    }
}
