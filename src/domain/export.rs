//! An export: what is asked next, what is written, and how many are written at once (R43).
//!
//! Promises: every record that is there all the time comes once, those that others need before them;
//! one page is in memory at a time, and one answer asks a bounded number of questions; the last line
//! says whether it is the last, or how to go on. An export whose reader went away, or takes almost
//! nothing, holds its slot only until somebody wants it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::wire::ids::{AtUri, Did};
use crate::wire::time::Micros;

/// What is exported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// What is shown of a community, and who is in it.
    Community(AtUri),
    /// Everything that a person wrote, wherever it is.
    Person(Did),
}

/// A part of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the collections")]
pub enum Step {
    Communities,
    Roles,
    Categories,
    Channels,
    Memberships,
    /// By communities of the newest form.
    Admissions,
    /// Likewise.
    Decisions,
    Approvals,
    /// Of one person: the one it is about, or the owner.
    Actors,
    /// Likewise.
    Profile,
    /// Of those who are in the community, besides the owner.
    MemberActors,
    /// Likewise.
    MemberProfiles,
    /// Of those who are admitted without a membership.
    AdmittedActors,
    /// Likewise.
    AdmittedProfiles,
    Messages,
    /// To the messages of the page before, or of the person.
    Reactions,
    ChannelReads,
    /// Of N50.
    OwnProfile,
    Mutes,
    Preferences,
    /// Records that wait for others (I60).
    Held,
}

impl Step {
    /// Every part.
    pub const ALL: &'static [Step] = &[
        Step::Communities,
        Step::Roles,
        Step::Categories,
        Step::Channels,
        Step::Memberships,
        Step::Admissions,
        Step::Decisions,
        Step::Approvals,
        Step::Actors,
        Step::Profile,
        Step::MemberActors,
        Step::MemberProfiles,
        Step::AdmittedActors,
        Step::AdmittedProfiles,
        Step::Messages,
        Step::Reactions,
        Step::ChannelReads,
        Step::OwnProfile,
        Step::Mutes,
        Step::Preferences,
        Step::Held,
    ];
}

/// The order in which an import needs them (R43).
const OF_COMMUNITY: &[Step] = &[
    Step::Communities,
    Step::Roles,
    Step::Categories,
    Step::Channels,
    Step::Memberships,
    Step::Admissions,
    Step::Decisions,
    Step::Approvals,
    Step::Actors,
    Step::Profile,
    Step::MemberActors,
    Step::MemberProfiles,
    Step::AdmittedActors,
    Step::AdmittedProfiles,
    Step::Messages,
];
const OF_PERSON: &[Step] = &[
    Step::Communities,
    Step::Roles,
    Step::Categories,
    Step::Channels,
    Step::Memberships,
    Step::Admissions,
    Step::Decisions,
    Step::Approvals,
    Step::Actors,
    Step::Profile,
    Step::Messages,
    Step::Reactions,
    Step::ChannelReads,
    Step::OwnProfile,
    Step::Mutes,
    Step::Preferences,
    Step::Held,
];

/// A record, as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub uri: AtUri,
    /// Its CID in its repository, if it is known.
    pub cid: Option<String>,
    /// The revision of its repository at the version last decided. `None`: it came from no repository.
    pub rev: Option<String>,
    /// Whether it is written. If not, it only says how far its page was read.
    pub shown: bool,
    /// The record as JSON, on one line.
    pub value: String,
    /// Its place in the order of its step.
    pub place: Vec<String>,
}

/// Entries in the order of their step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// These.
    pub entries: Vec<Entry>,
    /// Whether no other comes after them in this step.
    pub is_last: bool,
}

/// What is read next.
#[derive(Clone, Copy, Debug)]
pub struct Question<'w> {
    /// Of what.
    pub subject: &'w Subject,
    /// Which part.
    pub step: Step,
    /// After this place; empty: from the beginning.
    pub after: &'w [String],
    /// To which messages, if it is about reactions in a community.
    pub targets: &'w [AtUri],
}

