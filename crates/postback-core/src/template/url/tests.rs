//! URL templates beyond the RFC's own examples, which are in `template/rfc6570.rs`.

use super::*;
use crate::value::Value;

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

fn list<'a>(items: &[&'a str]) -> Value<'a> {
    Value::List(items.iter().map(|item| text(item)).collect())
}

/// The values that the tests know by name.
fn value(name: &str) -> Value<'static> {
    match name {
        "x" => text("a b"),
        "empty" => text(""),
        "n" => Value::Literal("1.10".into()),
        "yes" => Value::Literal("true".into()),
        "braces" => text("{x}{n}"),
        "list" => list(&["a", "b c"]),
        "gaps" => Value::List(vec![Value::Null, text("a"), Value::Null, text("")]),
        "nulls" => Value::List(vec![Value::Null]),
        "none" => Value::List(vec![]),
        "bare" => Value::Object(vec![]),
        "nested" => Value::List(vec![list(&["a"]), Value::Object(vec![("k".into(), text("v"))])]),
        "odd" => Value::Object(vec![
            ("a&b=c".into(), text("1")),
            ("d".into(), text("")),
            ("e".into(), Value::Null),
        ]),
        "key-n" => text("dash"),
        "device.id" => text("path"),
        "ключ" | " spaced " | "a=b" | "=x" | "user[id]" => text("ok"),
        "hash" => text("a#b%23%"),
        "long" => text("0123456789"),
        "pct" => text("a%2Fb%"),
        _ => Value::Null,
    }
}

fn expand_with(template: &str, unmatched: &str) -> Result<String, Misfit> {
    let mut names = Names::new(unmatched);
    let template = UrlTemplate::parse(template, 0, &mut names).unwrap();
    let (names, _) = names.into_parts();
    let row: Row<'_> = names.iter().map(|name| value(name)).collect();
    let mut out = String::new();
    template.expand(&row, 8192, &mut out, |_, _| {}).map(|()| out)
}

fn check(template: &str, expect: &str) {
    assert_eq!(expand_with(template, "").as_deref(), Ok(expect), "{template}");
}

#[test]
fn a_name_is_any_run_of_characters_but_the_grammars_own() {
    check("{key-n}", "dash");
    check("{device.id}", "path");
    check("{?ключ}", "?%D0%BA%D0%BB%D1%8E%D1%87=ok");
    check("{ spaced }", "ok");
    check("{? spaced }", "?%20spaced%20=ok");
    check("{&a=b}", "&a%3Db=ok");
    check("{=x}", "ok");
    check("{?user[id]}", "?user[id]=ok");
}

#[test]
fn a_placeholder_without_a_value_gets_its_fallback_which_is_a_value() {
    check("{u|f}", "f");
    check("{x|f}", "a%20b");
    check("{empty|f}", "");
    check("{u|a b/c}", "a%20b%2Fc");
    check("{+u|/a b}", "/a%20b");
    check("{u:3|ab}", "ab");
    check("{u:3|abcd}", "abc");
    check("{u*|ab}", "ab");
    check("{?u|1,n}", "?u=1&n=1.10");
    check("{?n,u|1}", "?n=1.10&u=1");
    check("{?u*|1,w|2}", "?u=1&w=2");
    check("{u|http://x:1*}", "http%3A%2F%2Fx%3A1%2A");
    check("{u|a|b}", "a%7Cb");
    check("{u|}", "");
    check("{?u|,n}", "?n=1.10");
    check("{none|f}-{nulls|f}-{bare|f}", "--");
}

#[test]
fn a_fallback_of_its_own_goes_before_the_policys() {
    let check = |template: &str, expect: &str| {
        assert_eq!(expand_with(template, "un/k").as_deref(), Ok(expect), "{template}");
    };
    check("{u}", "un%2Fk");
    check("{+u}", "un/k");
    check("{?u,v|own,n}", "?u=un%2Fk&v=own&n=1.10");
    check("{u|}", "");
    check("{?u|,n,w}", "?n=1.10&w=un%2Fk");
    check("{none}", "");
    check("{?empty}", "?empty=");
}

#[test]
fn an_undefined_name_leaves_no_trace() {
    check("{u}", "");
    check("{?u}", "");
    check("{?u,n,v}", "?n=1.10");
    check("a{/u,n}{.u}{;u}{&u}", "a/1.10");
    check("{u,n,v,yes}", "1.10,true");
    check("?foo={u}", "?foo=");
    check("{?none,nulls,bare}", "");
    check("{/list*,u,n}", "/a/b%20c/1.10");
}

