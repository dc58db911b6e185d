//! The keys under which a sabotaged store keeps its records.

use ackonce::Key;

use crate::bug::Bug;

pub(crate) fn stored_key(bug: Bug, key: &Key) -> Vec<u8> {
    let id = key.id().as_ref();
    let text = || String::from_utf8_lossy(id);
    let misread = match bug {
        Bug::KeyFolded => id.to_ascii_lowercase(),
        Bug::KeyTrimmed => id.trim_ascii().to_vec(),
        Bug::KeyLossy => text().into_owned().into_bytes(),
        Bug::KeyNumeric => match text().parse::<f64>() {
            Ok(number) => number.to_string().into_bytes(),
            Err(_) => id.to_vec(),
        },
        Bug::KeyComposed => text().replace("e\u{301}", "\u{e9}").into_bytes(),
        Bug::KeyEndsAtNul => id.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
        Bug::KeyCut => id[..id.len().min(255)].to_vec(),
        Bug::KeyHashTag => tag(id).to_vec(),
        Bug::KeyUnescaped => text().replace(['\'', '\\'], "").into_bytes(),
        Bug::KeyConcatenated => return [key.scope().name().as_bytes(), id].concat(),
        Bug::KeyJoined => return [key.scope().name().as_bytes(), b":", id].concat(),
        Bug::ScopeIsIgnored => return id.to_vec(),
        _ => return key.digest().to_vec(),
    };
    [key.scope().name().as_bytes(), b"\n", &misread].concat()
}

/// As Redis Cluster does: the part in the first braces, if there is any.
fn tag(id: &[u8]) -> &[u8] {
    let inner = id.iter().position(|b| *b == b'{').and_then(|open| {
        let rest = &id[open + 1..];
        rest.iter().position(|b| *b == b'}').map(|close| &rest[..close])
    });
    inner.filter(|tag| !tag.is_empty()).unwrap_or(id)
}
