//! Values without their secrets.

/// Names of options in a URL whose values are secrets, by a part of the name.
const SECRET: [&str; 6] = ["pass", "secret", "token", "key", "auth", "sig"];
/// Names with such a part whose values are none.
const OPEN: [&str; 3] = ["routing-key", "routing_key", "key"];

/// The text of a setting without passwords: that of the user in `scheme://user:password@host`, also with a list of
/// hosts, which no parser of URLs takes; the user of a service who stands alone, which is then the key; those of options
/// (`?sslpassword=…`) and of libpq's `password=…`. An option that ends in `-env` names a variable and is shown.
#[must_use]
pub fn redacted(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (place, query) = match rest.split_once('?') {
                Some((place, query)) => (place, Some(query)),
                None => (rest, None),
            };
            // An `@` behind the `?` is a password that was not encoded: nothing of it can be told apart.
            if query.is_some_and(|query| query.contains('@')) {
                return format!("{scheme}://***");
            }
            let mut shown = format!("{scheme}://{}", without_password(scheme, place));
            if let Some(query) = query {
                shown.push('?');
                shown.push_str(&options(query, '&'));
            }
            shown
        }
        None if text.contains('=') => options(text, ' '),
        None => text.to_owned(),
    }
}

fn without_password(scheme: &str, place: &str) -> String {
    // A password may have an `@` or a `/` in it, so the last `@` counts.
    let Some((user, host)) = place.rsplit_once('@') else { return place.to_owned() };
    match user.split_once(':') {
        Some((_, "")) => format!("***@{host}"),
        None if scheme.starts_with("http") => format!("***@{host}"),
        Some((user, _)) => format!("{user}:***@{host}"),
        None => place.to_owned(),
    }
}

fn options(text: &str, between: char) -> String {
    let options = text.split(between).map(|option| match option.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=***"),
        _ => option.to_owned(),
    });
    options.collect::<Vec<_>>().join(&between.to_string())
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !OPEN.contains(&name.as_str()) && !name.ends_with("-env") && SECRET.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown_wherever_it_stands() {
        for (text, shown) in [
            ("postgres://app:s3cret@db/app?sslmode=require", "postgres://app:***@db/app?sslmode=require"),
            ("amqp://u:p@ss/word@h1:5672/%2f?queue=q", "amqp://u:***@h1:5672/%2f?queue=q"),
            (
                "kafka://a:1,b:2/t?group=g&kafka.sasl.password=x",
                "kafka://a:1,b:2/t?group=g&kafka.sasl.password=***",
            ),
            ("amqp://h/v?exchange=e&routing-key=k", "amqp://h/v?exchange=e&routing-key=k"),
            (
                "webhook://h:1/p?provider=stripe&secret-env=NAME",
                "webhook://h:1/p?provider=stripe&secret-env=NAME",
            ),
            ("redis://h?password=a@b", "redis://***"),
            ("https://h/x?sig=x&auth=y&passwd=z", "https://h/x?sig=***&auth=***&passwd=***"),
            ("host=db user=app password=x", "host=db user=app password=***"),
            ("https://s3cret@h/x", "https://***@h/x"),
            ("https://s3cret:@h/x", "https://***@h/x"),
            ("postgres://app@db/app", "postgres://app@db/app"),
            ("24h", "24h"),
            ("sqlite:/var/lib/a.db?generation=4", "sqlite:/var/lib/a.db?generation=4"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }
}
