//! How the boxes were in the minutes. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{MINUTE_MS, past::PastStep};
use crate::health::{Health, Nginx};

/// Boxes that are told of; of more those that come first by name.
const BOXES: usize = 64;

/// How a box was.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxFigures {
    /// Its name.
    pub name: String,
    /// When it was last seen, milliseconds since 1970, Redis's time.
    pub seen_ms: u64,
    /// How it was then.
    pub latest: Option<Health>,
    /// Its nginx's connections at the last look.
    pub nginx: Option<Nginx>,
    /// The mean of each step, and the most connections of its nginx.
    pub steps: Vec<(Option<Health>, Option<Nginx>)>,
}

/// What a box told in a step, or in one minute of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Told {
    seen_ms: u64,
    latest: (Option<Health>, Option<Nginx>),
    /// Of the step: the mean, and the most connections.
    all: (Option<Health>, Option<Nginx>),
}

/// What the boxes told, by name.
pub(super) type Boxes = BTreeMap<String, Told>;

/// The fields of `health:<n>`: `<box>` and `<box>/nginx`, each with the second at which it was told.
pub(super) fn boxes_of(minute: u64, fields: &[(String, String)]) -> Boxes {
    let mut boxes = Boxes::new();
    for (field, text) in fields {
        let Some((second, text)) = text.split_once(' ') else { continue };
        let (name, is_nginx) =
            field.strip_suffix("/nginx").map_or((&field[..], false), |name| (name, true));
        let told = boxes.entry(name.to_owned()).or_default();
        let second: u64 = second.parse().unwrap_or(0);
        told.seen_ms = told.seen_ms.max(minute * MINUTE_MS + second * 1000);
        if is_nginx {
            told.latest.1 = Nginx::decode(text);
        } else {
            told.latest.0 = Health::decode(text);
        }
    }
    boxes
}

/// What the boxes told in a step, of its minutes.
pub(super) fn boxes_of_step(minutes: &[Boxes]) -> Boxes {
    let names: BTreeSet<&String> = minutes.iter().flat_map(BTreeMap::keys).collect();
    let told = |name: &String| {
        let told = || minutes.iter().filter_map(|minute| minute.get(name));
        let health: Vec<Health> = told().filter_map(|told| told.latest.0).collect();
        let nginx: Vec<Nginx> = told().filter_map(|told| told.latest.1).collect();
        let last = told().next_back().cloned().unwrap_or_default();
        Told { all: (Health::mean(&health), Nginx::fullest(&nginx)), ..last }
    };
    names.into_iter().map(|name| (name.clone(), told(name))).collect()
}

/// Every box, of all steps.
pub(super) fn of_all_steps(steps: &[Arc<PastStep>]) -> Vec<BoxFigures> {
    let names: BTreeSet<&String> = steps.iter().flat_map(|step| step.boxes.keys()).collect();
    let figures = |name: &String| {
        let told = || steps.iter().map(|step| step.boxes.get(name));
        let last = told().flatten().next_back().cloned().unwrap_or_default();
        BoxFigures {
            name: name.clone(),
            seen_ms: last.seen_ms,
            latest: last.latest.0,
            nginx: last.latest.1,
            steps: told().map(|told| told.map_or((None, None), |told| told.all)).collect(),
        }
    };
    names.into_iter().take(BOXES).map(figures).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_s_steps_have_gaps_where_it_was_not_seen() {
        let health = Health { cpu: 0.5, cores: 2, ..Health::default() }.encode();
        let minute = |n, fields: &[(&str, String)]| {
            let fields: Vec<_> = fields.iter().map(|(f, t)| ((*f).to_owned(), t.clone())).collect();
            boxes_of(n, &fields)
        };
        let minutes = [
            minute(0, &[("a", format!("7 {health}")), ("a/nginx", "3 4 1 2 1".into())]),
            minute(1, &[("b", format!("59 {health}")), ("c", "x".into())]),
            minute(2, &[]),
        ];
        let step = |minute| {
            let (figures, boxes) = (Default::default(), boxes_of_step(&[minute]));
            Arc::new(PastStep { figures, boxes })
        };
        let boxes = of_all_steps(&minutes.map(step));
        assert_eq!(boxes.iter().map(|b| &b.name[..]).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((boxes[0].seen_ms, boxes[1].seen_ms), (7000, 119_000));
        assert_eq!(boxes[0].nginx.map(|nginx| nginx.active), Some(4));
        let seen: Vec<bool> = boxes[0].steps.iter().map(|(health, _)| health.is_some()).collect();
        assert_eq!(seen, [true, false, false]);
    }
}
