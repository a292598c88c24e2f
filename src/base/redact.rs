//! What of a target may be shown to others than the upstream: the names of parameters, never their values, since tokens
//! travel there.

/// Stands for a value.
const HIDDEN: &str = "***";

/// Tells the path in pieces: parameters within it keep their names (`;jsessionid=***`).
pub fn path<'a>(path: &'a str, mut piece: impl FnMut(&'a str)) {
    if !path.contains(';') {
        return piece(path);
    }
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            piece("/");
        }
        let mut parts = segment.split(';');
        piece(parts.next().unwrap_or_default());
        for parameter in parts {
            piece(";");
            name(parameter, &mut piece);
        }
    }
}

/// Tells the query in pieces, without the `?` before it.
pub fn query<'a>(query: &'a str, mut piece: impl FnMut(&'a str)) {
    for (index, pair) in query.split('&').enumerate() {
        if index > 0 {
            piece("&");
        }
        name(pair, &mut piece);
    }
}

fn name<'a>(pair: &'a str, piece: &mut impl FnMut(&'a str)) {
    if let Some((name, _)) = pair.split_once('=') {
        piece(name);
        piece("=");
    }
    piece(HIDDEN);
}

#[cfg(test)]
mod tests {
    #[test]
    fn values_are_hidden() {
        let shown = |text: &str, tell: fn(&str, &mut String)| {
            let mut shown = String::new();
            tell(text, &mut shown);
            shown
        };
        let path = |text: &str| shown(text, |text, shown| super::path(text, |piece| shown.push_str(piece)));
        let query = |text: &str| shown(text, |text, shown| super::query(text, |piece| shown.push_str(piece)));
        assert_eq!(path("/a;jsessionid=x/b;v=1;secret;c=d=e"), "/a;jsessionid=***/b;v=***;***;c=***");
        assert_eq!((path("/").as_str(), path("/a/b").as_str()), ("/", "/a/b"));
        assert_eq!(query("a=1&token=secret&flag&b="), "a=***&token=***&***&b=***");
    }
}