#[test]
fn values_keep_their_text_and_are_expanded_once() {
    check("{n}{yes}", "1.10true");
    check("{n:2}", "1.");
    check("{braces}", "%7Bx%7D%7Bn%7D");
    check("{+braces}", "%7Bx%7D%7Bn%7D");
    check("{u|%7Bx%7D}", "%257Bx%257D");
}

#[test]
fn members_of_lists_may_be_null_empty_or_nested() {
    check("{gaps}", "a,");
    check("{?gaps}", "?gaps=a,");
    check("{?gaps*}", "?gaps=a&gaps=");
    check("{;gaps*}", ";gaps=a;gaps");
    check("{nested}", "%5B%22a%22%5D,%7B%22k%22%3A%22v%22%7D");
    check("{/nested*}", "/%5B%22a%22%5D/%7B%22k%22%3A%22v%22%7D");
}

#[test]
fn names_of_members_cannot_end_a_parameter() {
    check("{?odd*}", "?a%26b%3Dc=1&d=");
    check("{;odd*}", ";a%26b%3Dc=1;d");
    check("{odd*}", "a%26b%3Dc=1,d=");
    check("{odd}", "a%26b%3Dc,1,d,");
}

#[test]
fn reserved_expansion_keeps_triplets_and_starts_no_fragment() {
    check("{+hash}", "a%23b%23%25");
    check("{hash}", "a%23b%2523%25");
    check("{+pct}", "a%2Fb%25");
    check("{+pct:2}", "a%2F");
    check("{pct:2}", "a%25");
}

#[test]
fn literal_text_that_no_url_may_hold_is_encoded() {
    check("/a b/é?q=\"<>\\^`|'[]", "/a%20b/%C3%A9?q=%22%3C%3E%5C%5E%60%7C'[]");
    check("%2f%2E%zz%", "%2f%2E%25zz%25");
    check("%{n}%2{n}", "%251.10%2521.10");
}

#[test]
fn a_prefix_of_a_list_or_object_does_not_fit() {
    for template in ["{list:3}", "{?odd:1}", "{/x,list:3}"] {
        assert!(matches!(expand_with(template, ""), Err(Misfit::Prefix(_))), "{template}");
    }
}

#[test]
fn an_expansion_stops_at_its_limit() {
    let mut names = Names::new("");
    let template = UrlTemplate::parse("{x}{x}", 0, &mut names).unwrap();
    let expand = |row: Row<'_>, limit| template.expand(&row, limit, &mut String::new(), |_, _| {});
    assert_eq!(expand(vec![text("ab")], 4), Ok(()));
    assert_eq!(expand(vec![text("ab")], 3), Err(Misfit::TooLong));
    assert_eq!(expand(vec![], 0), Ok(()));
}

#[test]
fn a_bad_template_is_refused_with_its_position() {
    use TemplateError::{Modifier, NoName, Stray, Unclosed};
    let check = |template: &str, expect: TemplateError| {
        let refused = UrlTemplate::parse(template, 0, &mut Names::new("")).err();
        assert_eq!(refused, Some(expect), "{template}");
    };
    check("{", Unclosed(1));
    check("/é{x", Unclosed(3));
    check("/{x{y}}", Unclosed(2));
    check("/{x}}", Stray(5));
    check("}", Stray(1));
    for template in
        ["{}", "{+}", "{?}", "{,}", "{x,}", "{,x}", "{x,,y}", "{*}", "{:3}", "{|f}", "{?|f}"]
    {
        check(template, NoName(1));
    }
    for template in [
        "{x:}",
        "{x:0}",
        "{x:03}",
        "{x:10000}",
        "{x:99999}",
        "{x:-1}",
        "{x:+1}",
        "{x:a}",
        "{x:1a}",
        "{x:3*}",
        "{x*:3}",
        "{x**}",
        "{x*y}",
        "{x:1:2}",
        "{x: 3}",
        "{x:٣}",
    ] {
        check(template, Modifier(1));
    }
}

#[test]
fn the_path_is_filled_by_what_comes_before_a_literal_query() {
    let check = |template: &str, expect: bool| {
        let template = UrlTemplate::parse(template, 0, &mut Names::new("")).unwrap();
        assert_eq!(template.fills_path(), expect, "{template:?}");
    };
    check("/a?x={x}{&y}", false);
    check("/a{?x}", true);
    check("/{x}", true);
    check("/a{?x}/{y}", true);
    check("/{x}?y", true);
}
