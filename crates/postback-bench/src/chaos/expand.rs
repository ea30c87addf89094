//! What the sink must see of a row, worked out by hand for each shape: nothing here uses the template code that is
//! under test. The requests that these belong to are written in `script`.

use super::journal::{Act, Row, Shape};

/// A request as it must arrive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) body: String,
}

/// The request that a row of this shape must become.
pub(super) fn expected(shape: Shape, row: &Row) -> Expected {
    let Row { click, n, text, .. } = row;
    let path = path(row.act);
    let coded = percent(text, false);
    let get = |target| Expected { method: "GET", target, body: String::new() };
    let post = |body| Expected { method: "POST", target: format!("/{path}?id={click}"), body };
    match shape {
        Shape::Query | Shape::Bad => {
            get(format!("/{path}?id={click}&t={coded}&n={n}&none=&other=none%2Fat%20all"))
        }
        Shape::Lists => {
            get(format!("/{path}?click={click}&text={coded}&n={n}&tags=a%20b&tags=c%26d&deep=x"))
        }
        Shape::Row => post(row_json(row)),
        Shape::Object => {
            let text = json_text(text);
            post(format!(
                r#"{{"click":"{click}","n":{n},"note":"n is {n}: {text}","list":[1,true,null,"{text}"]}}"#
            ))
        }
        Shape::Form => post(format!("id={click}&n={n}&text={}", percent(text, true))),
    }
}

/// The sink's path that makes it act so.
pub(super) fn path(act: Act) -> String {
    match act {
        Act::Deliver => "ok".to_owned(),
        Act::Slow(ms) => format!("slow/{ms}"),
        Act::Flaky(n) => format!("flaky/{n}"),
        Act::Refuse => "status/404".to_owned(),
        Act::Fail => "status/500".to_owned(),
    }
}

/// A row's JSON, as it goes to ingest.
pub(super) fn row_json(row: &Row) -> String {
    format!(
        r#"{{"click":"{}","act":"{}","n":{},"text":"{}","none":null,"tags":["a b","c&d"],"deep":{{"er":"x"}}}}"#,
        row.click,
        path(row.act),
        row.n,
        json_text(&row.text)
    )
}

/// The inside of a JSON string. Rows hold no control characters, so that quote and backslash are all there is.
fn json_text(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// RFC 3986: all but the unreserved characters as `%XX`. A form writes a space as `+` and escapes `~` (the URL
/// Standard's application/x-www-form-urlencoded, which keeps `*`).
fn percent(text: &str, form: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' => out.push(byte.into()),
            b'~' if !form => out.push('~'),
            b'*' if form => out.push('*'),
            b' ' if form => out.push('+'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row { click: "t-1-2".into(), act: Act::Flaky(2), n: 7, text: r#"a "é\ ~*&{x}"#.into() }
    }

    #[test]
    fn a_url_has_everything_but_unreserved_characters_escaped() {
        let expect =
            "/flaky/2?id=t-1-2&t=a%20%22%C3%A9%5C%20~%2A%26%7Bx%7D&n=7&none=&other=none%2Fat%20all";
        let expected = expected(Shape::Query, &row());
        assert_eq!((expected.method, expected.target.as_str()), ("GET", expect));
        assert_eq!(expected.body, "");
    }

    #[test]
    fn a_body_is_written_by_its_content_type() {
        let check = |shape, expect: &str| assert_eq!(expected(shape, &row()).body, expect);
        check(Shape::Form, "id=t-1-2&n=7&text=a+%22%C3%A9%5C+%7E*%26%7Bx%7D");
        check(
            Shape::Object,
            r#"{"click":"t-1-2","n":7,"note":"n is 7: a \"é\\ ~*&{x}","list":[1,true,null,"a \"é\\ ~*&{x}"]}"#,
        );
    }

    #[test]
    fn a_row_s_json_can_be_read_back() {
        let value: serde_json::Value = serde_json::from_str(&row_json(&row())).unwrap();
        assert_eq!(value["text"], row().text);
        assert_eq!(value["n"], 7);
    }
}
