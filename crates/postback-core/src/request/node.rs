//! A value of the request together with its place, so that whatever is wrong with it names where.

use std::{borrow::Cow, fmt::Display, iter, mem};

use super::{
    cursor::{Cursor, Unread, duplicate},
    json::Json,
    problems::{Problem, Problems},
};

/// A value and its place: `policy.retries[3]`.
#[derive(Debug, Clone)]
pub(super) struct Node<'b> {
    pub(super) json: Json<'b>,
    pub(super) place: String,
}

impl<'b> Node<'b> {
    /// The whole request.
    pub(super) fn root(json: Json<'b>) -> Node<'b> {
        Node { json, place: String::new() }
    }

    /// What is wrong with it.
    pub(super) fn bad(&self, reason: impl Display) -> Problem {
        Problem::new(self.json.text().as_ptr(), self.shown(), reason)
    }

    /// The error that a value of another kind gets.
    pub(super) fn not(&self, wanted: &str) -> Problem {
        self.bad(format_args!("must be {wanted}, not {}", self.json.kind()))
    }

    /// The error of an object without this field, which comes behind those of the fields it has.
    fn lacks(&self, name: &str) -> Problem {
        let end = self.json.text().as_bytes().as_ptr_range().end;
        Problem::new(end, self.shown(), format_args!("`{name}` is missing"))
    }

    fn shown(&self) -> &str {
        if self.place.is_empty() { "request" } else { &self.place }
    }

    /// A string.
    pub(super) fn text(&self) -> Result<Cow<'b, str>, Problem> {
        match self.json.first() {
            b'"' => Ok(self.json.cursor().string()),
            _ => Err(self.not("a string")),
        }
    }

    /// A list's items.
    pub(super) fn items(&self) -> Result<Vec<Node<'b>>, Problem> {
        if self.json.first() != b'[' {
            return Err(self.not("a list"));
        }
        let (mut cursor, mut items) = (self.json.cursor(), Vec::new());
        while cursor.item() {
            let place = format!("{}[{}]", self.place, items.len());
            items.push(Node { json: cursor.skip(), place });
        }
        Ok(items)
    }

    /// Whether it is null, which means the same as absent.
    pub(super) fn is_null(&self) -> bool {
        self.json.first() == b'n'
    }

    /// An object's members.
    pub(super) fn members(&self) -> Result<Vec<(Cow<'b, str>, Node<'b>)>, Problem> {
        let (mut cursor, mut members) = (self.object()?, Vec::new());
        while let Some(key) = cursor.member() {
            let node = self.member(&key, cursor.skip());
            members.push((key, node));
        }
        match duplicate(members.iter().map(|(key, _)| key.as_ref())) {
            Some(key) => Err(self.bad(Unread::Duplicate(key.to_owned()))),
            None => Ok(members),
        }
    }

    fn object(&self) -> Result<Cursor<'b>, Problem> {
        if self.json.first() == b'{' { Ok(self.json.cursor()) } else { Err(self.not("an object")) }
    }

    fn member(&self, key: &str, json: Json<'b>) -> Node<'b> {
        let place = match self.place.as_str() {
            "" => key.to_owned(),
            place => format!("{place}.{key}"),
        };
        Node { json, place }
    }

    /// An object's fields that are not null, in the order of `names`; every other name is refused. None at all when
    /// it is no object, or has one of them twice and so leaves open which is meant. The request itself is read by
    /// this: nothing is kept of the names, of which there may be a million.
    pub(super) fn fields<const N: usize>(
        &self,
        names: [&str; N],
        problems: &mut Problems,
    ) -> Option<[Option<Node<'b>>; N]> {
        let mut cursor = problems.note(self.object())?;
        let members = iter::from_fn(|| cursor.member().map(|key| (key, cursor.skip())));
        self.fields_of(members, names, problems)
    }

    /// The same of members that are known.
    pub(super) fn fields_of<const N: usize>(
        &self,
        members: impl Iterator<Item = (Cow<'b, str>, Json<'b>)>,
        names: [&str; N],
        problems: &mut Problems,
    ) -> Option<[Option<Node<'b>>; N]> {
        let (mut fields, mut seen) = ([const { None }; N], [false; N]);
        for (key, json) in members {
            let node = self.member(&key, json);
            let Some(known) = names.iter().position(|name| *name == key) else {
                let known = names.join(", ");
                problems.add(node.bad(format_args!("unknown field; known are {known}")));
                if problems.is_full() {
                    return None;
                }
                continue;
            };
            if mem::replace(&mut seen[known], true) {
                problems.add(self.bad(Unread::Duplicate(key.into_owned())));
                return None;
            }
            fields[known] = (!node.is_null()).then_some(node);
        }
        Some(fields)
    }

    /// A field that must be there.
    pub(super) fn required(
        &self,
        name: &str,
        field: Option<Node<'b>>,
        problems: &mut Problems,
    ) -> Option<Node<'b>> {
        problems.note(field.ok_or_else(|| self.lacks(name)))
    }
}
