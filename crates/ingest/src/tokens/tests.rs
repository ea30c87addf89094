use std::collections::HashSet;

use actix_web::http::header::HeaderValue;

use super::*;

const ONE: &str = "0123456789abcdef";
const TWO: &str = "~!@$%^&*()-_=+[]";

fn digest(token: &str) -> Digest {
    Sha256::digest(token).into()
}

#[test]
fn a_file_has_one_token_a_line() {
    let check = |text: &str, tokens: &[&str]| {
        let expect: Vec<_> = tokens.iter().map(|token| digest(token)).collect();
        assert_eq!(parse(text.as_bytes()).unwrap(), expect, "{text:?}");
    };
    check(ONE, &[ONE]);
    check("s", &["s"]);
    check(&format!("{ONE}\n{TWO}\n"), &[ONE, TWO]);
    check(&format!("# old\r\n\r\n \t{ONE}  \r\n\n#{TWO}\n  # new\n{TWO}"), &[ONE, TWO]);
    let most: Vec<_> = (0..MOST_LINES).map(|n| format!("{ONE}{n}")).collect();
    let distinct: HashSet<_> = parse(most.join("\n").as_bytes()).unwrap().into_iter().collect();
    assert_eq!(distinct.len(), MOST_LINES);
}

#[test]
fn a_bad_file_is_told_by_line_and_without_its_text() {
    let check = |text: &[u8], expect: &str| {
        let error = format!("{:#}", parse(text).unwrap_err());
        assert!(error.starts_with(expect), "{error}");
        assert!(!error.contains("0123456789abcde") && !error.contains("secret"), "{error}");
    };
    check(b"", "there is no token in it");
    check(b"\n# only\n \n", "there is no token in it");
    check(format!("{ONE}\n\n#\nsecret words").as_bytes(), "line 4 is no token");
    check(format!("{ONE} {ONE}").as_bytes(), "line 1 is no token");
    check(format!("{ONE}é").as_bytes(), "line 1 is no token");
    check(format!("{ONE}\0").as_bytes(), "line 1 is no token");
    check(&[&[0xff; 20], ONE.as_bytes()].concat(), "line 1 is no token");
    check(format!("{}{ONE}", "\n".repeat(MOST_LINES)).as_bytes(), "line 1001: at most 1000");
    check(&vec![b'a'; MOST_BYTES as usize + 1], "it is longer than 1 MiB");
}

fn tokens(known: &[&str]) -> Tokens {
    let digests = RwLock::new(known.iter().map(|token| digest(token)).collect());
    Tokens { option: "--token-file", path: PathBuf::new(), digests }
}

fn caller(values: &[&str]) -> Result<Caller, String> {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    let known = tokens(&[TWO, ONE, "a-third-that-nobody-uses"]);
    known.caller(&headers, false).map_err(|problem| {
        let answer = problem.respond("x");
        answer.headers().get(WWW_AUTHENTICATE).unwrap().to_str().unwrap().to_owned()
    })
}

#[test]
fn a_known_token_names_its_caller() {
    for token in [ONE, TWO] {
        for scheme in ["Bearer ", "bearer ", "BEARER ", "Bearer   "] {
            let expect = Caller { token: Some(digest(token)) };
            assert_eq!(caller(&[&format!("{scheme}{token}")]), Ok(expect), "{scheme}");
        }
    }
}

#[test]
fn anything_else_is_refused_with_a_challenge() {
    let check = |values: &[&str], expect: &str| {
        assert_eq!(caller(values), Err(expect.to_owned()), "{values:?}");
    };
    let none = r#"Bearer realm="postback""#;
    check(&[], none);
    check(&[""], none);
    check(&["Bearer"], none);
    check(&[ONE], none);
    check(&[&format!("Basic {ONE}")], none);
    check(&[&format!("Bearer{ONE}")], none);
    let wrong = r#"Bearer realm="postback", error="invalid_token""#;
    check(&["Bearer "], wrong);
    check(&[&format!("Bearer {ONE}0")], wrong);
    check(&[&format!("Bearer {}", &ONE[..15])], wrong);
    check(&[&format!("Bearer {}", ONE.to_uppercase())], wrong);
    check(&[&format!("Bearer {ONE}, Bearer {ONE}")], wrong);
    check(&[&format!("Bearer {ONE}"), &format!("Bearer {ONE}")], wrong);
}