/// How many questions one answer asks. A request on Cloudflare may ask D1 a thousand; the others are for
/// what it asks before, and for the reactions to the last page of messages.
const QUESTIONS: u32 = 500;

/// Where an export goes on in another answer. It comes back from a caller, who may have made it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    step: usize,
    after: Vec<String>,
    records: u64,
    /// When the whole of it began, in microseconds.
    began: i64,
}

/// How far an export is.
#[derive(Clone, Debug)]
pub struct Walk {
    subject: Subject,
    step: usize,
    after: Vec<String>,
    /// Messages whose reactions are being read: between one page of messages and the next.
    targets: Vec<AtUri>,
    /// Where the last page of messages ended, and whether it was the last.
    messages_end: (Vec<String>, bool),
    began: Micros,
    records: u64,
    /// How many questions this answer asked.
    questions: u32,
}

impl Walk {
    /// At the beginning, or where another answer ended.
    pub fn of(subject: Subject, rest: Option<Rest>, now: Micros) -> Self {
        let begin = || Rest { step: 0, after: Vec::new(), records: 0, began: now.0 };
        let Rest { step, after, records, began } = rest.unwrap_or_else(begin);
        Self {
            subject,
            step,
            after,
            targets: Vec::new(),
            messages_end: (Vec::new(), false),
            began: Micros(began),
            records,
            questions: 0,
        }
    }

    /// Where another answer could go on: nowhere at the end, and among the reactions to a page of
    /// messages.
    pub fn rest(&self) -> Option<Rest> {
        self.question().filter(|question| question.targets.is_empty())?;
        let (after, began) = (self.after.clone(), self.began.0);
        Some(Rest { step: self.step, after, records: self.records, began })
    }

    /// Where another answer has to go on, because this one asked enough.
    pub fn pause(&self) -> Option<Rest> {
        self.rest().filter(|_| self.questions >= QUESTIONS)
    }

    /// What is read next; `None` at the end.
    pub fn question(&self) -> Option<Question<'_>> {
        let steps = match &self.subject {
            Subject::Community(_) => OF_COMMUNITY,
            Subject::Person(_) => OF_PERSON,
        };
        let step = if self.targets.is_empty() { *steps.get(self.step)? } else { Step::Reactions };
        Some(Question { subject: &self.subject, step, after: &self.after, targets: &self.targets })
    }

    /// Takes the answer to [`Walk::question`]: the lines to write. The first rule that applies decides
    /// what comes next:
    ///   1. a page of a community's messages with one that is shown: the reactions to them;
    ///   2. the end of these reactions: the messages behind that page;
    ///   3. the end of any other step: the next step;
    ///   4. otherwise what comes after the last entry.
    pub fn take(&mut self, page: &Page) -> String {
        let Some(step) = self.question().map(|question| question.step) else { return String::new() };
        let shown: Vec<_> = page.entries.iter().filter(|entry| entry.shown).collect();
        let text: String = shown.iter().map(|entry| line(entry)).collect();
        self.records = self.records.saturating_add(shown.len() as u64);
        self.questions = self.questions.saturating_add(1);
        let last = page.entries.last().map(|entry| entry.place.clone());
        let is_over = page.is_last || last.is_none();
        let in_community = matches!(self.subject, Subject::Community(_));
        match (step, last) {
            (Step::Messages, Some(last)) if in_community && !shown.is_empty() => {
                self.targets = shown.iter().map(|entry| entry.uri.clone()).collect();
                self.messages_end = (last, page.is_last);
                self.after.clear();
            }
            (Step::Reactions, _) if in_community && is_over => {
                self.targets.clear();
                let (end, was_last) = std::mem::take(&mut self.messages_end);
                self.after = end;
                if was_last {
                    self.begin_next();
                }
            }
            (Step::Reactions, Some(last)) if in_community => {
                // Those whose reactions are all written are not asked about again.
                let done = last.first().and_then(|nth| nth.parse().ok()).unwrap_or(0);
                self.targets.drain(..done.min(self.targets.len()));
                self.after = last;
            }
            (_, Some(last)) if !is_over => self.after = last,
            _ => self.begin_next(),
        }
        text
    }

    fn begin_next(&mut self) {
        self.step += 1;
        self.after.clear();
    }

    /// The last line of an answer, which an export that was cut off lacks. It has the cursor of the rest, if
    /// the export goes on in another answer.
    pub fn end(&self, cursor: Option<&str>) -> String {
        #[derive(Serialize)]
        struct End<'a> {
            end: bool,
            records: u64,
            at: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            cursor: Option<&'a str>,
        }
        let end = End { end: cursor.is_none(), records: self.records, at: self.began.shown(), cursor };
        format!("{}\n", serde_json::to_string(&end).unwrap_or_default())
    }
}

/// A record's line. Its fields come in this order and without blanks: who reads it may cut it there.
fn line(entry: &Entry) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        uri: &'a AtUri,
        cid: Option<&'a str>,
        rev: Option<&'a str>,
        value: &'a RawValue,
    }
    let Ok(value) = serde_json::from_str(&entry.value) else { return String::new() };
    let cid = entry.cid.as_deref().filter(|cid| !cid.is_empty());
    let line = Line { uri: &entry.uri, cid, rev: entry.rev.as_deref(), value };
    format!("{}\n", serde_json::to_string(&line).unwrap_or_default())
}

/// How many exports are written at once. Each holds a page of half a megabyte, and asks the database
/// one question after the other.
pub const SLOTS: usize = 4;
/// A reader who read nothing for so long makes room for another, in microseconds.
const SILENCE: i64 = 60_000_000;
/// So does one who took so long for a page, on average.
const PACE: i64 = 10_000_000;

/// The exports that are being written.
#[derive(Debug, Default)]
pub struct Slots {
    taken: Vec<Slot>,
    numbers: u64,
}

#[derive(Debug)]
struct Slot {
    number: u64,
    who: String,
    began: Micros,
    read_at: Micros,
    pages: i64,
}

impl Slot {
    /// Whether its reader makes room for another.
    fn is_idle(&self, now: Micros) -> bool {
        let took = now.0.saturating_sub(self.began.0);
        now.0.saturating_sub(self.read_at.0) >= SILENCE
            || took >= SILENCE && self.pages.saturating_mul(PACE) < took
    }
}

impl Slots {
    /// None is taken.
    pub const fn new() -> Self {
        Self { taken: Vec::new(), numbers: 0 }
    }

    /// A slot for `who`. The first rule that applies decides:
    ///   1. the one that `who` has ends: its connection may have broken, and the service does not notice
    ///      when a reader goes away;
    ///   2. a free one;
    ///   3. the slot of a reader who read nothing for [`SILENCE`], or less than a page in [`PACE`]: of
    ///      the one who began first;
    ///   4. none.
    pub fn take(&mut self, who: &str, now: Micros) -> Option<u64> {
        self.taken.retain(|slot| slot.who != who);
        if self.taken.len() >= SLOTS {
            let idle = self.taken.iter().find(|slot| slot.is_idle(now))?.number;
            self.leave(idle);
        }
        self.numbers += 1;
        let (number, who) = (self.numbers, who.to_owned());
        self.taken.push(Slot { number, who, began: now, read_at: now, pages: 0 });
        Some(self.numbers)
    }

    /// Its reader takes more; `false` if it has its slot no more.
    pub fn goes_on(&mut self, number: u64, now: Micros) -> bool {
        let slot = self.taken.iter_mut().find(|slot| slot.number == number);
        let Some(slot) = slot else { return false };
        slot.read_at = now;
        slot.pages = slot.pages.saturating_add(1);
        true
    }

    /// It is over.
    pub fn leave(&mut self, number: u64) {
        self.taken.retain(|slot| slot.number != number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(path: &str) -> AtUri {
        AtUri::parse(&format!("at://did:plc:a/social.colibri.{path}")).unwrap()
    }

    fn entry(path: &str, place: &[&str]) -> Entry {
        let place = place.iter().map(|part| (*part).to_owned()).collect();
        Entry { uri: uri(path), cid: None, rev: Some("3k".into()), shown: true, value: "{}".into(), place }
    }

    fn page(entries: Vec<Entry>, is_last: bool) -> Page {
        Page { entries, is_last }
    }

    fn asked(walk: &Walk) -> Option<(Step, Vec<String>, usize)> {
        walk.question().map(|question| (question.step, question.after.to_vec(), question.targets.len()))
    }

    #[test]
    fn r43_reactions_come_behind_their_page_of_messages() {
        let mut walk = Walk::of(Subject::Community(uri("community/c")), None, Micros(0));
        let mut steps = Vec::new();
        while asked(&walk).is_some_and(|(step, ..)| step != Step::Messages) {
            steps.push(asked(&walk).unwrap().0);
            walk.take(&Page { entries: Vec::new(), is_last: true });
        }
        assert_eq!(steps, OF_COMMUNITY[..OF_COMMUNITY.len() - 1]);
        let two = vec![entry("message/1", &["k", "1"]), entry("message/2", &["k", "2"])];
        assert_eq!(walk.take(&page(two, false)).lines().count(), 2);
        assert_eq!(asked(&walk), Some((Step::Reactions, vec![], 2)), "to both");
        walk.take(&page(vec![entry("reaction/r", &["1", "t", "u"])], false));
        let after = vec!["1".to_owned(), "t".to_owned(), "u".to_owned()];
        assert_eq!(asked(&walk), Some((Step::Reactions, after, 1)), "those to the first are written");
        walk.take(&page(vec![], true));
        assert_eq!(asked(&walk), Some((Step::Messages, vec!["k".into(), "2".into()], 0)), "the next page");
        walk.take(&page(vec![entry("message/3", &["k", "3"])], true));
        walk.take(&page(vec![], true));
        assert_eq!(asked(&walk), None, "the last page was the last");
        assert_eq!(walk.end(None), "{\"end\":true,\"records\":4,\"at\":\"1970-01-01T00:00:00.000Z\"}\n");
    }

    #[test]
    fn r43_a_step_goes_on_until_a_page_is_the_last() {
        let mut walk = Walk::of(Subject::Person(Did::parse("did:plc:a").unwrap()), None, Micros(0));
        walk.take(&page(vec![entry("community/c", &["c"])], false));
        assert_eq!(asked(&walk), Some((Step::Communities, vec!["c".into()], 0)));
        walk.take(&page(vec![], false));
        assert_eq!(asked(&walk), Some((Step::Roles, vec![], 0)), "an empty page is the last");
        let mut steps = 1;
        while walk.question().is_some() {
            walk.take(&page(vec![], true));
            steps += 1;
        }
        assert_eq!(steps, OF_PERSON.len());
    }

    #[test]
    fn r43_what_is_left_out_only_says_how_far_a_page_was_read() {
        let rest = Rest { step: OF_COMMUNITY.len() - 1, after: vec!["k".into()], records: 7, began: 0 };
        let mut walk = Walk::of(Subject::Community(uri("community/c")), Some(rest), Micros(1));
        let hidden = |name: &str| Entry { shown: false, ..entry(&format!("message/{name}"), &["k", name]) };
        assert_eq!(walk.take(&page(vec![hidden("1"), hidden("2")], false)), "");
        assert_eq!(asked(&walk), Some((Step::Messages, vec!["k".into(), "2".into()], 0)), "no reactions");
        let some = vec![entry("message/3", &["k", "3"]), hidden("4")];
        assert_eq!(walk.take(&page(some, false)).lines().count(), 1);
        assert_eq!(asked(&walk), Some((Step::Reactions, vec![], 1)), "to the one that is shown");
        walk.take(&page(vec![], true));
        assert_eq!(asked(&walk), Some((Step::Messages, vec!["k".into(), "4".into()], 0)));
        assert_eq!(walk.rest().unwrap().records, 8);
    }

    #[test]
    fn r43_an_answer_that_asked_enough_says_where_it_goes_on() {
        let subject = Subject::Community(uri("community/c"));
        let mut walk = Walk::of(subject.clone(), None, Micros(5));
        let mut asked_times = 0;
        while walk.pause().is_none() {
            let step = walk.question().unwrap().step;
            let place = format!("{asked_times:04}");
            let next = match step {
                Step::Messages => page(vec![entry("message/m", &["k", &place])], false),
                Step::Reactions => page(vec![], true),
                _ => page(vec![], true),
            };
            walk.take(&next);
            asked_times += 1;
        }
        assert!((QUESTIONS..QUESTIONS + 2).contains(&asked_times), "{asked_times}");
        let rest = walk.pause().unwrap();
        assert!(walk.end(Some("c")).starts_with("{\"end\":false,\"records\":2"), "{}", walk.end(Some("c")));
        assert!(walk.end(Some("c")).ends_with(",\"cursor\":\"c\"}\n"), "{}", walk.end(Some("c")));
        let resumed = Walk::of(subject.clone(), Some(rest), Micros(9));
        assert_eq!(asked(&resumed), asked(&walk));
        assert_eq!(resumed.end(None), walk.end(None), "counted on, and with the time of the beginning");
        assert_eq!(resumed.pause(), None, "an answer of its own");
        let beyond = Rest { step: usize::MAX, after: vec![], records: u64::MAX, began: i64::MAX };
        assert_eq!(asked(&Walk::of(subject, Some(beyond), Micros(9))), None, "made up");
    }

    #[test]
    fn r43_a_line_is_as_it_is_said() {
        let known = Entry { cid: Some("bafy".into()), ..entry("message/m", &[]) };
        let line_of = |entry: &Entry| line(entry);
        assert_eq!(
            line_of(&Entry { value: r#"{"text":"ж \n"}"#.into(), ..known }),
            "{\"uri\":\"at://did:plc:a/social.colibri.message/m\",\"cid\":\"bafy\",\"rev\":\"3k\",\"value\":{\"text\":\"ж \\n\"}}\n"
        );
        let unknown = Entry { cid: Some(String::new()), rev: None, ..entry("message/m", &[]) };
        assert!(line_of(&unknown).contains(r#""cid":null,"rev":null"#), "nobody said it");
    }

    #[test]
    fn r43_slots() {
        let (mut slots, minute) = (Slots::new(), 60_000_000);
        let first = slots.take("a", Micros(0)).unwrap();
        let again = slots.take("a", Micros(1)).unwrap();
        assert!(!slots.goes_on(first, Micros(1)) && slots.goes_on(again, Micros(1)), "the same asks anew");
        let others: Vec<u64> = (1..SLOTS).map(|n| slots.take(&n.to_string(), Micros(2)).unwrap()).collect();
        assert_eq!(slots.take("late", Micros(3)), None, "all are taken");
        for number in others.iter().chain([&again]) {
            assert!(slots.goes_on(*number, Micros(4)), "nobody lost one for that");
        }
        others.iter().for_each(|number| assert!(slots.goes_on(*number, Micros(minute))));
        let late = slots.take("late", Micros(minute + 4)).unwrap();
        assert!(!slots.goes_on(again, Micros(minute + 5)), "a reader who took nothing for a minute");
        for number in others.iter().chain([&late]) {
            // Something each half minute.
            assert!((2..=20).all(|half| slots.goes_on(*number, Micros(half * minute / 2))));
        }
        assert!(slots.take("patient", Micros(10 * minute + 1)).is_some(), "less than a page in ten seconds");
        assert!(!slots.goes_on(others[0], Micros(10 * minute + 1)), "the one that began first");
        slots.leave(late);
        assert!(slots.take("next", Micros(minute + 6)).is_some(), "a slot that was left is free");
    }
}
